"""Whole versions, opened for reading: fetched into a private folder, verified, replaced as a whole.

A process that reads holds one current version per collection. The pointer is asked again at most every few seconds,
by a conditional GET; when it names a greater token, the new version is fetched and verified beside the old one and
takes its place. Somebody who is still reading the old one finishes: it is closed when its last reader leaves.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from siltstone import keys
from siltstone.clock import Clock
from siltstone.compaction.documents import Manifest
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.version import Version
from siltstone.errors import SiltstoneError, UnknownVersion
from siltstone.query.index import OpenIndex, SnapshotIndex
from siltstone.snapshots.restore import restore_version
from siltstone.stores.objects import ObjectStore
from siltstone.stores.vectors import CollectionSpec

REFRESH_SECONDS = 2.0
_OLD_VERSIONS_KEPT = 2  # opened by `version=`; each takes 1.35 times its index file of memory
_MOVES = 5  # how often a pointer may move on while we fetch what it named


@dataclass
class Opened:
    """One version, open. ``stale``: why a newer one could not be opened, where that is so."""

    manifest: Manifest
    index: SnapshotIndex
    folder: Path
    stale: str | None = None
    _readers: int = field(default=0, repr=False)
    _replaced: bool = field(default=False, repr=False)
    _gate: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def enter(self) -> None:
        """One more reader: it stays open until `leave`, also if a newer version replaces it meanwhile."""
        with self._gate:
            self._readers += 1

    def leave(self) -> None:
        """One reader less."""
        with self._gate:
            self._readers -= 1
            self._close_if_left()

    def replaced(self) -> None:
        """A newer version took its place: close it now, or when its last reader leaves."""
        with self._gate:
            self._replaced = True
            self._close_if_left()

    def _close_if_left(self) -> None:
        if self._replaced and self._readers == 0 and self.folder.exists():
            self.index.close()
            shutil.rmtree(self.folder, ignore_errors=True)


class SnapshotReader:
    """Opens versions of any collection. Safe for several threads; one per process is enough."""

    def __init__(
        self,
        snapshots: ObjectStore,
        clock: Clock,
        workspace: Path,
        open_index: OpenIndex,
        *,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        workspace.mkdir(parents=True, exist_ok=True)
        # Private: opening a version writes to its sqlite file, and another process may read the same version.
        self._private = tempfile.TemporaryDirectory(dir=workspace, prefix="reader-", ignore_cleanup_errors=True)
        self._snapshots = snapshots
        self._clock = clock
        self._open_index = open_index
        self._refresh_seconds = refresh_seconds
        self._current: dict[str, Opened] = {}
        self._asked: dict[str, float] = {}
        self._etags: dict[str, str] = {}
        self._old: dict[tuple[str, str], Opened] = {}
        self._gates: dict[str, threading.RLock] = {}
        self._gate = threading.Lock()
        self._old_gate = threading.Lock()

    @contextlib.contextmanager
    def reading(self, collection: str, *, version: str | None = None, fresh: bool = False) -> Generator[Opened | None]:
        """The current version, or the one named; ``None`` if none was ever promoted. ``fresh``: ask the pointer now.

        A refresh that fails keeps serving the version that is open, and says so in `Opened.stale`; with ``fresh`` it
        raises, since an answer from an older version would be wrong. Raises `UnknownVersion` for an old version that
        was never published or is past retention, and `PointerMissing`, `SnapshotDamaged`, `StoreUnavailable` where
        no version is open.
        """
        with self._collection_gate(collection):
            opened = self._at(collection, version) if version else self._newest(collection, fresh=fresh)
            if opened is not None:
                opened.enter()
        try:
            yield opened
        finally:
            if opened is not None:
                opened.leave()

    def _newest(self, collection: str, *, fresh: bool) -> Opened | None:
        held = self._current.get(collection)
        asked = self._asked.get(collection)
        if held and not fresh and asked is not None and self._clock.monotonic() - asked < self._refresh_seconds:
            return held
        try:
            newest = self._follow(collection, held)
        except SiltstoneError as error:
            if held is None or fresh:
                raise
            held.stale = f"{type(error).__name__}: {error.message}"
            newest = held
        else:
            if newest is not None:
                newest.stale = None
        self._asked[collection] = self._clock.monotonic()
        return newest

    def _at(self, collection: str, version: str) -> Opened:
        Version.parse(version)
        held = self._current.get(collection)
        if held is not None and held.manifest.version == version:
            return held
        with self._old_gate:
            found = self._old.pop((collection, version), None) or self._open(collection, version)
            self._old[(collection, version)] = found  # last in order: the most recently used
            while len(self._old) > _OLD_VERSIONS_KEPT:
                self._old.pop(next(iter(self._old))).replaced()
        return found

    def close(self) -> None:
        """Close every version and remove the private folder."""
        with self._gate:
            for opened in (*self._current.values(), *self._old.values()):
                opened.replaced()
            self._current.clear()
            self._old.clear()
        self._private.cleanup()

    def _collection_gate(self, collection: str) -> threading.RLock:
        with self._gate:
            return self._gates.setdefault(collection, threading.RLock())

    def _follow(self, collection: str, held: Opened | None) -> Opened | None:
        """Read the pointer; fetch what it names if its token is greater than what is held."""
        for _ in range(_MOVES):
            named = self._named(collection, held)
            if named is None:
                return held
            if held and Version.parse(named).token <= held.manifest.token:
                return held  # never back: what this process saw, it keeps seeing
            try:
                opened = self._open(collection, named)
            except UnknownVersion:
                # The pointer moved on and retention removed what it named before. Ask it again.
                self._etags.pop(collection, None)
                continue
            self._current[collection] = opened
            if held:
                held.replaced()
            return opened
        raise UnknownVersion(
            f"The pointer of {collection} named {_MOVES} versions in turn that could not be fetched.",
            remedy="Run `siltstone verify`: a version must not be removed while the pointer names it.",
        )

    def _named(self, collection: str, held: Opened | None) -> str | None:
        """The version that the pointer names, or ``None``: unchanged since last asked, or no pointer ever."""
        etag = self._etags.get(collection)
        # The cheap way: nothing is transferred while the pointer stands still.
        if held and etag and self._snapshots.get_if_changed(keys.pointer(collection), etag) is None:
            return None
        pin = read_pointer(self._snapshots, collection)
        if pin.etag is not None:
            self._etags[collection] = pin.etag
        return pin.version

    def _open(self, collection: str, version: str) -> Opened:
        manifest = read_manifest(self._snapshots, collection, version)
        folder = Path(tempfile.mkdtemp(dir=self._private.name, prefix=f"{version}-"))
        try:
            restore_version(self._snapshots, manifest, folder / "files")
            index = self._open_index(
                folder / "files", CollectionSpec.of(keys.split_shard(collection)[0], manifest.settings)
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Opened(manifest, index, folder)
