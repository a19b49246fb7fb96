"""A Chroma directory that exists already becomes the first version of a collection.

    copy ─ check and prepare (a process of its own) ─ seal ─┤ lock ├─ stage ─ publish ─ promote(If-None-Match) ─┤

Everything that takes long happens before the lock is taken and is seen by nobody. The run is named after what is taken
over, so the same takeover, started again after a crash, takes its own lock again at once, and finds what it did. A
sealed directory has other bytes each time: whichever attempt writes its plan first has its files published, so that two
attempts under one version can't mix.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from importlib.metadata import version as installed
from pathlib import Path

import siltstone
from siltstone import keys
from siltstone.clock import Clock, iso
from siltstone.compaction import lock
from siltstone.compaction.documents import Manifest, RowCounts, Work
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.messages import Message, Ref, Run
from siltstone.compaction.pointer import promote, read_pointer
from siltstone.compaction.publish import MAX_SNAPSHOT_BYTES, check_gate, publish, version_files
from siltstone.compaction.seal import seal
from siltstone.compaction.staging import parse_document, read_document, write_document
from siltstone.compaction.work import Progress, stage
from siltstone.errors import InvalidInput, PreconditionFailed, SnapshotTooLarge, StoreUnavailable
from siltstone.migration.takeover_reader import TakeoverRequest, prepare
from siltstone.migration.takeover_source import ChromaSource
from siltstone.settings import CollectionSettings
from siltstone.snapshots.chroma import open_chroma
from siltstone.snapshots.files import files_in, folder_bytes, sha256_of
from siltstone.snapshots.scratch import Scratch
from siltstone.stores import Stores
from siltstone.stores.vectors import CollectionSpec

STATE = "TakeOver"
REASON = "takeover"


class TakenOver(Message):
    """``collection``: its name in the directory was ``source``. ``already``: an earlier attempt had done it."""

    collection: str
    version: str
    rows: int
    bytes: int
    already: bool = False


def take_over(
    directory: ChromaSource,
    collection: str,
    stores: Stores,
    clock: Clock,
    *,
    workspace: Path,
    source: str | None = None,
    build_anew: bool = False,
) -> TakenOver:
    """Publish ``directory`` as the first version of ``collection``. Pending deltas stay pending: they merge onto it.

    ``source``: the collection's name in the directory, where it has several. ``build_anew``: the index is built again
    with the stage's space and HNSW values (about 1,000 rows a second). ``workspace``: scratch, room for three copies.
    Raises `UnknownCollection`, `InvalidInput` where the collection has a version already or the directory can't be
    used, `SettingsMismatch`, `SnapshotDamaged`, `SnapshotTooLarge`, `CheckFailed`, `LockBusy`, `LockLost`,
    `PointerMoved`, `PointerMissing`, `DiskFull`, `StoreUnavailable`; nothing is published then.
    """
    settings = _settings(collection, stores)
    current = _taken_over_before(collection, stores)
    scratch = Scratch(workspace)
    scratch.sweep()
    with scratch.private() as folder:
        request = TakeoverRequest(
            folder=folder / "copy",
            target=folder / "built",
            collection=collection,
            source=source,
            settings=settings,
            build_anew=build_anew,
        )
        directory.copy_to(request.folder)
        execution = _name(request)
        if current is not None:
            return _done_before(current, execution, stores)
        prepared = prepare(request)
        progress = Progress(0, RowCounts(before=prepared.rows, after=prepared.rows), prepared.dead_slots)
        checks = seal(
            prepared.folder, CollectionSpec.of(collection, settings.fixed()), progress.counts, [], open_chroma
        )
        _check_size(collection, folder_bytes(prepared.folder))
        run = lock.acquire(collection, execution, 0, stores, clock)
        try:
            staged = stage(stores.snapshots, run, prepared.folder, progress, checks)
            return _publish(run, _first(run, staged, stores), settings, stores, clock)
        finally:
            _release(run, stores)


def _settings(collection: str, stores: Stores) -> CollectionSettings:
    settings = stores.settings.resolve(collection)
    if settings.shards > 1:
        raise InvalidInput(
            f"{collection} has {settings.shards} shards, and a directory is one.",
            remedy="Take it over under the name of a collection with one shard.",
        )
    return settings


def _taken_over_before(collection: str, stores: Stores) -> Manifest | None:
    """The current version if a takeover made it. Raises `InvalidInput` if anything else did."""
    version = read_pointer(stores.snapshots, collection).version
    if version is None:
        return None
    manifest = read_manifest(stores.snapshots, collection, version)
    if manifest.reason != REASON:
        raise _has_version(collection, version)
    return manifest


def _name(request: TakeoverRequest) -> str:
    """The execution's name: the same for the same files, taken over in the same way."""
    files = [(path, sha256_of(request.folder / path)) for path in files_in(request.folder)]
    way = [request.source, request.settings.fixed(), request.build_anew]
    return f"takeover-{hashlib.sha256(json.dumps([files, way]).encode()).hexdigest()[:32]}"


