"""A process with a function's environment: calls handlers and prints, between what they print, how each ended."""

from __future__ import annotations

import json
import sys
from typing import Any

from siltstone.compaction.messages import AcquireLockInput, Run, RunInput
from siltstone.errors import LockBusy, StoreUnavailable

from functions._entry import entry


class Context:
    """The part of Lambda's context that handlers use; the rest is for Powertools."""

    aws_request_id = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return 1_000


@entry("Download", RunInput)
def download(request: RunInput, _context: object) -> Run:
    """Answers."""
    return request.run


@entry("AcquireLock", AcquireLockInput, count_errors={LockBusy: "LockContentionCount"})
def acquire(request: AcquireLockInput, _context: object) -> Run:
    """Raises what the execution's name says."""
    raise {"busy": LockBusy("Somebody has it."), "down": StoreUnavailable("No answer.")}[request.execution]


def main() -> None:
    """Take a list of ``[handler, event]`` from standard input."""
    for name, event in json.load(sys.stdin):
        ended: dict[str, Any]
        try:
            ended = {"returned": {"download": download, "acquire": acquire}[name](event, Context())}
        except Exception as error:
            ended = {"raised": type(error).__name__, "message": str(error)}
        sys.stdout.write(json.dumps({"ended": ended}) + "\n")


if __name__ == "__main__":
    main()
