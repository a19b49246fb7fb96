"""Strong reads: what is durable but not merged yet, laid over exactly the version that lacks it.

The order of the three steps is what makes it right. **List** the deltas, then **read the pointer**, then **fetch**:

- A delta that was merged before the listing is gone from it, and is in the version that the pointer names later.
- A delta that is listed and not in that version's ``applied`` is pending, or it was merged *and* retired in between:
  then fetching it (``If-Match``) fails with 404 or 412, and everything starts over.
- A cached delta was not fetched, so a second listing, after the pointer was read, has to show it still.

Read the pointer first, and a promotion with its retirement in between hides the merged rows from both halves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from siltstone.clock import Clock
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.listing import PendingDelta, list_pending
from siltstone.deltas.reading import read_delta
from siltstone.deltas.retire import with_earlier_life
from siltstone.errors import BacklogTooLarge, BadDelta, ObjectNotFound, PreconditionFailed, StoreUnavailable
from siltstone.query.overlay import Overlay
from siltstone.query.reader import Opened, SnapshotReader
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.stores.objects import ObjectStore

MAX_PENDING_BYTES = 2**30  # of delta files; laid out in memory they take about 1.2 times that
_TRIES = 10
_FETCHERS = 8

_Identity = tuple[str, str, int]  # key, ETag, and time: a body put back after retirement has a later one


@dataclass(frozen=True)
class Strong:
    """A version (``None``: none was promoted yet) and what lies over it."""

    opened: Opened | None
    overlay: Overlay
    pending: int  # deltas laid over
    unusable: int  # deltas that the next run quarantines


class PendingReader:
    """Strong reads of any physical collection. Keeps the pending deltas' rows; safe for several threads."""

    def __init__(self, deltas: ObjectStore, reader: SnapshotReader, book: CollectionBook, workspace: Path) -> None:
        self._deltas = deltas
        self._reader = reader
        self._book = book
        self._workspace = workspace
        self._rows: dict[str, dict[_Identity, DeltaRows | None]] = {}
        self._overlays: dict[str, tuple[list[_Identity], Overlay]] = {}

    @contextlib.contextmanager
    def strong(self, collection: str, settings: CollectionSettings, clock: Clock) -> Generator[Strong]:
        """What a reader sees now. Raises `BacklogTooLarge`, and `StoreUnavailable` if compaction outruns every try."""
        with contextlib.ExitStack() as open_version:
            for attempt in range(_TRIES):
                found = self._try(collection, settings, open_version)
                if found is not None:
                    yield found
                    return
                open_version.close()  # another try, over the version that is current by then
                clock.sleep(0.01 * 2**attempt)
        raise StoreUnavailable(f"{collection} was compacted faster than it could be read, {_TRIES} times.")

    def _try(self, collection: str, settings: CollectionSettings, open_version: contextlib.ExitStack) -> Strong | None:
        listed = list_pending(self._deltas, collection, self._book).deltas
        opened = open_version.enter_context(self._reader.reading(collection, fresh=True))
        applied = {(delta.key, delta.etag) for delta in opened.manifest.applied} if opened else set[tuple[str, str]]()
        wanted = [delta for delta in listed if (delta.key, delta.etag) not in applied]
        if sum(delta.size for delta in wanted) > MAX_PENDING_BYTES:
            raise BacklogTooLarge(
                f"{collection} has {len(wanted)} pending deltas, over {MAX_PENDING_BYTES >> 20} MiB.",
                remedy="Compact it, or ask with consistency=snapshot.",
            )
        held = self._rows.get(collection, {})
        missing = [delta for delta in wanted if _identity(delta) not in held]
        try:
            fetched = self._fetch(missing, settings)
        except (ObjectNotFound, PreconditionFailed):
            return None
        if len(missing) < len(wanted) and not self._still_there(collection, wanted, held):
            return None
        # Only what is wanted now is kept: what was merged is in the version.
        rows = {identity: (fetched if identity in fetched else held)[identity] for identity in map(_identity, wanted)}
        self._rows[collection] = rows
        usable = [identity for identity, each in rows.items() if each is not None]
        overlay = self._lay(collection, usable, [each for each in rows.values() if each is not None], settings)
        return Strong(opened, overlay, len(usable), len(rows) - len(usable))

    def _fetch(
        self, missing: Sequence[PendingDelta], settings: CollectionSettings
    ) -> dict[_Identity, DeltaRows | None]:
        """Rows of each delta, or ``None`` for one that is no pending write: unusable, or put back after retirement."""
        if not missing:
            return {}
        returned = {delta.key for delta in with_earlier_life(self._deltas, missing)}

        def fetch(delta: PendingDelta) -> DeltaRows | None:
            if delta.key in returned:
                return None
            try:
                return read_delta(self._deltas, delta, settings, workspace=self._workspace)
            except BadDelta:
                return None

        with ThreadPoolExecutor(_FETCHERS) as pool:
            return dict(zip(map(_identity, missing), pool.map(fetch, missing), strict=True))

    def _still_there(
        self, collection: str, wanted: Sequence[PendingDelta], held: dict[_Identity, DeltaRows | None]
    ) -> bool:
        now = {_identity(delta) for delta in list_pending(self._deltas, collection, self._book).deltas}
        return all(identity in now for identity in map(_identity, wanted) if identity in held)

    def _lay(
        self, collection: str, identities: list[_Identity], rows: list[DeltaRows], settings: CollectionSettings
    ) -> Overlay:
        known = self._overlays.get(collection)
        if known is not None and known[0] == identities:
            return known[1]
        overlay = Overlay(rows, settings.dimension)
        self._overlays[collection] = (identities, overlay)
        return overlay


def _identity(delta: PendingDelta) -> _Identity:
    return delta.key, delta.etag, delta.last_modified