def _done_before(manifest: Manifest, execution: str, stores: Stores) -> TakenOver:
    run = Run(
        collection=manifest.collection,
        execution=execution,
        index=0,
        token=manifest.token,
        version=manifest.version,
        acquired_at=0,
    )
    if manifest.run != run.run_id:
        raise _has_version(manifest.collection, manifest.version)
    _release(run, stores)  # it died after its promotion
    return _report(manifest, already=True)


def _first(run: Run, staged: Ref, stores: Stores) -> Work:
    """What was staged first for this run's version, by this attempt or another."""
    key = keys.staging(run.collection, run.run_id, STATE, run.version) + "sealed.json"
    mine = read_document(stores.snapshots, staged, Work)
    try:
        write_document(stores.snapshots, key, mine)
    except PreconditionFailed:
        return parse_document(Work, stores.snapshots.get(key).body, key)
    return mine


def _publish(run: Run, sealed: Work, settings: CollectionSettings, stores: Stores, clock: Clock) -> TakenOver:
    manifest = Manifest(
        collection=run.collection,
        version=run.version,
        parent=None,
        token=run.token,
        run=run.run_id,
        reason=REASON,
        started_at=iso(run.acquired_at),
        created_at=iso(run.acquired_at),
        libraries={"siltstone": siltstone.__version__, "chromadb": installed("chromadb")},
        settings=settings.fixed(),
        counts=sealed.counts,
        dead_slots=sealed.dead_slots,
        files=version_files(sealed.files),
        applied=[],
        checks=list(sealed.checks),
    )
    pinned = read_pointer(stores.snapshots, run.collection)
    if pinned.version == run.version:  # the other attempt of this takeover was quicker
        return _report(manifest, already=True)
    if pinned.version is not None:
        raise _has_version(run.collection, pinned.version)
    lock.renew(run, stores, clock)
    ref = publish(stores.snapshots, manifest, sealed.files)
    check_gate(stores.snapshots, read_document(stores.snapshots, ref, Manifest))
    lock.renew(run, stores, clock)
    promote(stores.snapshots, run.collection, pinned=pinned, version=run.version)
    return _report(manifest)


def _release(run: Run, stores: Stores) -> None:
    with suppress(StoreUnavailable):  # what happened has happened; the lease expires
        lease = stores.leases.read(lock.lock_id(run.collection))
        if lease is not None:  # a takeover says nothing about what the next compaction should take
            lock.release(run, stores, take=lease.take, failures=lease.failures, suspect=lease.suspect)


def _report(manifest: Manifest, *, already: bool = False) -> TakenOver:
    return TakenOver(
        collection=manifest.collection,
        version=manifest.version,
        rows=manifest.counts.after,
        bytes=manifest.total_bytes,
        already=already,
    )


def _check_size(collection: str, size: int) -> None:
    if size > MAX_SNAPSHOT_BYTES:
        raise SnapshotTooLarge(
            f"The directory for {collection} has {size:,} bytes, over {MAX_SNAPSHOT_BYTES:,}.",
            remedy="Write its rows as deltas of a collection with more shards.",
        )


def _has_version(collection: str, version: str) -> InvalidInput:
    return InvalidInput(
        f"{collection} has a version already: {version}.",
        remedy="A directory can only be a first version: take it over under another name, then move an alias.",
    )
