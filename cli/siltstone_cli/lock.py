"""``siltstone lock``"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from siltstone.deltas.shards import physical
from siltstone.overview.collections import collection_names
from siltstone.overview.locks import list_locks

from siltstone_cli.console import human_age, output, print_json
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import find_target

app = typer.Typer(no_args_is_help=True, help="The locks that keep two runs from doing the same work.")


@app.callback()
def lock() -> None:
    """The locks that keep two runs from doing the same work."""


@app.command()
def show(
    context: typer.Context,
    collection: Annotated[str | None, typer.Argument(help="One collection; default: all of them.")] = None,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Show who holds which lock, until when, and what the last failures left behind.

    An expired lock needs no hand: its holder died or was stopped, and the next run takes it over.

    Example: siltstone lock show lines --stage dev
    """
    target = find_target(context, stage, local)
    settings = target.stores.settings
    names = (
        collection_names(target.stores) if collection is None else physical(collection, settings.resolve(collection))
    )
    locks = list_locks(names, target.stores, target.clock)
    if as_json:
        print_json({"locks": [each.model_dump(mode="json") for each in locks]})
        return
    table = Table(
        "lock", "state", "token", "owner", "since (UTC)", "heartbeat", "left", "took", "next takes", "failures"
    )
    for each in locks:
        table.add_row(
            escape(each.lock_id),
            f"[yellow]{each.state}[/]" if each.state == "expired" else each.state,
            str(each.token),
            escape(each.owner or ""),
            each.acquired_at or "",
            each.heartbeat or "",
            human_age(each.seconds_left) if each.state == "held" else "",
            "" if each.taking is None else str(each.taking),
            "all" if each.take is None else str(each.take),
            str(each.failures),
        )
    output.print(table)
