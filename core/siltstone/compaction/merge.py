"""State ``Merge``: apply the plan's parts to a copy of the base, over as many turns as it takes, then seal it.

A turn brings the files to the disk, works until time is short, and stages what must outlive the function: the work so
far, or the sealed directory. Nothing that it read is changed, so a turn that is killed is simply run again.

    turn 1   base ── copy ── part part part ─────────────── stage ─▶ work
    turn 2   work ────────── part part ── rebuild? ── seal ─ stage ─▶ sealed
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from siltstone.clock import Clock
from siltstone.compaction import lock, rebuild
from siltstone.compaction.documents import Part, Plan
from siltstone.compaction.merge_rows import add, apply_operations
from siltstone.compaction.messages import MergeInput, MergeOutput, Run
from siltstone.compaction.seal import seal
from siltstone.compaction.staging import read_document
from siltstone.compaction.work import FILES, REBUILD, STORE, Progress, bring, keep_warm, stage
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import decode
from siltstone.errors import ManifestDamaged, NoProgress, ObjectNotFound, PreconditionFailed, SnapshotDamaged
from siltstone.snapshots.chroma import open_chroma
from siltstone.snapshots.files import folder_bytes
from siltstone.snapshots.scratch import Scratch
from siltstone.stores import Stores
from siltstone.stores.objects import ObjectStore
from siltstone.stores.vectors import CollectionSpec, OpenStore, VectorStore

# What a turn keeps back to stage its files: a start and the upload at a speed that a small function reaches too.
STAGING_SECONDS = 15.0
STAGING_BYTES_PER_SECOND = 40e6
# What sealing adds: reading the index, vacuuming, hashing.
SEALING_SECONDS = 10.0
SEALING_BYTES_PER_SECOND = 60e6
# The next step may be this much slower than the slowest so far: the index grows, and updates cost more than inserts.
STEP_MARGIN = 1.5


def merge(
    request: MergeInput,
    stores: Stores,
    clock: Clock,
    *,
    workspace: Path,
    seconds_left: Callable[[], float],
    open_store: OpenStore = open_chroma,
) -> MergeOutput:
    """One turn. ``workspace``: scratch on the local disk; ``seconds_left``: until the function is stopped.

    Call again with ``work`` until ``sealed`` is there: ``parts_done`` may reach ``parts_total`` a turn earlier, when a
    rebuild or the sealing did not fit any more.
    Raises `LockLost`, `ManifestDamaged`, `SettingsMismatch`, `SnapshotDamaged`, `BadRecord`, `CheckFailed`,
    `DiskFull`, `NoProgress`, `StoreUnavailable`.
    """
    lock.renew(request.run, stores, clock)
    plan = read_document(stores.snapshots, request.plan, Plan)
    if (plan.collection, plan.run_id) != (request.run.collection, request.run.run_id):
        raise ManifestDamaged(f"{request.plan.key} is another run's plan.", remedy="Start a new run.")
    scratch = Scratch(workspace)
    scratch.sweep()
    with scratch.private() as folder:
        files = folder / FILES
        progress = bring(request, plan, stores.snapshots, scratch, files)
        lock.renew(request.run, stores, clock)
        spec = CollectionSpec.of(plan.collection, plan.settings)
        turn = _Turn(request.run, plan, spec, stores, clock, files, progress, seconds_left, open_store)
        done = turn.apply_parts() and turn.rebuild(scratch)
        if done and turn.has_time_to_seal():
            scratch.make_room(folder_bytes(files))  # to vacuum
            checks = seal(files / STORE, spec, progress.counts, plan.parts, open_store)
            lock.renew(request.run, stores, clock)
            sealed = stage(stores.snapshots, request.run, files / STORE, progress, checks)
            return MergeOutput(parts_done=progress.parts_done, parts_total=len(plan.parts), work=None, sealed=sealed)
        work = stage(stores.snapshots, request.run, files, progress)
        keep_warm(scratch, work, files)
        return MergeOutput(parts_done=progress.parts_done, parts_total=len(plan.parts), work=work, sealed=None)


@dataclass
class _Turn:
    """The work of one turn, and what it knows of its time."""

    run: Run
    plan: Plan
    spec: CollectionSpec
    stores: Stores
    clock: Clock
    files: Path
    progress: Progress
    seconds_left: Callable[[], float]
    open_store: OpenStore
    slowest: float = 0.0  # seconds, of this turn's steps
    steps: int = 0

    def apply_parts(self) -> bool:
        """Apply parts while there is time, at least one. Whether all are applied."""
        parts, progress = self.plan.parts, self.progress
        if (self.files / REBUILD).exists():
            return True  # the turn before was past the parts
        with closing(self.open_store(self.files / STORE, self.spec)) as store:
            if store.count() != progress.counts.after:
                raise SnapshotDamaged(
                    f"{store.count()} rows where {progress.counts.after} were recorded.",
                    remedy="Run `siltstone verify` on the base version.",
                )
            while progress.parts_done < len(parts) and self._has_time():
                with self._step():
                    self._apply(store, parts[progress.parts_done])
                progress.parts_done += 1
        return progress.parts_done == len(parts)

    def rebuild(self, scratch: Scratch) -> bool:
        """Rebuild the index while there is time, if it is due. Whether none is left to do."""
        old_folder, new_folder = self.files / STORE, self.files / REBUILD
        if not rebuild.is_due(self.progress.counts.after, self.progress.dead_slots):
            return True
        scratch.make_room(folder_bytes(old_folder))
        with (
            closing(self.open_store(old_folder, self.spec)) as old,
            closing(self.open_store(new_folder, self.spec)) as new,
        ):
            ids = old.ids()
            more = new.count() < len(ids)
            while more:
                if not self._has_time():
                    return False
                with self._step():
                    more = rebuild.copy_next(old, new, ids)
        shutil.rmtree(old_folder)
        new_folder.rename(old_folder)
        self.progress.dead_slots = 0
        return True

    def has_time_to_seal(self) -> bool:
        """Whether sealing and staging fit. Raises `NoProgress` if even a turn that did nothing else can't."""
        size = folder_bytes(self.files)
        return self._fits(staging_seconds(size) + SEALING_SECONDS + size / SEALING_BYTES_PER_SECOND)

    def _has_time(self) -> bool:
        return self._fits(staging_seconds(folder_bytes(self.files)) + STEP_MARGIN * self.slowest)

    def _fits(self, needed: float) -> bool:
        left = self.seconds_left()
        if left < needed and not self.steps:
            raise NoProgress(
                f"{left:.0f} s are left with {folder_bytes(self.files)} bytes on the disk; {needed:.0f} are needed.",
                remedy="Give Merge more memory and time, or shard the collection.",
            )
        return left >= needed

    @contextmanager
    def _step(self) -> Generator[None]:
        self._renew()
        started = self.clock.monotonic()
        yield
        self.slowest = max(self.slowest, self.clock.monotonic() - started)
        self.steps += 1

    def _apply(self, store: VectorStore, part: Part) -> None:
        operations = _read_part(self.stores.snapshots, part, self.spec)
        applied = apply_operations(store, operations, self.spec.space, between=self._renew)
        self.progress.counts = add(self.progress.counts, applied.counts)
        self.progress.dead_slots += applied.dead_slots

    def _renew(self) -> None:
        # Before each call and not from a thread: an upsert holds the interpreter for seconds.
        lock.renew(self.run, self.stores, self.clock)


def staging_seconds(size: int) -> float:
    """Time to keep back for uploading ``size`` bytes."""
    return STAGING_SECONDS + size / STAGING_BYTES_PER_SECOND


def _read_part(snapshots: ObjectStore, part: Part, spec: CollectionSpec) -> DeltaRows:
    try:
        body = snapshots.get(part.file.key, if_match=part.file.etag).body
    except (ObjectNotFound, PreconditionFailed) as error:
        raise ManifestDamaged(f"{part.file.key} is gone or changed.", remedy="Start a new run.") from error
    if hashlib.sha256(body).hexdigest() != part.file.sha256:
        raise ManifestDamaged(f"{part.file.key} does not have the recorded SHA-256.", remedy="Start a new run.")
    _, rows = decode(body)
    deletes = len(rows) - rows.upsert_count
    if (rows.upsert_count, deletes, rows.dimension) != (part.upserts, part.deletes, spec.dimension):
        raise ManifestDamaged(f"{part.file.key} is not what the plan says of it.", remedy="Start a new run.")
    return rows
