"""Versions on the local disk, open: fetched once, verified, shared by who reads them, removed when nobody does.

Somebody who still reads a version that was dropped finishes first: it is closed when its last reader leaves.
"""

from __future__ import annotations

import shutil
import threading
import weakref
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ulid import ULID

from siltstone.compaction.documents import Manifest
from siltstone.compaction.manifests import read_manifest
from siltstone.errors import InvalidInput
from siltstone.query.index import OpenIndex, SnapshotIndex
from siltstone.snapshots.restore import restore_version
from siltstone.snapshots.scratch import Scratch
from siltstone.stores.objects import ObjectStore
from siltstone.stores.vectors import CollectionSpec

_Key = tuple[str, str]  # collection, version


@dataclass(eq=False)
class Opened:
    """One version, open. ``index`` may be used between `OpenVersions.enter` and `OpenVersions.leave`."""

    manifest: Manifest
    index: SnapshotIndex
    folder: Path
    readers: int = 1
    dropped: bool = False


class OpenVersions:
    """Opens versions of any collection, each at most once at a time. Safe for several threads.

    ``keep_bytes``: of files; beyond it the versions unused for longest are dropped. A process may be asked for one
    collection after the other, and its disk and memory are bounded.
    """

    def __init__(self, snapshots: ObjectStore, workspace: Path, open_index: OpenIndex, *, keep_bytes: int) -> None:
        self._snapshots = snapshots
        self._open_index = open_index
        self._keep_bytes = keep_bytes
        self._gate = threading.Lock()  # over all below; never held while a file or the network is waited for
        self._open: OrderedDict[_Key, Opened] = OrderedDict()  # used last comes last
        self._fetching: dict[str, threading.Lock] = {}
        self._folders = 0
        self._closed = False
        # Private: opening a version writes to its sqlite file, and another process may read the same version.
        scratch = Scratch(workspace)
        scratch.sweep()
        self._stack = ExitStack()
        self._private = self._stack.enter_context(scratch.private())
        weakref.finalize(self, self._stack.close)  # at the latest when the process ends

    def enter(self, collection: str, version: str) -> Opened:
        """The version, fetched if need be; `leave` it. Of several threads that want it, one fetches.

        Raises `UnknownVersion`, `SnapshotDamaged`, `ManifestDamaged`, `DiskFull`, `StoreUnavailable`.
        """
        key = (collection, version)
        found = self.enter_open(collection, version)
        if found is not None:
            return found
        with self._gate:
            fetching = self._fetching.setdefault(collection, threading.Lock())
        with fetching:
            return self.enter_open(collection, version) or self._keep(key, self._fetch(collection, version))

    def enter_open(self, collection: str, version: str) -> Opened | None:
        """The version if it is open, else ``None``."""
        with self._gate:
            if self._closed:
                raise InvalidInput("The reader is closed.", remedy="Make another one.")
            found = self._open.get((collection, version))
            if found is not None:
                self._open.move_to_end((collection, version))
                found.readers += 1
            return found

    def leave(self, opened: Opened) -> None:
        """One reader less."""
        with self._gate:
            opened.readers -= 1
            done = opened.dropped and opened.readers == 0
        if done:
            self._remove(opened)

    def drop(self, collection: str, version: str) -> None:
        """It is of no more use: close it now, or when its last reader leaves."""
        with self._gate:
            unused = self._drop([(collection, version)])
        for opened in unused:
            self._remove(opened)

    def close(self) -> None:
        """Drop every version; the private folder goes with the last. Calling it again does nothing."""
        with self._gate:
            self._closed = True
            unused = self._drop(list(self._open))
        for opened in unused:
            self._remove(opened)
        self._leave_folder()

    def _fetch(self, collection: str, version: str) -> Opened:
        manifest = read_manifest(self._snapshots, collection, version)
        folder = self._private / str(ULID())
        with self._gate:
            self._folders += 1
        try:
            restore_version(self._snapshots, manifest, folder)
            index = self._open_index(folder, CollectionSpec.of(collection, manifest.settings))
        except BaseException:
            self._remove_folder(folder)
            raise
        return Opened(manifest, index, folder)

    def _keep(self, key: _Key, opened: Opened) -> Opened:
        with self._gate:
            self._open[key] = opened
            # Closed meanwhile: whoever asked for it still gets it, and it goes when they leave.
            unused = self._drop(list(self._open) if self._closed else self._beyond())
        for each in unused:
            self._remove(each)
        return opened

    def _beyond(self) -> list[_Key]:
        """The longest unused, as many as it takes to come within the bound; never the one used last."""
        total = sum(opened.manifest.total_bytes for opened in self._open.values())
        found: list[_Key] = []
        for key, opened in list(self._open.items())[:-1]:
            if total <= self._keep_bytes:
                break
            total -= opened.manifest.total_bytes
            found.append(key)
        return found

    def _drop(self, keys: list[_Key]) -> list[Opened]:
        """Forget these; return those that nobody reads, for the caller to remove once it let go of the gate."""
        dropped = [self._open.pop(key) for key in keys if key in self._open]
        for opened in dropped:
            opened.dropped = True
        return [opened for opened in dropped if opened.readers == 0]

    def _remove(self, opened: Opened) -> None:
        try:
            opened.index.close()
        finally:
            self._remove_folder(opened.folder)

    def _remove_folder(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        with self._gate:
            self._folders -= 1
        self._leave_folder()

    def _leave_folder(self) -> None:
        with self._gate:
            done = self._closed and self._folders == 0
        if done:
            self._stack.close()
