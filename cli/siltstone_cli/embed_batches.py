"""``siltstone embed status|adopt|cancel``, and how every command that starts something ends."""

from __future__ import annotations

from typing import Annotated

import typer
from siltstone.embedding.operate import cancel_batch, start_adoption
from siltstone.embedding.plan_batches import execution_of
from siltstone.embedding.report import list_batches, read_batch

from siltstone_cli.completion import complete_collections
from siltstone_cli.console import output, print_json, problems
from siltstone_cli.embed_show import print_batch, print_batches, reported
from siltstone_cli.embed_work import MACHINE, follow
from siltstone_cli.exits import FAILED, BadUsage
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import Target, find_target

Wait = Annotated[bool, typer.Option("--wait", "-w", help="Wait until it is over. Ctrl-C ends the waiting, no batch.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def status(
    context: typer.Context,
    batch_id: Annotated[str | None, typer.Argument(help="One batch, with its attempts and rejected rows.")] = None,
    *,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="So many closed batches, or rejected rows.")
    ] = 20,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Show the ledger: every open batch and the latest closed ones, or one batch with what the provider refused.

    Example: siltstone embed status --stage dev
    """
    target = find_target(context, stage, local)
    if batch_id is not None:
        batch = read_batch(batch_id, target.stores, target.clock, rows=limit)
        print_json(batch) if as_json else print_batch(batch)
        return
    found = list_batches(target.stores, target.clock)
    if as_json:
        print_json({"batches": [each.model_dump(mode="json") for each in found]})
        return
    print_batches(found, limit)


def adopt(
    context: typer.Context,
    openai_batch_id: Annotated[str, typer.Argument(help="The provider's id: batch_...")],
    *,
    collection: Annotated[
        str,
        typer.Option(
            "--collection", metavar="C", help="Where its records belong.", autocompletion=complete_collections
        ),
    ],
    batch_id: Annotated[
        str | None, typer.Option("--batch-id", metavar="ID", help="An id in the ledger; default: a new one.")
    ] = None,
    wait: Wait = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Take over a batch that was submitted to the provider by hand; rows that belong to no source are rejected.

    Example: siltstone embed adopt batch_68f0 --collection lines --wait --stage dev
    """
    target = find_target(context, stage, local)
    machine = target.machine(MACHINE)
    mine = start_adoption(openai_batch_id, collection, target.stores, target.clock, machine, batch_id=batch_id)
    finish(target, {mine.batch_id: mine.execution}, mine.execution, wait=wait, as_json=as_json)


def cancel(
    context: typer.Context,
    batch_id: Annotated[str, typer.Argument(help="See siltstone embed status.")],
    *,
    yes: Yes = False,
    wait: Wait = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """End a batch: what the provider has embedded until then is paid for and kept, the other sources get free again.

    The machine obeys at its next look, within 15 minutes. Plans on a schedule take the sources again.

    Example: siltstone embed cancel 01JA2V9Q --stage dev
    """
    if as_json and not yes:
        raise BadUsage("--json asks no question.", remedy="Add --yes.")
    target = find_target(context, stage, local)
    stores, machine = target.stores, target.machine(MACHINE)
    item = stores.ledger.read(batch_id)
    if item.open and item.cancel_requested_at is None and not yes:
        output.print(
            f"{target.name}: batch {batch_id} of {item.collection} ({item.records:,} records of {item.sources:,} "
            f"sources) is {item.status}. What is embedded until it ends is kept, the rest is for a later plan.",
            soft_wrap=True,
            markup=False,
        )
        if not typer.confirm("Cancel it?"):
            problems.print("Nothing was done.")
            raise typer.Exit(FAILED)
    asked = cancel_batch(batch_id, stores, target.clock, machine)
    if asked.status == "CANCELLED" or wait:
        finish(target, {batch_id: asked.execution or execution_of(item).execution}, None, wait=True, as_json=as_json)
    elif as_json:
        print_json(asked)
    else:
        output.print(
            f"[green]✓[/] {batch_id} is to end: the machine cancels it at its next look, within 15 minutes. "
            f"See siltstone embed status {batch_id}.",
            soft_wrap=True,
        )


def finish(
    target: Target,
    executions: dict[str, str],
    name: str | None,
    *,
    wait: bool,
    as_json: bool,
    more: dict[str, object] | None = None,
) -> None:
    """With ``wait`` follow the batches and show them; exit code 1 if one did not come to a good end."""
    if not wait:
        started(name or "", as_json=as_json, more={"batches": list(executions), **(more or {})})
        return
    followed = follow(target, executions)
    found = reported(followed, target)
    if as_json:
        ended = {key: f"{each.status}: {each.error} {each.cause}" for key, each in followed.stopped.items()}
        print_json(
            {
                **({"execution": name} if name else {}),
                **(more or {}),
                "batches": [each.model_dump(mode="json") for each in found],
                "stopped": ended,
            }
        )
    else:
        print_batches(found, len(found), stopped=followed.stopped)
    if followed.stopped or any(each.status == "FAILED" for each in found):
        raise typer.Exit(FAILED)


def started(name: str, *, as_json: bool, more: dict[str, object] | None) -> None:
    if as_json:
        print_json({"execution": name, **(more or {})})
        return
    output.print(f"[green]✓[/] Started the execution {name}. How far it is: siltstone embed status.", soft_wrap=True)
