"""Where a Chroma directory is taken over from: a folder, or a prefix of a bucket. It is copied and never opened there.

Copied are ``chroma.sqlite3`` and the index folders, nothing else that lies beside them. A directory that changes while
it is copied is refused: half of the old and half of the new would open, count right, and answer wrongly.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from siltstone.errors import InvalidInput, ObjectNotFound, PreconditionFailed, SnapshotDamaged
from siltstone.parallel import in_parallel
from siltstone.snapshots.chroma import SQLITE_FILE
from siltstone.snapshots.files import files_in, room_for
from siltstone.stores.objects import ObjectInfo, ObjectStore

POINTER = "latest/pointer.txt"  # of the reference design: it names a prefix of the same bucket
_INDEX_FILE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/[^/]+")
_UNFINISHED = (f"{SQLITE_FILE}-journal", f"{SQLITE_FILE}-wal")
_CHANGED = "Stop its writer, wait until it has closed it, and start again."


class ChromaSource(Protocol):
    """A Chroma directory somewhere else."""

    @property
    def name(self) -> str:
        """How a person calls it."""
        ...

    def copy_to(self, folder: Path) -> None:
        """Make ``folder`` (new) a copy. Raises `InvalidInput` where there is none, `SnapshotDamaged` if it changes."""
        ...


@dataclass(frozen=True)
class LocalDirectory:
    """A folder of this machine."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def copy_to(self, folder: Path) -> None:
        if not (self.path / SQLITE_FILE).is_file():
            raise InvalidInput(
                f"{self.path} is no Chroma directory: it has no {SQLITE_FILE}.",
                remedy="Name the folder that chromadb.PersistentClient opens.",
            )
        before = self._state()
        unfinished = [name for name in _UNFINISHED if before.get(name, (0, 0))[0]]
        if unfinished:
            raise SnapshotDamaged(f"{self.path} is being written to: it has a {unfinished[0]}.", remedy=_CHANGED)
        with room_for(folder):
            for path in _chroma_files(before):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.path / path, folder / path)
            if self._state() != before:
                raise SnapshotDamaged(f"{self.path} changed while it was copied.", remedy=_CHANGED)

    def _state(self) -> dict[str, tuple[int, int]]:
        """Each file's size in bytes and time in nanoseconds."""
        stats = {path: (self.path / path).stat() for path in files_in(self.path)}
        return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


@dataclass(frozen=True)
class BucketPrefix:
    """A prefix of a bucket: a directory itself, or the reference design's ``snapshots/`` with its ``latest/``.

    ``url``: how a person calls it.
    """

    store: ObjectStore
    prefix: str
    url: str

    @property
    def name(self) -> str:
        return self.url

    def copy_to(self, folder: Path) -> None:
        prefix = self._directory()
        before = self._objects(prefix)

        def fetch(path: str) -> None:
            self.store.get_file(prefix + path, folder / path, if_match=before[path].etag)

        with room_for(folder):
            paths = _chroma_files(before)
            for path in paths:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
            try:
                in_parallel(fetch, paths)
            except (ObjectNotFound, PreconditionFailed) as error:
                raise SnapshotDamaged(f"{self.url} changed while it was copied.", remedy=_CHANGED) from error
            # Every file is as it was listed; that the list was whole, only a second one tells.
            if self._objects(prefix) != before:
                raise SnapshotDamaged(f"{self.url} changed while it was copied.", remedy=_CHANGED)

    def _directory(self) -> str:
        """The prefix that the files lie under, with its closing ``/``."""
        base = self.prefix.strip("/") + "/" if self.prefix.strip("/") else ""
        candidates = [base]
        for pointer in (base + POINTER, base + "pointer.txt"):
            if self.store.head(pointer) is not None:
                named = self.store.get(pointer).body[:1_000].decode("utf-8", "replace").strip().strip("/") + "/"
                candidates += [named, base + named]
        candidates.append(base + "latest/")
        for candidate in candidates:
            if self.store.head(candidate + SQLITE_FILE) is not None:
                return candidate
        near = [each for each in self.store.list_prefixes(base) if self.store.head(each + SQLITE_FILE) is not None]
        raise InvalidInput(
            f"{self.url} is no Chroma directory: it has no {SQLITE_FILE} and no {POINTER} that names one.",
            remedy=f"Name one of {', '.join(near[-3:])}." if near else "Name the prefix that holds the files.",
        )

    def _objects(self, prefix: str) -> dict[str, ObjectInfo]:
        return {found.key.removeprefix(prefix): found for found in self.store.list(prefix)}


def _chroma_files(paths: Iterable[str]) -> list[str]:
    return sorted(path for path in paths if path == SQLITE_FILE or _INDEX_FILE.fullmatch(path))
