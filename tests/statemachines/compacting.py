"""What the tests of the compaction machine share."""

from __future__ import annotations

from typing import Any

from tests.statemachines.stage import Action, Call, Execution, Stage, answers

RUN = ["AcquireLock", "Download", "Merge", "Upload", "PromotePointer", "Retire", "ReleaseLock"]
IDLE = ["AcquireLock", "Download", "Retire", "ReleaseLock"]
BASE = "20260130_000000_00000000"
REF = {"key": "staging/x/work.json", "etag": '"w"', "sha256": "1" * 64}
PARTS_REMAIN = answers(parts_done=1, sealed=None, work=REF)


def due(*collections: str, more: bool = False) -> Action:
    """These are due, in this order."""
    return answers(due=[_due(name) for name in collections], more=more)


def _due(collection: str) -> dict[str, Any]:
    return {"collection": collection, "reason": "count", "deltas": 30, "bytes": 1000, "oldest_age_seconds": 60.0}


def only(stage: Stage, state: str, subject: str = "") -> Call:
    """The one call of a state."""
    [call] = stage.calls(state, subject)
    return call


def results(execution: Execution) -> dict[str, dict[str, Any]]:
    """What an execution that succeeded says of each collection."""
    assert execution.status == "SUCCEEDED", execution.cause
    return {result["collection"]: result for result in execution.output["collections"]}


def blamed(execution: Execution) -> list[str]:
    """The collections that a failed execution names."""
    assert (execution.status, execution.error) == ("FAILED", "CollectionsFailed"), execution
    return execution.cause.partition(": ")[0].split(", ")
