"""State ``Upload``: publish the sealed files as a new version that nobody reads yet."""

from __future__ import annotations

from importlib.metadata import version as installed

import siltstone
from siltstone.clock import Clock, iso
from siltstone.compaction import lock
from siltstone.compaction.documents import Manifest, Plan, Work
from siltstone.compaction.messages import Run, UploadInput, UploadOutput
from siltstone.compaction.publish import publish, version_files
from siltstone.compaction.staging import read_document
from siltstone.errors import ManifestDamaged
from siltstone.stores import Stores


def upload(request: UploadInput, stores: Stores, clock: Clock) -> UploadOutput:
    """Copy what ``sealed`` names, then write the manifest. Run again, it writes the same manifest.

    Raises `LockLost`, `ManifestDamaged`, `SnapshotTooLarge`, `SnapshotDamaged`, `StoreUnavailable`.
    """
    lock.renew(request.run, stores, clock)
    plan = read_document(stores.snapshots, request.plan, Plan)
    sealed = read_document(stores.snapshots, request.sealed, Work)
    if (plan.collection, plan.run_id) != (request.run.collection, request.run.run_id):
        raise ManifestDamaged(f"{request.plan.key} is not this run's plan.", remedy="Start a new run.")
    if sealed.parts_done != len(plan.parts) or not sealed.checks:
        raise ManifestDamaged(f"{request.sealed.key} is not sealed.", remedy="Start a new run.")
    sealed_at = stores.snapshots.head(request.sealed.key)
    if sealed_at is None:
        raise ManifestDamaged(f"{request.sealed.key} is gone.", remedy="Start a new run.")
    manifest = _manifest(request.run, plan, sealed, created_at=sealed_at.last_modified)
    ref = publish(stores.snapshots, manifest, sealed.files)
    return UploadOutput(manifest=ref, files=len(manifest.files), bytes=manifest.total_bytes)


def _manifest(run: Run, plan: Plan, sealed: Work, *, created_at: float) -> Manifest:
    """Every value comes from the run and its documents: a retry must make the same bytes."""
    return Manifest(
        collection=run.collection,
        version=run.version,
        parent=plan.base.version,
        token=run.token,
        run=run.run_id,
        started_at=iso(run.acquired_at),
        created_at=iso(created_at),
        libraries={"siltstone": siltstone.__version__, "chromadb": installed("chromadb")},
        settings=plan.settings,
        counts=sealed.counts,
        dead_slots=sealed.dead_slots,
        files=version_files(sealed.files),
        applied=[*plan.still_listed, *plan.deltas],
        checks=list(sealed.checks),
    )
