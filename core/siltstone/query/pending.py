"""Strong reads: what is durable but not merged yet, laid over exactly the version that lacks it.

The order of the steps is what makes it right. **List** the deltas, **read the pointer**, **fetch**, **list again**:

- A delta that was merged before the first listing is gone from it, and is in the version that the pointer names later.
- A delta that is listed and not in that version's ``applied`` is pending, or it was merged *and* retired in between:
  then the last listing does not show it as it was, and everything starts over.
- A delta that shows in both listings was there all the time: no version that came before the pointer's reading can have
  merged it and forgotten it. (What is put back under its key has a later time. If its key was ever deleted before,
  it is no pending write but one that was merged long ago, and is left out.)

Read the pointer first, and a promotion with its retirement in between hides the merged rows from both halves.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from siltstone.clock import Clock
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.listing import PendingDelta, list_pending
from siltstone.deltas.reading import read_delta
from siltstone.deltas.retire import with_earlier_life
from siltstone.errors import BacklogTooLarge, BadDelta, ObjectNotFound, PreconditionFailed, StoreUnavailable
from siltstone.query.fixed import as_published
from siltstone.query.overlay import Overlay
from siltstone.query.reader import Reading, SnapshotReader
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.snapshots.scratch import Scratch
from siltstone.stores.objects import ObjectStore

MAX_PENDING_BYTES = 2**29  # of delta files; in memory they take about 1.2 times that
_TRIES = 10
_FETCHERS = 8

_Identity = tuple[str, str, int]  # key, ETag, and time: a body put back after retirement has a later one


@dataclass(frozen=True)
class Sight:
    """What is seen of one physical collection. ``reading`` is ``None`` where no version was promoted yet."""

    reading: Reading | None
    overlay: Overlay | None = None  # None: a snapshot read, which looks at no delta
    pending: int = 0  # deltas laid over
    unusable: int = 0  # pending deltas that the next run quarantines, or retires again


@dataclass(eq=False)
class _Kept:
    """One collection's pending deltas in memory, for the next strong read."""

    gate: threading.Lock = field(default_factory=threading.Lock)  # several threads want the same deltas: one fetches
    settings: CollectionSettings | None = None  # that they were judged by
    rows: dict[_Identity, DeltaRows | None] = field(default_factory=dict[_Identity, "DeltaRows | None"])
    laid: tuple[list[_Identity], Overlay] | None = None
    size: int = 0  # bytes of the delta files


class PendingReader:
    """Strong reads of any physical collection. Keeps the pending deltas' rows; safe for several threads."""

    def __init__(
        self,
        deltas: ObjectStore,
        reader: SnapshotReader,
        book: CollectionBook,
        workspace: Path,
        *,
        max_bytes: int = MAX_PENDING_BYTES,
    ) -> None:
        """``max_bytes``: of delta files, for one collection, and for all that are kept."""
        self._deltas = deltas
        self._reader = reader
        self._book = book
        self._scratch = Scratch(workspace)
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # used last comes last
        self._gate = threading.Lock()

    @contextmanager
    def strong(self, collection: str, settings: CollectionSettings, clock: Clock) -> Generator[Sight]:
        """What a reader sees now. ``settings``: the stage's; where there is a manifest, it wins.

        Raises `BacklogTooLarge`, `StoreUnavailable` if compaction outruns every try, and what
        `SnapshotReader.reading` raises.
        """
        with ExitStack() as reading:
            for attempt in range(_TRIES):
                found = self._try(collection, settings, reading)
                if found is not None:
                    yield found
                    return
                reading.close()  # another try, over the version that is current by then
                clock.sleep(0.01 * 2**attempt)
        raise StoreUnavailable(f"{collection} was compacted faster than it could be read, {_TRIES} times.")

    def _try(self, collection: str, settings: CollectionSettings, stack: ExitStack) -> Sight | None:
        listed = list_pending(self._deltas, collection, self._book).deltas
        reading = stack.enter_context(self._reader.reading(collection, fresh=True))
        applied = {(delta.key, delta.etag) for delta in reading.manifest.applied} if reading else set[tuple[str, str]]()
        wanted = {_identity(delta): delta for delta in listed if (delta.key, delta.etag) not in applied}
        size = sum(delta.size for delta in wanted.values())
        if size > self._max_bytes:
            raise BacklogTooLarge(
                f"{collection} has {len(wanted)} pending deltas of {size >> 20} MiB, over {self._max_bytes >> 20} MiB.",
                remedy="Compact it, or ask with consistency=snapshot.",
            )
        published = as_published(settings, reading.manifest if reading else None)
        kept = self._keep(collection, size)
        with kept.gate:
            try:
                self._fill(kept, wanted, published)
            except (ObjectNotFound, PreconditionFailed):
                return None
            overlay = _lay(kept, published.dimension)
            usable = sum(rows is not None for rows in kept.rows.values())
        if wanted and not wanted.keys() <= self._identities(collection):
            return None
        return Sight(reading, overlay, usable, len(wanted) - usable)

    def _keep(self, collection: str, size: int) -> _Kept:
        """The collection's place; those unused for longest make room."""
        with self._gate:
            kept = self._kept.setdefault(collection, _Kept())
            self._kept.move_to_end(collection)
            kept.size = size
            while sum(each.size for each in self._kept.values()) > self._max_bytes:
                self._kept.popitem(last=False)
        return kept

    def _fill(self, kept: _Kept, wanted: dict[_Identity, PendingDelta], settings: CollectionSettings) -> None:
        """Hold exactly what is wanted, in its order; the rest was merged. ``None`` for what is no usable write."""
        if kept.settings != settings:
            kept.settings, kept.rows = settings, {}
        fetched = self._fetch([delta for identity, delta in wanted.items() if identity not in kept.rows], settings)
        known = {**kept.rows, **fetched}
        kept.rows = {identity: known[identity] for identity in wanted}

    def _fetch(
        self, missing: Sequence[PendingDelta], settings: CollectionSettings
    ) -> dict[_Identity, DeltaRows | None]:
        """Rows of each delta, or ``None``: unusable, or put back after retirement."""
        if not missing:
            return {}
        put_back = {delta.key for delta in with_earlier_life(self._deltas, missing)}
        with self._scratch.private() as workspace, ThreadPoolExecutor(_FETCHERS) as pool:

            def fetch(delta: PendingDelta) -> DeltaRows | None:
                if delta.key in put_back:
                    return None
                try:
                    return read_delta(self._deltas, delta, settings, workspace)
                except BadDelta:
                    return None

            return dict(zip(map(_identity, missing), pool.map(fetch, missing), strict=True))

    def _identities(self, collection: str) -> set[_Identity]:
        return {_identity(delta) for delta in list_pending(self._deltas, collection, self._book).deltas}


def _lay(kept: _Kept, dimension: int) -> Overlay:
    """The overlay of what is kept; the one made before while nothing changed."""
    identities = [identity for identity, rows in kept.rows.items() if rows is not None]
    if kept.laid is None or kept.laid[0] != identities:
        kept.laid = identities, Overlay([rows for rows in kept.rows.values() if rows is not None], dimension)
    return kept.laid[1]


def _identity(delta: PendingDelta) -> _Identity:
    return delta.key, delta.etag, delta.last_modified
