"""Deltas are read in a process of their own first: some damaged Parquet ends the process that reads it.

Arrow checks much; over some of the rest it aborts or goes on for ever, and a page of 64 KB may ask for 2 GB. What ends
the reader is a verdict over one delta and not the end of a run. What it read without harm is read again in process: the
same bytes do the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from siltstone.deltas.codec import DeltaHeader
from siltstone.errors import BadDelta, SchemaTooNew, StoreUnavailable

CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL}
"""Exit statuses that say that the bytes were at fault. Killed (for memory, or by a person) is no verdict."""


def child_environment() -> dict[str, str]:
    """For a process that imports what this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class Vetting:
    """One reading process: started at the first use, again after a crash, kept for the next run. Safe for threads."""

    def __init__(self, patience: float = 1.0) -> None:
        self._patience = patience  # times what is allowed of processor time
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def header(self, path: Path) -> DeltaHeader:
        """The header of a delta in a private file, once all of it was read.

        Raises `BadDelta`, `SchemaTooNew`, and `StoreUnavailable` if the reader was killed.
        """
        with self._lock:
            answer = self._ask(str(path))
        found = json.loads(answer)
        if "error" not in found:
            return DeltaHeader.model_validate(found)
        kind = SchemaTooNew if found["error"] == SchemaTooNew.__name__ else BadDelta
        raise kind(found["message"], remedy=found["remedy"])

    def close(self) -> None:
        """End the process. The next use starts another."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(BrokenPipeError):
                process.communicate()

    def _ask(self, path: str) -> str:
        process = self._process = self._process or self._start()
        requests, answers = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        try:
            requests.write(json.dumps(path) + "\n")
            requests.flush()
            answer = answers.readline()
        except BrokenPipeError:
            answer = ""
        if answer.endswith("\n"):
            return answer
        self.close()
        if process.returncode in CRASHES | {-signal.SIGXCPU}:
            raise BadDelta(
                f"The delta can't be used: its reader ended with {signal.Signals(-process.returncode).name}.",
                remedy="Write it again with siltstone.deltas.writer.",
            )
        raise StoreUnavailable(
            f"The reader of deltas ended with {process.returncode}.", remedy="Give the function more memory."
        )

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - this interpreter and this package
            [sys.executable, "-m", "siltstone.deltas.delta_reader", str(self._patience)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # Arrow's words over a crash name no delta
            text=True,
            env=child_environment(),
        )


vetting = Vetting()
