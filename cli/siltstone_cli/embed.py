"""``siltstone embed``"""

from __future__ import annotations

from typing import Annotated

import typer
from siltstone.embedding.choice import Thresholds, choose
from siltstone.embedding.embed_now import MAX_RECORDS
from siltstone.embedding.operate import go_on, start_plan

from siltstone_cli.completion import complete_collections
from siltstone_cli.console import output, print_json, problems
from siltstone_cli.embed_batches import Wait, Yes, adopt, cancel, finish, started, status
from siltstone_cli.embed_show import now_done, planned_words, print_now, print_preview
from siltstone_cli.embed_work import MACHINE, follow_plan, now, preview
from siltstone_cli.exits import FAILED, BadUsage
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import Target, find_target

app = typer.Typer(no_args_is_help=True, help="Embed what is loaded: in batches at half price, or at once.")
Collections = Annotated[
    list[str] | None,
    typer.Argument(metavar="COLLECTION", help="Default: all of them.", autocompletion=complete_collections),
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Take at most N sources.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Also take sources that are FAILED.")]


@app.callback()
def embed() -> None:
    """Embed what is loaded: in batches at half price, or at once."""


@app.command()
def plan(
    context: typer.Context,
    collections: Collections = None,
    *,
    limit: Limit = None,
    retry_failed: RetryFailed = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Say what would be embedded, in how many batches, and what it would cost. Changes nothing.

    Tokens are an upper estimate, and so are the prices: the provider usually bills less.

    Example: siltstone embed plan lines --stage dev
    """
    target = find_target(context, stage, local)
    found = preview(target, collections, limit=limit, retry_failed=retry_failed)
    if as_json:
        print_json(found)
        return
    print_preview(found)


@app.command()
def start(
    context: typer.Context,
    collections: Collections = None,
    *,
    limit: Limit = None,
    retry_failed: RetryFailed = False,
    batch: Annotated[
        str | None, typer.Option("--batch", metavar="BATCH_ID", help="Plan nothing: go on with this open batch.")
    ] = None,
    wait: Wait = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Start the embedding machine: it plans batches of what is not embedded, and each gets an execution of its own.

    Example: siltstone embed start lines --wait --stage dev
    """
    if batch is not None and (collections or limit or retry_failed):
        raise BadUsage("--batch goes on with one batch and plans nothing.", remedy="Give it alone.")
    target = find_target(context, stage, local)
    if batch is not None:
        planned = go_on(batch, target.stores, target.clock, target.machine(MACHINE))
        finish(target, {batch: planned.execution}, planned.execution, wait=wait, as_json=as_json)
        return
    machine = target.machine(MACHINE)
    name = start_plan(target.stores, machine, collections=collections or (), limit=limit, retry_failed=retry_failed)
    _finish_plan(target, name, wait=wait, as_json=as_json)


@app.command(name="now")
def embed_now(
    context: typer.Context,
    source_ids: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE_ID", help="Default: all that is not embedded.")
    ] = None,
    *,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            "--collection", metavar="C", help="Only in this one; may be repeated.", autocompletion=complete_collections
        ),
    ] = None,
    retry_failed: RetryFailed = False,
    yes: Yes = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Embed loaded sources at once through the embeddings API, at twice a batch's price.

    For small amounts: they can be found when it ends. It asks before it takes more than 2,000 records.

    Example: siltstone embed now --collection notes --stage dev
    """
    target = find_target(context, stage, local)
    found = preview(target, collection, source_ids=source_ids, retry_failed=retry_failed)
    if found.records > MAX_RECORDS and not yes:
        if as_json:
            raise BadUsage(f"{found.records:,} records, and --json asks no question.", remedy="Add --yes.")
        output.print(f"{target.name}: {planned_words(found)}", soft_wrap=True, markup=False)
        if not typer.confirm("Embed them now, at twice the price?"):
            problems.print("Nothing was done. A batch: siltstone embed start.")
            raise typer.Exit(FAILED)
    done = now(target, found, collection, retry_failed=retry_failed)
    if as_json:
        print_json(done)
    else:
        print_now(done, found)


@app.command()
def auto(
    context: typer.Context,
    collections: Collections = None,
    *,
    retry_failed: RetryFailed = False,
    now_records: Annotated[
        int, typer.Option("--now-records", metavar="N", min=0, help="At once up to so many records.")
    ] = Thresholds().records,
    now_usd: Annotated[
        float, typer.Option("--now-usd", metavar="USD", min=0, help="At once up to this price; both have to hold.")
    ] = Thresholds().usd,
    wait: Wait = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Embed a small amount at once and a large one in batches, and say which and why.

    Example: siltstone embed auto --now-records 200 --stage dev
    """
    target = find_target(context, stage, local)
    found = preview(target, collections, enough=now_records, retry_failed=retry_failed)
    choice = choose(found, Thresholds(records=now_records, usd=now_usd))
    if not as_json:
        words = {"nothing": "Nothing to do", "now": "At once", "batch": "In batches"}[choice.way]
        output.print(f"{words}: {choice.why}", soft_wrap=True)
    chosen = {"choice": choice.model_dump(mode="json")}
    if choice.way == "now":
        done = now(target, found, collections, retry_failed=retry_failed)
        if as_json:
            print_json({**chosen, "now": now_done(done)})
        else:
            print_now(done, found)
    elif choice.way == "batch":
        name = start_plan(
            target.stores, target.machine(MACHINE), collections=collections or (), retry_failed=retry_failed
        )
        _finish_plan(target, name, wait=wait, as_json=as_json, more=chosen)
    elif as_json:
        print_json(chosen)


def _finish_plan(
    target: Target, name: str, *, wait: bool, as_json: bool, more: dict[str, object] | None = None
) -> None:
    if not wait:
        started(name, as_json=as_json, more=more)
        return
    plan = follow_plan(target, name)
    if not as_json:
        output.print(
            f"Planned {plan.records:,} records of {plan.sources:,} sources in {len(plan.batches)} batches"
            f"{f'; {plan.rejected:,} records can not be embedded' if plan.rejected else ''}"
            f"{'; more is left for another plan' if plan.more else ''}."
        )
    found = {**(more or {}), "plan": plan.model_dump(mode="json")}
    finish(
        target, {each.batch_id: each.execution for each in plan.batches}, name, wait=True, as_json=as_json, more=found
    )


for command in (status, adopt, cancel):
    app.command()(command)
