"""What a process that reads bytes of others may take: the system ends it, and whoever asked has a verdict.

Linux alone tells how much a process has, and alone holds it to a limit.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def at_most(size: int, seconds: float) -> Generator[None]:
    """Let this process have ``size`` more bytes of memory than now, and ``seconds`` more of processor time.

    Python raises `MemoryError` then, and what is written in other languages aborts; too much time is ``SIGXCPU``.
    """
    until = math.ceil(time.process_time() + seconds)
    with _limit(resource.RLIMIT_CPU, until), _limit(resource.RLIMIT_DATA, _data_bytes() + size):
        yield


def resident_bytes() -> int:
    """Of this process; 0 where the system does not tell."""
    return _pages(1)


@contextmanager
def _limit(which: int, value: int) -> Generator[None]:
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


def _data_bytes() -> int:
    """What counts against the limit by now."""
    return _pages(5) or 2**40


def _pages(field: int) -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[field]) * resource.getpagesize()
    except FileNotFoundError:
        return 0
