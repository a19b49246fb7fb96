"""What the tests of the compaction machine share."""

from __future__ import annotations

from typing import Any

from tests.statemachines.stage import Action, answers

RUN = ["AcquireLock", "Download", "Merge", "Upload", "PromotePointer", "Retire", "ReleaseLock"]
IDLE = ["AcquireLock", "Download", "Retire", "ReleaseLock"]


def due(*collections: str, more: bool = False) -> Action:
    """These are due, in this order."""
    return answers(due=[_due(name) for name in collections], more=more)


def _due(collection: str) -> dict[str, Any]:
    return {"collection": collection, "reason": "count", "deltas": 30, "bytes": 1000, "oldest_age_seconds": 60.0}
