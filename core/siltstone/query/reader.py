"""Whole versions, as the pointer names them.

A process that reads follows each collection's pointer: it is asked at most every few seconds, by a conditional GET.
When it names a greater token, the new version is fetched and verified beside the old one, then takes its place as a
whole. Meanwhile, and also if that fails, everybody else goes on with the old one.

    pointer   v5 ───────────────▶ v6 ─────────────────▶ v7
    reader    v5 v5 v5 v5 (fetching v6) v6 v6 (v7 damaged) v6 "stale: ..."
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from siltstone import keys
from siltstone.clock import Clock
from siltstone.compaction.documents import Manifest, Pin
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.version import Version
from siltstone.errors import (
    ObjectNotFound,
    PointerMissing,
    SiltstoneError,
    SnapshotDamaged,
    StoreUnavailable,
    UnknownVersion,
)
from siltstone.query.index import OpenIndex, SnapshotIndex
from siltstone.query.opened import Opened, OpenVersions
from siltstone.stores.objects import ObjectStore

REFRESH_SECONDS = 2.0
KEEP_BYTES = 3 * 2**29  # of open versions; an index takes 1.35 times its file of memory, and a function has some 3 GB
_MOVES = 5  # how often a pointer may move on while what it named is fetched


@dataclass(frozen=True)
class Reading:
    """One whole version. ``stale``: why a newer one could not be opened, where that is so."""

    manifest: Manifest
    index: SnapshotIndex
    stale: str | None = None


@dataclass(eq=False)
class _Followed:
    """What is known of one collection's pointer. ``version`` only ever moves to a greater token."""

    refreshing: threading.Lock = field(default_factory=threading.Lock)  # guards the fields below
    version: str | None = None
    etag: str | None = None
    asked: float | None = None  # monotonic seconds; None: never
    stale: str | None = None


class SnapshotReader:
    """Reads versions of any collection. Safe for several threads; one for each process is enough."""

    def __init__(
        self,
        snapshots: ObjectStore,
        clock: Clock,
        workspace: Path,
        open_index: OpenIndex,
        *,
        refresh_seconds: float = REFRESH_SECONDS,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self._snapshots = snapshots
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._versions = OpenVersions(snapshots, workspace, open_index, keep_bytes=keep_bytes)
        self._collections: dict[str, _Followed] = {}
        self._gate = threading.Lock()

    @contextmanager
    def reading(self, collection: str, *, version: str | None = None, fresh: bool = False) -> Generator[Reading | None]:
        """The current version, or the one named; ``None`` if none was ever promoted. ``fresh``: ask the pointer now.

        A refresh that fails keeps serving the version before, and says so in `Reading.stale`; with ``fresh`` it raises,
        since an answer from an older version would be wrong. Raises `UnknownVersion` for a named version that was never
        published or is past retention, and `PointerMissing`, `SnapshotDamaged`, `StoreUnavailable` where there is no
        version to serve.
        """
        if version is not None:
            Version.parse(version)
            opened, stale = self._versions.enter(collection, version), None
        else:
            opened, stale = self._enter_newest(collection, fresh=fresh)
        try:
            yield None if opened is None else Reading(opened.manifest, opened.index, stale)
        finally:
            if opened is not None:
                self._versions.leave(opened)

    def close(self) -> None:
        """Close every version and remove its files; who still reads finishes first."""
        self._versions.close()

    def _enter_newest(self, collection: str, *, fresh: bool) -> tuple[Opened | None, str | None]:
        with self._gate:
            followed = self._collections.setdefault(collection, _Followed())
        # One asks. The others go on with what is there, unless they need the newest or there is nothing yet.
        if (fresh or self._is_due(followed)) and followed.refreshing.acquire(blocking=fresh or followed.asked is None):
            try:
                if fresh or self._is_due(followed):
                    opened = self._refresh(collection, followed, fresh=fresh)
                    if opened is not None:
                        return opened, None
            finally:
                followed.refreshing.release()
        while (version := followed.version) is not None:
            opened = self._versions.enter_open(collection, version)
            if opened is not None:
                return opened, followed.stale
            # Replaced a moment ago, or dropped to make room for another collection's: then it is fetched again.
            with followed.refreshing:
                if followed.version == version:
                    return self._follow(collection, followed), None
        return None, None

    def _is_due(self, followed: _Followed) -> bool:
        return followed.asked is None or self._clock.monotonic() - followed.asked >= self._refresh_seconds

    def _refresh(self, collection: str, followed: _Followed, *, fresh: bool) -> Opened | None:
        opened: Opened | None = None
        try:
            opened = self._follow(collection, followed)
        except Exception as error:  # whatever it is: the version before is as good as it was
            if followed.version is None or fresh:
                raise
            words = error.message if isinstance(error, SiltstoneError) else str(error)
            followed.stale = f"{type(error).__name__}: {words}"[:500]
        followed.asked = self._clock.monotonic()
        return opened

    def _follow(self, collection: str, followed: _Followed) -> Opened | None:
        """Ask the pointer, move to the version that it names if its token is greater, and enter what is current."""
        gone: str | None = None
        for _ in range(_MOVES):
            pin = self._ask(collection, followed)
            version = _newer(followed.version, pin.version)
            if version is None:
                return None
            try:
                opened = self._versions.enter(collection, version)
            except UnknownVersion as error:
                # The pointer moved on, and retention removed what it named before: ask it again.
                if version == gone:
                    raise SnapshotDamaged(
                        f"The pointer of {collection} names {version}, which has no manifest.", remedy="Roll back."
                    ) from error
                gone = version
                continue
            # Only what is open counts as seen: a fetch that failed is tried again.
            before, followed.version, followed.etag, followed.stale = followed.version, version, pin.etag, None
            if before is not None and before != version:
                self._versions.drop(collection, before)
            return opened
        raise StoreUnavailable(f"The pointer of {collection} moved on {_MOVES} times while its version was fetched.")

    def _ask(self, collection: str, followed: _Followed) -> Pin:
        """What the pointer says. Nothing is transferred while it stands still. Raises `PointerMissing`."""
        key = keys.pointer(collection)
        if followed.etag is not None:
            with suppress(ObjectNotFound):  # what that means, `read_pointer` says
                if self._snapshots.get_if_changed(key, followed.etag) is None:
                    return Pin(version=followed.version, etag=followed.etag)
        pin = read_pointer(self._snapshots, collection)
        if pin.version is None and followed.version is not None:
            raise PointerMissing(f"{key} is gone with its history.", remedy="Write it again from the newest manifest.")
        return pin


def _newer(held: str | None, named: str | None) -> str | None:
    """Never back: what this process saw, it keeps seeing."""
    if held is None or named is None:
        return held or named
    return max(held, named, key=lambda version: Version.parse(version).token)
