"""State ``Download``: pin the pointer, read and check the settled deltas, stage their operations as parts.

The deltas are fetched oldest first, as many as the run may take, and read newest first: an id that was seen is hidden
in all older ones. What is found unusable on the way goes to quarantine before any of its rows counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

from ulid import ULID

from siltstone import keys
from siltstone.clock import Clock, iso
from siltstone.compaction import lock
from siltstone.compaction.documents import AppliedDelta, Part, Pin, Plan
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.messages import DownloadOutput, Run, RunInput
from siltstone.compaction.parts import LastOperations, PartWriter
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.selection import identity, is_poison, select, suspect_name, without_second_lives
from siltstone.compaction.staging import write_document
from siltstone.deltas.codec import DeltaHeader, read_header
from siltstone.deltas.listing import PendingDelta, list_pending
from siltstone.deltas.quarantine import quarantine_delta
from siltstone.deltas.reading import FetchedDelta, fetch_delta, read_fetched
from siltstone.errors import (
    BadDelta,
    ObjectNotFound,
    PreconditionFailed,
    SettingsMismatch,
    SnapshotDamaged,
    UnknownVersion,
)
from siltstone.settings import CollectionSettings
from siltstone.snapshots.files import room_for
from siltstone.snapshots.scratch import Scratch
from siltstone.stores import Stores

FETCHED_AT_ONCE = 8
FETCHED_BYTES_AT_ONCE = 512 * 2**20


def download(request: RunInput, stores: Stores, clock: Clock, *, workspace: Path) -> DownloadOutput:
    """Decide what the run works on and stage it. ``workspace``: scratch on the local disk.

    Run again it decides anew, under another prefix: only the plan that it returns counts.
    Raises `LockLost`, `PointerMissing`, `SettingsMismatch`, `SnapshotDamaged`, `SchemaTooNew`, `DiskFull`,
    `StoreUnavailable`. An unusable delta raises nothing: it is in quarantine, with the reason.
    """
    run = request.run
    lease = lock.renew(run, stores, clock)
    settings = stores.settings.resolve(run.collection)
    pin = read_pointer(stores.snapshots, run.collection)
    applied = _applied(stores, run.collection, pin, settings)
    listed = list_pending(stores.deltas, run.collection, stores.settings)
    settled = listed.settled(stores.settings.settle_seconds)
    candidates = without_second_lives(stores.deltas, [delta for delta in settled if identity(delta) not in applied])
    work = _Work(run, settings, stores, clock)
    if candidates and is_poison(candidates[0], lease):
        work.quarantine(candidates[0], f"{lease.failures} runs failed on it alone", None)
        taken: list[PendingDelta] = []  # nothing after it: the next run starts with a clean count
    else:
        taken = select(candidates, lease, settings.limits)
        _note_taking(run, stores, clock, [identity(delta) for delta in taken])
    prefix = keys.staging(run.collection, run.run_id, "Download", str(ULID()))
    scratch = Scratch(workspace)
    scratch.sweep()
    with scratch.private() as folder, room_for(folder):
        fetched = work.fetch(taken, folder)
        parts, deltas = work.stage(fetched, prefix)
    more = len(candidates) > len(deltas) + len(work.quarantined) + work.gone
    plan = Plan(
        collection=run.collection,
        run_id=run.run_id,
        base=pin,
        settings=settings.fixed(),
        parts=parts,
        deltas=deltas,
        still_listed=[identity(delta) for delta in listed.deltas if identity(delta) in applied],
        quarantined=work.quarantined,
        more=more,
    )
    _note_taking(run, stores, clock, deltas)
    return DownloadOutput(
        plan=write_document(stores.snapshots, f"{prefix}plan.json", plan),
        base_version=pin.version,
        deltas=len(deltas),
        parts=len(parts),
        rows=sum(part.upserts + part.deletes for part in parts),
        quarantined=len(work.quarantined),
        more=more,
    )


def _note_taking(run: Run, stores: Stores, clock: Clock, deltas: Sequence[AppliedDelta]) -> None:
    """What a failure from here on is blamed on."""
    alone = suspect_name(deltas[0]) if len(deltas) == 1 else None
    lock.renew(run, stores, clock, taking=len(deltas), alone=alone)


def _applied(stores: Stores, collection: str, pin: Pin, settings: CollectionSettings) -> set[AppliedDelta]:
    """What the base contains already. Raises `SettingsMismatch`: a manifest wins over the stage's settings."""
    if pin.version is None:
        return set()
    try:
        manifest = read_manifest(stores.snapshots, collection, pin.version)
    except UnknownVersion as error:
        raise SnapshotDamaged(
            f"The pointer of {collection} names {pin.version}, which has no manifest.", remedy="Roll back."
        ) from error
    expected = settings.fixed()
    differing = [
        name for name in sorted({*expected, *manifest.settings}) if expected.get(name) != manifest.settings.get(name)
    ]
    if differing:
        name = differing[0]
        raise SettingsMismatch(
            f"{collection} has {name} {manifest.settings.get(name)!r}; the stage's setting is {expected.get(name)!r}.",
            remedy="Set it back in cdk.json. Another value needs another collection, and an alias that moves to it.",
        )
    return set(manifest.applied)


