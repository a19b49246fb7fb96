"""A rollback is a new version: an old one's files under a new token, promoted like any other.

Tokens keep growing, so readers follow and a stale run can't match an old ETag.
"""

from __future__ import annotations

from contextlib import suppress

from ulid import ULID

from siltstone import keys
from siltstone.clock import Clock, iso
from siltstone.compaction import lock
from siltstone.compaction.documents import Manifest, Pin, RowCounts, StagedFile
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.messages import PromotePointerOutput, Run
from siltstone.compaction.pointer import promote, read_pointer
from siltstone.compaction.publish import check_gate, publish
from siltstone.compaction.staging import read_document
from siltstone.compaction.version import Version
from siltstone.errors import (
    InvalidInput,
    PointerMoved,
    PreconditionFailed,
    SettingsMismatch,
    SnapshotDamaged,
    StoreUnavailable,
)
from siltstone.stores import Stores
from siltstone.stores.objects import ObjectStore


def rollback(
    collection: str, to: str, stores: Stores, clock: Clock, *, execution: str | None = None
) -> PromotePointerOutput:
    """Make the content of version ``to`` current again, as a new version. Pending deltas stay pending.

    ``execution``: a name of this attempt; the same name with the same ``to`` takes the same lock again after a crash.
    Raises `UnknownVersion`, `InvalidInput` if ``to`` is not older than the current version, `LockBusy`,
    `SnapshotDamaged`, `SettingsMismatch`, `PointerMoved`, `PointerMissing`, `StoreUnavailable`.
    """
    Version.parse(to)
    read_manifest(stores.snapshots, collection, to)  # a slip costs no lock
    # With its target in the name: the same run to another one would overwrite files of a version that is published.
    run = lock.acquire(collection, f"{execution or f'rollback-{ULID()}'}-to-{to}", 0, stores, clock)
    try:
        return _under_lock(run, to, stores, clock)
    finally:
        with suppress(StoreUnavailable):  # what happened has happened; the lease expires
            lease = stores.leases.read(lock.lock_id(collection))
            if lease is not None:  # a rollback says nothing about what the next compaction should take
                lock.release(run, stores, take=lease.take, failures=lease.failures, suspect=lease.suspect)


def _under_lock(run: Run, to: str, stores: Stores, clock: Clock) -> PromotePointerOutput:
    snapshots = stores.snapshots
    base = read_pointer(snapshots, run.collection)
    if base.version == run.version and base.etag is not None:
        # This attempt promoted and stopped before it could say so: under the same name it is the same run.
        parent = read_manifest(snapshots, run.collection, run.version).parent
        return PromotePointerOutput(version=run.version, previous=parent, etag=base.etag)
    if base.version is None or Version.parse(to).token >= Version.parse(base.version).token:
        raise InvalidInput(f"{to} is not older than {base.version}.", remedy="Name an earlier version.")
    old = read_manifest(snapshots, run.collection, to)
    current = read_manifest(snapshots, run.collection, base.version)
    if old.settings != current.settings:
        raise SettingsMismatch(f"{to} has other settings than {base.version}.", remedy="Move an alias instead.")
    manifest = _manifest(run, base, old, current)
    try:
        ref = publish(snapshots, manifest, _sources(snapshots, old))
    except PreconditionFailed as error:
        raise PointerMoved(
            f"{run.version} was made from another version than {base.version}, which is current now.",
            remedy="Roll back again under another name.",
        ) from error
    check_gate(snapshots, read_document(snapshots, ref, Manifest))
    lock.renew(run, stores, clock)
    etag = promote(snapshots, run.collection, pinned=base, version=run.version)
    return PromotePointerOutput(version=run.version, previous=base.version, etag=etag)


def _manifest(run: Run, base: Pin, old: Manifest, current: Manifest) -> Manifest:
    return Manifest(
        collection=run.collection,
        version=run.version,
        parent=base.version,
        token=run.token,
        run=run.run_id,
        reason="rollback",
        restored_from=old.version,
        started_at=iso(run.acquired_at),
        created_at=iso(run.acquired_at),
        libraries=old.libraries,
        settings=old.settings,
        counts=RowCounts(before=old.counts.after, after=old.counts.after),
        dead_slots=old.dead_slots,
        files=old.files,
        # What the undone versions had merged but not yet retired is accounted for too: else the next run would take
        # these deltas for pending ones and bring back what the rollback undid. And what ``old`` itself had merged: a
        # version that lost its race may contain deltas that no current one has, which would be applied a second time.
        applied=list(dict.fromkeys([*current.applied, *old.applied])),
        checks=old.checks,
    )


def _sources(snapshots: ObjectStore, old: Manifest) -> list[StagedFile]:
    """The old version's files with the ETags that they have now; the copies are checked against its hashes."""
    prefix = keys.version(old.collection, old.version)
    etags = {found.key: found.etag for found in snapshots.list(prefix)}
    sources: list[StagedFile] = []
    for file in old.files:
        key = prefix + file.path
        if key not in etags:
            raise SnapshotDamaged(f"{key} is gone.", remedy="Bring it back from the versioned bucket, or go further.")
        sources.append(StagedFile(path=file.path, key=key, etag=etags[key], size=file.size, sha256=file.sha256))
    return sources
