"""The function processes of one emulator: found exactly, killed exactly.

A function's bootstrap makes the folder ``scratch/{function}/{pid}`` and then becomes the function (``exec`` keeps the
pid). A process counts only while it is still in the emulator's process group, so a number that the system has given
to somebody else is never touched.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_GONE_WITHIN = 10.0  # seconds
_POLL = 0.02


@dataclass(frozen=True)
class FunctionProcess:
    """One warm process. ``function``: the deployed function's name."""

    pid: int
    function: str
    scratch: Path


def function_processes(scratch: Path, group: int) -> list[FunctionProcess]:
    """The living function processes in process group ``group``, by function and pid."""
    found: list[FunctionProcess] = []
    for folder in sorted(scratch.glob("*/*")):
        if not folder.name.isdigit():
            continue
        pid = int(folder.name)
        if _group_of(pid) == group and not _is_zombie(pid):
            found.append(FunctionProcess(pid, folder.parent.name, folder))
    return found


def kill_processes(processes: list[FunctionProcess], group: int) -> None:
    """SIGKILL them, as Lambda's sandbox does, and wait until they are gone."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + _GONE_WITHIN
    while time.monotonic() < deadline:
        if not any(_group_of(each.pid) == group and not _is_zombie(each.pid) for each in processes):
            return
        time.sleep(_POLL)


def end_group(group: int, ended: Callable[[], bool], seconds: float) -> bool:
    """SIGINT for a graceful stop of the leader ``group``, then SIGKILL for whatever is left of its group.

    ``ended`` tells whether the leader has ended. Returns whether it did within ``seconds``.
    """
    if not ended():
        with suppress(ProcessLookupError):
            os.kill(group, signal.SIGINT)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not ended():
        time.sleep(_POLL)
    graceful = ended()
    with suppress(ProcessLookupError, PermissionError):  # the latter: only zombies are left (macOS)
        os.killpg(group, signal.SIGKILL)
    while not graceful and not ended():
        time.sleep(_POLL)
    return graceful


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _is_zombie(pid: int) -> bool:
    try:
        # The command in parentheses may hold spaces and parentheses: the state follows the last one.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False  # gone, or a system without /proc, where the emulator collects its children soon
