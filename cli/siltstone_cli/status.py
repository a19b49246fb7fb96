"""``siltstone status``"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from siltstone.compaction.pauses import pause_of
from siltstone.overview.locks import LockInfo
from siltstone.overview.status import CollectionStatus, LedgerTotals, MachineActivity, read_status
from siltstone.times import epoch_seconds

from siltstone_cli.console import (
    coloured,
    human_age,
    human_bytes,
    human_count,
    human_seconds,
    output,
    print_json,
    problems,
)
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import find_target

_ROWS = 20  # collections on one screen


def status(
    context: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also collections where nothing goes on.")] = False,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Show what waits, what is current, who holds which lock, what is paused, the last runs, and the cost so far.

    Example: siltstone status --stage dev
    """
    target = find_target(context, stage, local)
    machines = {"compaction": target.machine("Compaction"), "embedding": target.machine("Embedding")}
    with problems.status("looking"):
        found = read_status(target.stores, target.clock, machines)
    if as_json:
        print_json(found)
        return
    shown = found.collections if everything or len(found.collections) <= _ROWS else _busiest(found.collections)
    table = Table("collection", "version", "rows", "size", "pending", "bytes", "oldest", "quarantine", "lock")
    for each in shown:
        paused = pause_of(each.collection, found.paused) is not None
        table.add_row(
            escape(each.collection),
            each.version or "[dim]none yet[/]",
            human_count(each.rows),
            human_bytes(each.bytes),
            human_count(each.pending_deltas),
            human_bytes(each.pending_bytes),
            human_age(each.oldest_age_seconds),
            f"[yellow]{each.quarantined}[/]" if each.quarantined else "0",
            _lock(each.lock) + (", [yellow]paused[/]" if paused else ""),
        )
    output.print(table)
    if len(shown) < len(found.collections):
        output.print(f"and {len(found.collections) - len(shown)} more collections: --all shows them")
    for pause in found.paused:
        output.print(f"[yellow]{escape(str(pause))}[/]", soft_wrap=True)
    for each in found.collections:
        _print_problem(each)
    for key in found.strange:
        output.print(f"[yellow]no delta[/] {escape(key)}", soft_wrap=True)
    for activity in found.machines:
        _print_activity(activity, target.clock.now())
    _print_ledger(found.ledger)


def _busiest(collections: list[CollectionStatus]) -> list[CollectionStatus]:
    """Those that somebody should look at first; what fills a screen."""
    return sorted(
        collections,
        key=lambda each: (
            each.problem is None,
            each.quarantined == 0,
            each.lock.state not in {"held", "expired"},
            -(each.oldest_age_seconds or 0.0),
            each.collection,
        ),
    )[:_ROWS]


def _print_activity(activity: MachineActivity, now: float) -> None:
    if activity.problem or not activity.executions:
        output.print(f"{activity.machine}: {escape(activity.problem or 'no execution yet')}", soft_wrap=True)
        return
    for each in activity.executions:
        age = human_age(now - epoch_seconds(each.started_at))
        output.print(
            f"{activity.machine}: {escape(each.name)} {coloured(each.status)}, started {age} ago, "
            f"took {human_seconds(each.seconds)}",
            soft_wrap=True,
        )


def _lock(lock: LockInfo) -> str:
    if lock.state == "held":
        return f"held by {escape(lock.owner or '')}, {human_age(lock.seconds_left)} left"
    colour = "yellow" if lock.state == "expired" else "dim"
    limit = "" if lock.take is None else f", next takes {lock.take}"
    return f"[{colour}]{lock.state}[/]{limit}"


def _print_problem(found: CollectionStatus) -> None:
    if found.problem:
        output.print(f"[red]{escape(found.collection)}[/] {escape(found.problem)}", soft_wrap=True)


def _print_ledger(ledger: LedgerTotals) -> None:
    if not ledger.batches:
        output.print("ledger: no batch yet")
        return
    batches = ", ".join(f"{number} {state.lower()}" for state, number in sorted(ledger.batches.items()))
    cost = "an unknown price" if ledger.cost_usd is None else f"${ledger.cost_usd:.4f}"
    output.print(
        f"ledger: {batches}; {ledger.submitted:,} records submitted = {ledger.embedded:,} embedded "
        f"+ {ledger.to_retry:,} to retry + {ledger.rejected:,} rejected + {ledger.outdated:,} outdated; "
        f"{ledger.quarantined:,} in quarantine; {ledger.tokens:,} tokens; cost so far: {cost}",
        soft_wrap=True,
    )
    if ledger.unbalanced:
        output.print(f"[red]unbalanced[/] {', '.join(ledger.unbalanced)}: report this, it must not happen.")
