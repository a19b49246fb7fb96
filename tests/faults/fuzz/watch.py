"""What one input did to its process: memory, writes outside the working folder, an endless loop."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

CPU_SECONDS = 60.0  # no input here takes a second: this says "endless", it measures nothing

# Which arguments of an audit event are paths that are written to, and which the folders that they are relative to.
_WRITES: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.rename": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.mkdir": ((0, 2),),
    "os.rmdir": ((0, 1),),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.chmod": ((0, 2),),
    "shutil.copyfile": ((1, None),),
    "shutil.move": ((1, None),),
    "socket.connect": ((1, None),),
}


class Endless(BaseException):
    """One input kept its reader busy for `CPU_SECONDS`."""


class Strayed(BaseException):
    """A write outside the working folder was tried."""


class Fence:
    """Refuses every write outside ``folder`` from Python, and finds those of anybody under ``around`` afterwards."""

    def __init__(self, folder: Path, around: Path) -> None:
        self._inside = (f"{folder}{os.sep}", str(folder))
        self._around = around
        self._folder = folder
        self._up = False
        self._before = self._tree()
        sys.addaudithook(self._look)

    @contextmanager
    def up(self) -> Generator[None]:
        self._up = True
        try:
            yield
        finally:
            self._up = False

    def check(self) -> None:
        """Raises `Strayed` if anything around the folder is not as it was."""
        if self._tree() != self._before:
            raise Strayed(f"{self._around} is not as it was")

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._up:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = any(each in (mode or "") for each in "wax+") or (flags or 0) & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT
            )
            if writes and isinstance(path, (str, bytes)):
                self._refuse(event, path)
        for place, folder in _WRITES.get(event, ()):
            self._refuse(event, arguments[place], -1 if folder is None else arguments[folder])

    def _refuse(self, event: str, path: Any, folder: int = -1) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            raise Strayed(f"{event} of {path}")
        start = "" if folder == -1 else os.readlink(f"/proc/self/fd/{folder}")  # noqa: PTH115
        real = os.path.realpath(os.path.join(start, os.fsdecode(path)))  # noqa: PTH118
        if not real.startswith((self._inside[0], "/dev/", "/proc/self")) and real != self._inside[1]:
            self._up = False
            raise Strayed(f"{event} of {real[:200]}")

    def _tree(self) -> str:
        found = [
            (str(path), path.lstat().st_size, path.lstat().st_mtime_ns)
            for path in sorted(self._around.rglob("*"))
            if self._folder not in (path, *path.parents)
        ]
        return hashlib.sha256(repr(found).encode()).hexdigest()


@contextmanager
def time_limit() -> Generator[None]:
    def stop(*_: object) -> None:
        raise Endless

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def forget_peak() -> int:
    """Start a new measurement of the peak; the memory in use now, bytes, without what allocators only keep."""
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """The most memory since `forget_peak`, bytes."""
    return _status("VmHWM")


def peak_of(code: str) -> int:
    """The most memory of a process that runs this, whether it raises or not, bytes; 60 MB of it are its imports."""
    told = f"try:\n    {code}\nfinally:\n    print(open('/proc/self/status').read())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, env=environment, check=False)
    return next(int(line.split()[1]) * 1024 for line in done.stdout.splitlines() if line.startswith("VmHWM"))


def peak_of_reading(path: Path) -> int:
    """Of a process that reads this delta as the product's reader does."""
    return peak_of(f"from siltstone.deltas.delta_reader import *; read_first(Path({str(path)!r}))")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
