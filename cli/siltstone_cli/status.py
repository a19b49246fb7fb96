"""``siltstone status``"""

from __future__ import annotations

import typer
from rich.markup import escape
from rich.table import Table
from siltstone.overview.locks import LockInfo
from siltstone.overview.status import CollectionStatus, LedgerTotals, read_status

from siltstone_cli.console import human_age, human_bytes, human_count, output, print_json
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import find_target


def status(context: typer.Context, stage: Stage = None, local: Local = False, as_json: AsJson = False) -> None:
    """Show what waits, what is current, who holds which lock, what is in quarantine, and the ledger's totals.

    Example: siltstone status --stage dev
    """
    target = find_target(context, stage, local)
    found = read_status(target.stores, target.clock)
    if as_json:
        print_json(found)
        return
    table = Table("collection", "version", "rows", "size", "pending", "bytes", "oldest", "quarantine", "lock")
    for each in found.collections:
        table.add_row(
            escape(each.collection),
            each.version or "[dim]none yet[/]",
            human_count(each.rows),
            human_bytes(each.bytes),
            human_count(each.pending_deltas),
            human_bytes(each.pending_bytes),
            human_age(each.oldest_age_seconds),
            f"[yellow]{each.quarantined}[/]" if each.quarantined else "0",
            _lock(each.lock),
        )
    output.print(table)
    for each in found.collections:
        _print_problem(each)
    for key in found.strange:
        output.print(f"[yellow]no delta[/] {escape(key)}", soft_wrap=True)
    _print_ledger(found.ledger)


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
        f"{ledger.quarantined:,} in quarantine; {ledger.tokens:,} tokens, {cost}",
        soft_wrap=True,
    )
    if ledger.unbalanced:
        output.print(f"[red]unbalanced[/] {', '.join(ledger.unbalanced)}: report this, it must not happen.")
