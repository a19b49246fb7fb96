"""``siltstone lock``"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from siltstone.compaction.break_lock import break_lock
from siltstone.deltas.shards import physical
from siltstone.errors import UnknownExecution
from siltstone.overview.collections import collection_names
from siltstone.overview.locks import LockInfo, list_locks
from siltstone.stores.machines import Machine

from siltstone_cli.collections import only
from siltstone_cli.completion import complete_collections
from siltstone_cli.console import human_age, output, print_json, problems
from siltstone_cli.exits import FAILED, BadUsage
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import find_target

app = typer.Typer(no_args_is_help=True, help="The locks that keep two runs from doing the same work.")


@app.callback()
def lock() -> None:
    """The locks that keep two runs from doing the same work."""


@app.command()
def show(
    context: typer.Context,
    collection: Annotated[
        str | None, typer.Argument(help="One collection; default: all of them.", autocompletion=complete_collections)
    ] = None,
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


@app.command(name="break")
def break_(
    context: typer.Context,
    collection: Annotated[
        str,
        typer.Argument(help="A collection; of a sharded one, a shard: lines.s00.", autocompletion=complete_collections),
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Free a lock that somebody else holds, so that the next run need not wait until it expires.

    Nothing can be damaged by it: a run that lives on stops with LockLost or PointerMoved, and its work is done anew.
    Use it after an execution was stopped by hand. It is freed only if it is still held as it is shown.

    Example: siltstone lock break lines --stage dev
    """
    if as_json and not yes:
        raise BadUsage("--json asks no question.", remedy="Add --yes.")
    target = find_target(context, stage, local)
    name = only(target.stores, collection)
    (found,) = list_locks([name], target.stores, target.clock)
    if found.state == "never taken":
        target.stores.settings.resolve(name)  # a slip in the name is said to be one
    if found.owner is None:
        if as_json:
            print_json({"broken": False, "lock": found.model_dump(mode="json")})
        else:
            output.print(f"{escape(found.lock_id)} is free: there is nothing to break.", soft_wrap=True)
        return
    if not yes:
        output.print(_what_happens(found, target.machine("Compaction")), soft_wrap=True, markup=False)
        if not typer.confirm("Break it?"):
            problems.print("Nothing was done.")
            raise typer.Exit(FAILED)
    broken = break_lock(name, found.owner, found.token, target.stores)
    if as_json:
        print_json({"broken": broken, "lock": found.model_dump(mode="json")})
        return
    output.print(
        f"[green]✓[/] {escape(found.lock_id)} is free." if broken else "It was released meanwhile.", soft_wrap=True
    )


def _what_happens(found: LockInfo, machine: Machine) -> str:
    left = f"it expires in {human_age(found.seconds_left)}" if found.state == "held" else "it has expired"
    return (
        f"{found.lock_id} is held by {found.owner} (token {found.token}) since {found.acquired_at}; last sign of life "
        f"{found.heartbeat}; {left}. {_liveness(found.owner or '', machine)}"
    )


def _liveness(owner: str, machine: Machine) -> str:
    try:
        execution = machine.look(owner.rpartition("-")[0])
    except UnknownExecution:
        return "No execution of the compaction machine has this name: a rollback, or one of long ago."
    if execution.running:
        return (
            f"Its execution {execution.name} is RUNNING: it will stop with LockLost or PointerMoved, and its work so "
            "far is done anew by the next run."
        )
    return f"Its execution {execution.name} has ended ({execution.status}): nobody will miss the lock."
