"""``siltstone compact``"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from siltstone.compaction.by_hand import StartPlan, plan_start
from siltstone.compaction.by_hand import start as start_planned
from siltstone.compaction.pauses import read_pauses
from siltstone.overview.collections import collection_names
from siltstone.overview.executions import ExecutionInfo, list_compactions, read_compaction
from siltstone.overview.progress import RunProgress, running_states

from siltstone_cli.completion import complete_collections
from siltstone_cli.console import coloured, human_count, human_seconds, output, print_json, problems
from siltstone_cli.exits import FAILED
from siltstone_cli.following import follow, waited
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import Target, find_target

app = typer.Typer(no_args_is_help=True, help="Merge what waits into new versions; look at runs; pause them.")

MACHINE = "Compaction"
Collections = Annotated[
    list[str] | None,
    typer.Argument(help="Collections, or shards (lines.s00).", autocompletion=complete_collections),
]


@app.callback()
def compact() -> None:
    """Merge what waits into new versions; look at the last runs; pause and resume them."""


@app.command()
def start(
    context: typer.Context,
    collections: Collections = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="All that have deltas, due or not.")] = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow the run to its end and show the outcome.")] = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Start the compaction machine. It also starts by itself, every hour and soon after a delta was written.

    Named collections are merged now. Without names, those that are due by their settings are, or with --force all
    that have deltas. A delta that was only just written has not settled and stays for the next run: some two minutes on
    AWS, a second on the local stack. --wait waits for it too.

    Example: siltstone compact start lines --wait --stage dev

    Exit code 1 if a collection is paused, or with --wait if one failed.
    """
    target = find_target(context, stage, local)
    stores, clock = target.stores, target.clock
    plan = plan_start(collections or [], stores, clock, force=force)
    if wait and plan.settles_in > 0:
        with waited(f"waiting {human_seconds(plan.settles_in)} until the newest delta has settled"):
            clock.sleep(plan.settles_in)
        plan = plan_start(collections or [], stores, clock, force=force)
    if not as_json:
        _tell_what_waits(plan)
    if not plan.due:
        if as_json:
            print_json({"execution": None, "plan": plan.model_dump(mode="json"), "outcome": None})
        else:
            output.print("Nothing is due: nothing was started.")
        return
    name = start_planned(plan, target.machine(MACHINE))
    if not wait:
        if as_json:
            print_json({"execution": name, "plan": plan.model_dump(mode="json"), "outcome": None})
        else:
            names = ", ".join(one.collection for one in plan.due)
            output.print(f"[green]✓[/] started {name} for {escape(names)}", soft_wrap=True)
            output.print(f"See what becomes of it: siltstone compact status {name}", soft_wrap=True)
        return
    done = _follow(name, [one.collection for one in plan.due], target)
    if as_json:
        print_json({"execution": name, "plan": plan.model_dump(mode="json"), "outcome": done.model_dump(mode="json")})
    else:
        _show(done)
    if done.status != "SUCCEEDED":
        raise typer.Exit(FAILED)


@app.command()
def status(
    context: typer.Context,
    execution: Annotated[str | None, typer.Argument(help="One of them, with all that is known.")] = None,
    *,
    last: Annotated[int, typer.Option("--last", "-n", metavar="N", help="How many.", min=1, max=100)] = 10,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """List the last runs of the compaction machine, and what became of each collection.

    Example: siltstone compact status -n 5 --stage dev
    """
    target = find_target(context, stage, local)
    machine, stores, clock = target.machine(MACHINE), target.stores, target.clock
    pauses = read_pauses(stores.snapshots, clock)
    if execution is not None:
        found = read_compaction(execution, machine, stores, clock)
        states = running_states(execution, collection_names(stores), stores) if found.status == "RUNNING" else []
        if as_json:
            print_json({**found.model_dump(mode="json"), "running": [each.model_dump(mode="json") for each in states]})
            return
        _show(found)
        for each in states:
            output.print(f"{escape(each.collection)}: {_state(each)}", soft_wrap=True)
        return
    with problems.status("reading the last executions"):
        recent = list_compactions(machine, clock, last)
    if as_json:
        print_json(
            {
                "executions": [each.model_dump(mode="json") for each in recent],
                "paused": [each.model_dump(mode="json") for each in pauses],
            }
        )
        return
    table = Table("execution", "status", "started (UTC)", "took", "collections")
    for each in recent:
        table.add_row(
            escape(each.name), coloured(each.status), each.started_at, human_seconds(each.seconds), _summary(each)
        )
    output.print(table)
    for pause in pauses:
        output.print(f"[yellow]{escape(str(pause))}[/]", soft_wrap=True)


def _follow(name: str, collections: list[str], target: Target) -> ExecutionInfo:
    machine, stores, clock = target.machine(MACHINE), target.stores, target.clock

    def states() -> dict[str, str]:
        return {each.collection: _state(each) for each in running_states(name, collections, stores)}

    try:
        follow(name, lambda: machine.look(name).running, states, clock)
    except KeyboardInterrupt:
        problems.print(f"The run goes on: siltstone compact status {name}", soft_wrap=True)
        raise
    return read_compaction(name, machine, stores, clock)


def _state(run: RunProgress) -> str:
    return run.state if run.parts is None else f"{run.state} ({run.parts_done} of {run.parts} parts merged)"


def _tell_what_waits(plan: StartPlan) -> None:
    for each in plan.paused:
        problems.print(f"[yellow]left out[/] {escape(str(each))}", soft_wrap=True)
    for name in plan.unknown:
        problems.print(f"[yellow]left out[/] {escape(name)}: no setting names it", soft_wrap=True)
    due = {one.collection for one in plan.due}
    for name, number in sorted(plan.waiting.items()):
        why = "too young to be merged now" if name in due else "not due yet; --force merges them now"
        problems.print(f"{escape(name)}: {number} {'delta waits' if number == 1 else 'deltas wait'}, {why}")


def _show(found: ExecutionInfo) -> None:
    output.print(f"{escape(found.name)}: {coloured(found.status)} after {human_seconds(found.seconds)}", soft_wrap=True)
    if found.collections:
        table = Table("collection", "outcome", "version", "rows")
        for each in found.collections:
            table.add_row(escape(each.collection), coloured(each.status), each.version or "", human_count(each.rows))
        output.print(table)
    for each in found.collections:
        if each.cause:
            output.print(f"[red]{escape(each.collection)}[/] {escape(each.cause)}", soft_wrap=True)
        if each.more:
            output.print(f"{escape(each.collection)}: a backlog is left, and the machine has started again for it.")
    if found.cause and not any(each.cause for each in found.collections):
        output.print(f"[red]{escape(found.cause)}[/]", soft_wrap=True)


def _summary(found: ExecutionInfo) -> str:
    told = [
        f"{escape(each.collection)} {coloured(each.status)}{f' {each.version}' if each.status == 'compacted' else ''}"
        for each in found.collections
    ]
    if not told and found.status == "SUCCEEDED":
        return "[dim]nothing was due[/]"
    return "\n".join(told) or escape((found.cause or "")[:200])
