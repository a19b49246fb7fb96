"""The demo's embedding phase: the machine plans, each batch has an execution, the ledger tells how far they are."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from siltstone.stores import Stores
from siltstone.stores.ledger import BatchItem

from siltstone_local.demo.phases import Say
from siltstone_local.deployment import Deployment
from siltstone_local.errors import DemoFailed
from siltstone_local.machines import run_machine

MACHINE = "embedding"
_POLL = 0.3  # seconds
_RESTARTS = 3


@dataclass(frozen=True)
class LedgerTotals:
    """Every batch of this state, summed. ``submitted`` counts a record that was sent again once."""

    batches: list[BatchItem]
    submitted: int
    embedded: int
    rejected: int
    outdated: int
    deltas: int

    def table(self) -> Table:
        """For a person: one row for each batch."""
        table = Table("batch", "collection", "status", "submitted", "embedded", "rejected", "outdated", "tokens", "$")
        for batch in sorted(self.batches, key=lambda batch: batch.batch_id):
            counts = batch.counts
            cost = "" if batch.cost_usd is None else f"{batch.cost_usd:.4f}"
            figures = (counts.submitted, counts.embedded, counts.rejected, counts.outdated, batch.tokens)
            table.add_row(batch.batch_id, batch.collection, batch.status, *(f"{figure:,}" for figure in figures), cost)
        return table


def ledger_totals(stores: Stores) -> LedgerTotals:
    """Raises `DemoFailed` if the ledger does not balance."""
    batches = list(stores.ledger.list())
    counts = [batch.counts for batch in batches]
    if any(not each.balanced or each.to_retry for each in counts):
        raise DemoFailed("The ledger does not balance.", remedy="Please report this: it must not happen.")
    return LedgerTotals(
        batches,
        submitted=sum(each.submitted for each in counts),
        embedded=sum(each.embedded for each in counts),
        rejected=sum(each.rejected for each in counts),
        outdated=sum(each.outdated for each in counts),
        deltas=sum(len(batch.delta_keys) for batch in batches),
    )


def embed(deployment: Deployment, stores: Stores, say: Say) -> None:
    """Plan what is not embedded and wait until every batch is closed. Raises `DemoFailed`, `ExecutionFailed`."""
    say("planning batches")
    run_machine(deployment, MACHINE, {})
    restarted: Counter[str] = Counter()
    while True:
        batches = list(stores.ledger.list())
        left = [batch for batch in batches if batch.open]
        failed = [batch for batch in batches if batch.status == "FAILED"]
        if failed:
            raise DemoFailed(f"Batch {failed[0].batch_id} failed: {failed[0].cause}.", remedy="Run the demo again.")
        say(f"{len(batches) - len(left)} of {len(batches)} batches done; {_states(left)}")
        if not left and not _running(deployment):
            return
        if left and not _running(deployment):
            _take_up(deployment, stores, restarted)
        time.sleep(_POLL)


def _take_up(deployment: Deployment, stores: Stores, restarted: Counter[str]) -> None:
    """Batches whose execution has ended (the stack was stopped in between): each goes on in a new one."""
    for batch in [batch for batch in stores.ledger.list() if batch.open]:
        restarted[batch.batch_id] += 1
        if restarted[batch.batch_id] > _RESTARTS:
            raise DemoFailed(
                f"Batch {batch.batch_id} is {batch.status} and its executions keep failing: {_cause(deployment)}.",
                remedy="Its history is in the emulated AWS: `make up` keeps it running.",
            )
        deployment.client("stepfunctions").start_execution(
            stateMachineArn=deployment.machine(MACHINE), input=f'{{"batch_id": "{batch.batch_id}"}}'
        )


def _running(deployment: Deployment) -> list[dict[str, Any]]:
    return deployment.client("stepfunctions").list_executions(
        stateMachineArn=deployment.machine(MACHINE), statusFilter="RUNNING"
    )["executions"]


def _cause(deployment: Deployment) -> str:
    client = deployment.client("stepfunctions")
    failed = client.list_executions(stateMachineArn=deployment.machine(MACHINE), statusFilter="FAILED")["executions"]
    if not failed:
        return "no execution failed"
    found = client.describe_execution(executionArn=failed[0]["executionArn"])
    return f"{found.get('error')}: {str(found.get('cause'))[:500]}"


def _states(batches: list[BatchItem]) -> str:
    return ", ".join(f"{batch.collection} {batch.status.lower()} ({batch.records:,} records)" for batch in batches)