class _Work:
    """One run's way from listed deltas to staged parts, with what went to quarantine on it."""

    def __init__(self, run: Run, settings: CollectionSettings, stores: Stores, clock: Clock) -> None:
        self._run = run
        self._settings = settings
        self._stores = stores
        self._clock = clock
        self.quarantined: list[AppliedDelta] = []
        self.gone = 0  # since they were listed: an attempt of this state that still runs elsewhere moved them aside

    def fetch(self, deltas: Sequence[PendingDelta], folder: Path) -> list[FetchedDelta]:
        """Bring deltas to the disk, oldest first, until the run has as many rows as it may take; at least one."""
        fetched: list[FetchedDelta] = []
        rows = 0
        with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
            for window in windows(deltas):
                results = pool.map(self._fetch_one, window, repeat(folder))
                for delta, result in zip(window, results, strict=True):
                    if result is None:
                        self.gone += 1
                        continue
                    if isinstance(result, BadDelta):
                        self.quarantine(delta, result.message, None)
                        continue
                    rows += result.rows
                    if fetched and rows > self._settings.limits.max_rows:
                        return fetched
                    fetched.append(result)
        return fetched

    def stage(self, fetched: Sequence[FetchedDelta], prefix: str) -> tuple[list[Part], list[AppliedDelta]]:
        """Read from the newest to the oldest, and write parts. Returns them and the deltas they hold, in order."""
        header = DeltaHeader(
            delta_id="",
            collection=self._run.collection,
            count=0,
            model=self._settings.model,
            dimension=self._settings.dimension,
            input_format=self._settings.input_format,
            created_at=iso(self._clock.now()),
        )
        used: list[AppliedDelta] = []
        last = LastOperations()
        with PartWriter(self._stores.snapshots, prefix, header, self._settings.limits.part_rows) as writer:
            for item in reversed(fetched):
                try:
                    rows = read_fetched(item, self._settings)
                except BadDelta as error:
                    self.quarantine(item.delta, error.message, item.path)
                    continue
                writer.add(last.keep(rows))
                used.append(identity(item.delta))
                item.path.unlink()
            return writer.finish(), used[::-1]

    def quarantine(self, delta: PendingDelta, reason: str, path: Path | None) -> None:
        """Move ``delta`` aside. ``path``: where its header can be read, for the batch that it came from."""
        try:
            quarantine_delta(
                delta,
                reason,
                header=_header(path),
                run=self._run.run_id,
                stores=self._stores,
                clock=self._clock,
            )
        except (ObjectNotFound, PreconditionFailed):
            self.gone += 1
        else:
            self.quarantined.append(identity(delta))

    def _fetch_one(self, delta: PendingDelta, folder: Path) -> FetchedDelta | BadDelta | None:
        try:
            return fetch_delta(self._stores.deltas, delta, self._settings, folder)
        except BadDelta as error:
            return error
        except (ObjectNotFound, PreconditionFailed):
            return None


def windows(deltas: Sequence[PendingDelta]) -> Iterator[list[PendingDelta]]:
    """Deltas that are fetched at once: bounded in number and bytes. An older layout is unpacked in memory: alone."""
    window: list[PendingDelta] = []
    for delta in deltas:
        full = len(window) == FETCHED_AT_ONCE or sum(one.size for one in window) + delta.size > FETCHED_BYTES_AT_ONCE
        if window and (full or delta.layout != "parquet" or window[-1].layout != "parquet"):
            yield window
            window = []
        window.append(delta)
    if window:
        yield window


def _header(path: Path | None) -> DeltaHeader | None:
    try:
        return None if path is None else read_header(path)
    except BadDelta:
        return None
