"""The function's scratch disk: private working folders, and warm ones that are kept for the next call within bounds.

Every folder is locked (``flock`` on the folder itself) by whoever uses it. A process that dies lets go, so what nobody
holds can be removed: a turn that was killed leaves nothing for long, and of two functions that share a disk, as on a
developer's machine, none removes the other's work.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ulid import ULID

_PRIVATE = "private-"


class Scratch:
    """Folders under ``root``, at most ``keep`` warm ones."""

    def __init__(self, root: Path, *, keep: int = 2) -> None:
        self._root = root
        self._keep = keep
        root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def private(self) -> Generator[Path]:
        """A new, empty folder of this call alone; removed at the end."""
        with self.kept(f"{_PRIVATE}{ULID()}") as folder:
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def kept(self, name: str) -> Generator[Path]:
        """The folder ``name``, as it was left or empty, kept afterwards. Waits while another call holds it."""
        folder = self._root / name
        descriptor = _lock(folder)
        try:
            os.utime(folder)  # used last
            yield folder
        finally:
            os.close(descriptor)

    def sweep(self) -> None:
        """Remove what calls that died left behind, and warm folders beyond the bound, the longest unused first."""
        warm = self._warm()
        for folder in [*self._root.glob(f"{_PRIVATE}*"), *warm[: max(0, len(warm) - self._keep)]]:
            _remove_unused(folder)

    def make_room(self, needed: int) -> None:
        """Remove warm folders that nobody uses, the longest unused first, until ``needed`` bytes are free."""
        for folder in self._warm():
            if shutil.disk_usage(self._root).free >= needed:
                return
            _remove_unused(folder)

    def _warm(self) -> list[Path]:
        found: list[tuple[float, Path]] = []
        for folder in self._root.iterdir():
            if folder.is_dir() and not folder.name.startswith(_PRIVATE):
                try:
                    found.append((folder.stat().st_mtime, folder))
                except FileNotFoundError:  # another call removed it
                    continue
        return [folder for _, folder in sorted(found)]


def _lock(folder: Path) -> int:
    """Make ``folder``, lock it, and return the descriptor that holds the lock."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # removed while we waited: make it again


def _remove_unused(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # in use
    finally:
        os.close(descriptor)
