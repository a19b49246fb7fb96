"""``siltstone compact pause`` and ``siltstone compact resume``"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from siltstone.compaction.pauses import parse_until, read_pauses
from siltstone.compaction.pauses import pause as pause_collection
from siltstone.compaction.pauses import resume as resume_collection

from siltstone_cli.compact import MACHINE, Collections, app
from siltstone_cli.console import output, print_json
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import find_target


@app.command()
def pause(
    context: typer.Context,
    collections: Collections = None,
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why: shown wherever it is seen.")] = "",
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="It ends by itself: 2026-02-01T06:00 (UTC), 6h, 3d.")
    ] = None,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Let no new run of a collection begin, however it is started; without names, of any collection.

    Nothing is lost: deltas wait, and strong reads show them. A run that is under way ends as it would, and a rollback
    is allowed. `siltstone status` shows the pause, and the backlog's alarm goes on counting.

    Example: siltstone compact pause lines --reason "moving the bucket" --until 6h --stage dev
    """
    target = find_target(context, stage, local)
    stores, clock = target.stores, target.clock
    end = None if until is None else parse_until(until, clock.now())
    for name in collections or []:
        stores.settings.resolve(name)  # all of the names, before any is paused
    made = [pause_collection(name, stores, clock, reason=reason, until=end) for name in collections or [None]]
    under_way = [each.name for each in target.machine(MACHINE).list(10) if each.running]
    if as_json:
        print_json({"paused": [each.model_dump(mode="json") for each in made], "under_way": under_way})
        return
    for each in made:
        output.print(f"[green]✓[/] {escape(str(each))}", soft_wrap=True)
    if under_way:
        output.print(f"Still under way, and not stopped: {', '.join(under_way)}", soft_wrap=True)
    output.print("End it with: " + " ".join(["siltstone compact resume", *(collections or [])]), soft_wrap=True)


@app.command()
def resume(
    context: typer.Context,
    collections: Collections = None,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """End the pause of these collections; without names, the pause of all (those paused by name stay paused).

    Example: siltstone compact resume lines --stage dev
    """
    target = find_target(context, stage, local)
    ended = {name: resume_collection(name, target.stores) for name in collections or [None]}
    left = read_pauses(target.stores.snapshots, target.clock)
    if as_json:
        print_json(
            {
                "resumed": [name for name, was in ended.items() if was],
                "still_paused": [each.model_dump(mode="json") for each in left],
            }
        )
        return
    for name, was in ended.items():
        what = escape(name or "the pause of every collection")
        output.print(f"[green]✓[/] resumed: {what}" if was else f"was not paused: {what}", soft_wrap=True)
    for each in left:
        output.print(f"[yellow]still paused[/] {escape(str(each))}", soft_wrap=True)
