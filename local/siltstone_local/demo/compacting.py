"""The demo's compaction phase: run the machine until nothing is pending."""

from __future__ import annotations

import time

from siltstone.clock import Clock
from siltstone.compaction.pointer import read_pointer
from siltstone.deltas.listing import list_pending
from siltstone.deltas.shards import physical
from siltstone.stores import Stores

from siltstone_local.demo.phases import Say
from siltstone_local.deployment import Deployment
from siltstone_local.errors import DemoFailed
from siltstone_local.machines import run_machine
from siltstone_local.progress import Step

MACHINE = "compaction"
_ROUNDS = 60
_POLL = 0.5  # seconds


def compact(
    deployment: Deployment, stores: Stores, collections: list[str], clock: Clock, say: Say
) -> dict[str, str | None]:
    """Current version of each collection, once nothing is pending. Raises `ExecutionFailed`, `DemoFailed`."""
    shards = [shard for name in collections for shard in physical(name, stores.settings.resolve(name))]
    for _ in range(_ROUNDS):
        left = [shard for shard in shards if list_pending(stores.deltas, shard, stores.settings).deltas]
        if not left:
            return {shard: read_pointer(stores.snapshots, shard).version for shard in shards}
        # What is left after a run was too young to be taken (a listing must have settled), or another run had the lock.
        say(f"{', '.join(left)}: waiting for deltas to settle")
        clock.sleep(1.0)
        run_machine(
            deployment,
            MACHINE,
            {"operation": "compact", "collections": left, "force": True},
            on_progress=lambda step: say(_describe(step)),
        )
        _wait_for_successors(deployment)
    raise DemoFailed("Deltas are still pending after many runs.", remedy="Look at the quarantine and the lock.")


def _wait_for_successors(deployment: Deployment) -> None:
    """A run that leaves a backlog starts the next one itself."""
    client, arn = deployment.client("stepfunctions"), deployment.machine(MACHINE)
    while client.list_executions(stateMachineArn=arn, statusFilter="RUNNING")["executions"]:
        time.sleep(_POLL)


def _describe(step: Step) -> str:
    return " ".join(part for part in (step.state, step.kind, step.detail) if part)
