"""State ``PromotePointer``: the gate, the lock, then the commit (`siltstone.compaction.pointer.promote`)."""

from __future__ import annotations

from siltstone.clock import Clock
from siltstone.compaction import lock
from siltstone.compaction.documents import Manifest, Plan
from siltstone.compaction.messages import PromotePointerInput, PromotePointerOutput
from siltstone.compaction.pointer import promote
from siltstone.compaction.publish import check_gate
from siltstone.compaction.staging import read_document
from siltstone.errors import ManifestDamaged
from siltstone.stores import Stores


def promote_pointer(request: PromotePointerInput, stores: Stores, clock: Clock) -> PromotePointerOutput:
    """Make this run's version current. Run again after it happened, it says so.

    Raises `CheckFailed`, `SnapshotDamaged`, `ManifestDamaged`, `LockLost`, `PointerMoved`, `PointerMissing`,
    `StoreUnavailable`; the pointer is then as it was (after the last one: perhaps, and running again resolves it).
    """
    run = request.run
    lock.renew(run, stores, clock)  # first: of a run that was overtaken, retention may have removed what is read here
    plan = read_document(stores.snapshots, request.plan, Plan)
    manifest = read_document(stores.snapshots, request.manifest, Manifest)
    if (plan.collection, plan.run_id) != (run.collection, run.run_id):
        raise ManifestDamaged(f"{request.plan.key} is not this run's plan.", remedy="Start a new run.")
    if (manifest.collection, manifest.version, manifest.token, manifest.parent) != (
        run.collection,
        run.version,
        run.token,
        plan.base.version,
    ):
        raise ManifestDamaged(f"{request.manifest.key} is not this run's manifest.", remedy="Start a new run.")
    check_gate(stores.snapshots, manifest)
    lock.renew(run, stores, clock)  # and last, as near to the commit as can be
    etag = promote(stores.snapshots, run.collection, pinned=plan.base, version=run.version)
    return PromotePointerOutput(version=run.version, previous=plan.base.version, etag=etag)
