"""The compaction machine, state by state, as `statemachines/compaction.asl.json` says.

Order, Retry, Catch and time limits are read from the definition itself. What is written in JSONata there (payloads,
assignments, conditions) is said again here in Python; `tests/statemachines/test_simulated_machine.py` compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from siltstone.compaction import messages
from siltstone.compaction.acquire_lock import acquire_lock
from siltstone.compaction.download import download
from siltstone.compaction.list_collections import list_collections
from siltstone.compaction.merge import merge
from siltstone.compaction.promote_pointer import promote_pointer
from siltstone.compaction.release_lock import release_lock
from siltstone.compaction.renew_lock import renew_lock
from siltstone.compaction.retire import retire
from siltstone.compaction.upload import upload

DEFINITION = Path(__file__).parents[3] / "statemachines" / "compaction.asl.json"

Variables = dict[str, Any]
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "ListCollections": list_collections,
    "AcquireLock": acquire_lock,
    "Download": download,
    "Merge": merge,
    "RenewLock": renew_lock,
    "Upload": upload,
    "PromotePointer": promote_pointer,
    "Retire": retire,
    "ReleaseLock": release_lock,
}
PAYLOADS: dict[str, Callable[[Variables], BaseModel]] = {
    "AcquireLock": lambda v: messages.AcquireLockInput(
        collection=v["collection"], execution=v["execution"], index=v["index"]
    ),
    "Download": lambda v: messages.RunInput(run=v["run"]),
    "Merge": lambda v: messages.MergeInput(run=v["run"], plan=v["plan"], work=v["work"]),
    "RenewLock": lambda v: messages.RunInput(run=v["run"]),
    "Upload": lambda v: messages.UploadInput(run=v["run"], plan=v["plan"], sealed=v["sealed"]),
    "PromotePointer": lambda v: messages.PromotePointerInput(run=v["run"], plan=v["plan"], manifest=v["manifest"]),
    "Retire": lambda v: messages.RetireInput(run=v["run"], version=v["version"]),
    "ReleaseLock": lambda v: messages.ReleaseLockInput(run=v["run"], failure=v["failure"]),
}
ASSIGNS: dict[str, Callable[[Any], Variables]] = {
    "AcquireLock": lambda run: {
        "run": run, "failure": None, "status": "idle", "version": None, "work": None, "more": False
    },
    "Download": lambda out: {
        "plan": out.plan, "version": out.base_version, "anyDeltas": out.deltas > 0, "more": out.more
    },
    "Merge": lambda out: {"work": out.work, "sealed": out.sealed},
    "Upload": lambda out: {"manifest": out.manifest},
    "PromotePointer": lambda out: {"version": out.version, "status": "compacted"},
}  # fmt: skip
CHOICES: dict[str, Callable[[Variables], bool]] = {
    "AnyDeltas?": lambda v: v["anyDeltas"],
    "Sealed?": lambda v: v["sealed"] is not None,
    "Outcome": lambda v: v["failure"] is None,
}
KEEPS_THE_FIRST_FAILURE = "ReleaseLock"


@lru_cache
def definition() -> dict[str, Any]:
    return json.loads(DEFINITION.read_text())


@lru_cache
def states() -> dict[str, Any]:
    """Of the Map's iteration."""
    found: dict[str, Any] = definition()["States"]["CompactCollections"]["ItemProcessor"]["States"]
    return found


@dataclass(eq=False)
class CollectionRun:
    """One iteration of the Map. ``state`` is the Task that runs or is about to; ``outcome`` once it ended."""

    name: str
    variables: Variables
    state: str = "AcquireLock"
    attempts: dict[int, int] = field(default_factory=dict)  # of the state, by place of the Retry rule
    turns: int = 0
    outcome: dict[str, Any] | None = None

    @property
    def collection(self) -> str:
        return str(self.variables["collection"])

    @property
    def run(self) -> messages.Run | None:
        return self.variables.get("run")

    def payload(self) -> BaseModel:
        return PAYLOADS[self.state](self.variables)

    def time_limit(self) -> float:
        """Seconds after which the state's attempt is given up, though its function may run on."""
        return float(states()[self.state]["TimeoutSeconds"])

    def succeeded(self, output: Any) -> None:
        """The state's attempt came back: assign, and go on."""
        self.attempts.clear()
        self.variables |= ASSIGNS.get(self.state, lambda _: {})(output)
        self._go(states()[self.state]["Next"])

    def failed(self, error: str, cause: str) -> None:
        """The state's attempt failed: the same state again, or where Catch leads."""
        for place, retry in enumerate(states()[self.state].get("Retry", [])):
            if error in retry["ErrorEquals"]:
                tried = self.attempts[place] = self.attempts.get(place, 0) + 1  # each rule counts for itself
                if tried <= retry["MaxAttempts"]:
                    return
                break
        self.attempts.clear()
        for catch in states()[self.state]["Catch"]:
            if error in catch["ErrorEquals"] or "States.ALL" in catch["ErrorEquals"]:
                failure = messages.StateError(state=self.state, error=error, cause=cause[:500])
                if "failure" in catch["Assign"] and (
                    self.state != KEEPS_THE_FIRST_FAILURE or self.variables["failure"] is None
                ):
                    self.variables["failure"] = failure
                self._go(catch["Next"])
                return
        raise AssertionError(f"{self.state} catches not {error}")

    def _go(self, name: str) -> None:
        state = states()[name]
        match state["Type"]:
            case "Choice":
                chosen = CHOICES[name](self.variables)
                self._go(state["Choices"][0]["Next"] if chosen else state["Default"])
            case "Pass":
                failure: messages.StateError | None = self.variables.get("failure")
                self.outcome = {"end": name, "more": name == "Compacted" and self.variables["more"], "failure": failure}
            case _:
                self.turns += name == "Merge"
                self.state = name


@dataclass(eq=False)
class Execution:
    """One execution: its listing, then one run for each due collection."""

    name: str
    request: messages.ListCollectionsInput
    started: float  # true time
    skew: float = 0.0  # of its functions' clocks, seconds
    attempts: int = 0
    listed: messages.ListCollectionsOutput | None = None
    runs: list[CollectionRun] = field(default_factory=list)
    over: bool = False

    def list_failed(self, error: str) -> None:
        """ListCollections failed: again, or the execution fails, for it has no Catch."""
        self.attempts += 1
        retry = definition()["States"]["ListCollections"]["Retry"][0]
        if error not in retry["ErrorEquals"] or self.attempts > retry["MaxAttempts"]:
            self.over = True

    def list_succeeded(self, output: messages.ListCollectionsOutput) -> None:
        self.listed = output
        self.runs = [
            CollectionRun(
                f"{self.name}.{index}", {"collection": due.collection, "index": index, "execution": self.name}
            )
            for index, due in enumerate(output.due)
        ]

    def next_request(self) -> dict[str, Any] | None:
        """What MoreDue? starts next, once every run ended."""
        assert self.listed is not None
        more = [run.collection for run in self.runs if run.outcome and run.outcome["more"]]
        if self.listed.more:
            done = [run.collection for run in self.runs if run.collection not in more]
            return {**self.request.model_dump(mode="json"), "skip": [*self.request.skip, *done]}
        return {"operation": "compact", "collections": more, "force": True} if more else None
