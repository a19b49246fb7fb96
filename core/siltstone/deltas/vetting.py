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
from typing import IO, Any, cast

from siltstone.deltas.codec import DeltaHeader
from siltstone.errors import BadDelta, SchemaTooNew, StoreUnavailable
from siltstone.settings import CollectionSettings

CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL, -signal.SIGXCPU}
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
        return self._ask(str(path))

    def convert(self, source: Path, target: Path, collection: str, settings: CollectionSettings) -> None:
        """Write a delta of the oldest layout to ``target`` in today's, judged for ``collection``. Raises so, too."""
        self._ask(str(source), str(target), collection, settings.model_dump(mode="json"))

    def close(self) -> None:
        """End the process. The next use starts another."""
        with self._lock:
            self._end()

    def _ask(self, *request: Any) -> DeltaHeader:
        with self._lock:
            answer = self._exchange(json.dumps(request))
        found = json.loads(answer)
        if "error" not in found:
            return DeltaHeader.model_validate(found)
        kind = SchemaTooNew if found["error"] == SchemaTooNew.__name__ else BadDelta
        raise kind(found["message"], remedy=found["remedy"])

    def _end(self) -> int:
        """The exit status of the process; 0 if there is none."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(BrokenPipeError):
            process.communicate()
        return process.returncode

    def _exchange(self, request: str) -> str:
        process = self._process = self._process or self._start()
        requests, answers = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        try:
            requests.write(request + "\n")
            requests.flush()
            answer = answers.readline()
        except BrokenPipeError:
            answer = ""
        if answer.endswith("\n"):
            return answer
        status = self._end()
        if status in CRASHES:
            raise BadDelta(
                f"The delta can't be used: its reader ended with {signal.Signals(-status).name}.",
                remedy="Write it again with siltstone.deltas.writer.",
            )
        raise StoreUnavailable(f"The reader of deltas ended with {status}.", remedy="Give the function more memory.")

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
