"""The simulation's machine says in Python what the definition says in JSONata: the reference engine compares them."""

from __future__ import annotations

from typing import Any

import pytest
from siltstone.compaction.messages import (
    DownloadOutput,
    DueCollection,
    ListCollectionsInput,
    ListCollectionsOutput,
    MergeOutput,
    PromotePointerOutput,
    Ref,
    Run,
    StateError,
    UploadOutput,
)

from tests.faults.simulation.machine import ASSIGNS, CHOICES, FUNCTIONS, PAYLOADS, Execution
from tests.statemachines.test_expressions import IN_MAP, STATES, results

pytestmark = [pytest.mark.xdist_group("validators"), pytest.mark.usefixtures("validators")]

RUN = Run(collection="lines", execution="e1", index=2, token=7, version="20260130_000000_00000007", acquired_at=1.5)
PLAN, WORK, SEALED, MANIFEST = (Ref(key=name, etag="e", sha256="0" * 64) for name in ("plan", "work", "sealed", "m"))
FAILURE = StateError(state="Merge", error="CheckFailed", cause="odd")
VARIABLES: dict[str, Any] = {
    "collection": "lines", "execution": "e1", "index": 2, "run": RUN, "plan": PLAN, "work": WORK, "sealed": SEALED,
    "manifest": MANIFEST, "version": "20260129_000000_00000006", "failure": FAILURE, "anyDeltas": True,
}  # fmt: skip
OUTPUTS: dict[str, list[Any]] = {
    "AcquireLock": [RUN],
    "Download": [
        DownloadOutput(plan=PLAN, base_version=base, deltas=deltas, parts=1, rows=1, quarantined=0, more=more)
        for base, deltas, more in ((None, 0, False), ("20260129_000000_00000006", 3, True))
    ],
    "Merge": [
        MergeOutput(parts_done=1, parts_total=2, work=WORK, sealed=None),
        MergeOutput(parts_done=2, parts_total=2, work=None, sealed=SEALED),
    ],
    "Upload": [UploadOutput(manifest=MANIFEST, files=1, bytes=1)],
    "PromotePointer": [PromotePointerOutput(version=RUN.version, previous=None, etag="e")],
}


def plain(value: Any) -> Any:
    """As it is in JSON."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def evaluated(parts: dict[str, Any], **bindings: Any) -> dict[str, Any]:
    """An object of a definition, each expression in it replaced by its value."""
    asked = {name: text for name, text in parts.items() if isinstance(text, str) and text.startswith("{%")}
    answers = results(*((text, bindings) for text in asked.values()))
    return parts | {name: answer["value"] for name, answer in zip(asked, answers, strict=True)}


def test_every_function_of_the_definition_is_simulated() -> None:
    tasks = {name for name, state in IN_MAP.items() if state["Type"] == "Task"}
    assert set(FUNCTIONS) == {"ListCollections", *tasks}
    assert set(PAYLOADS) == tasks
    assert set(CHOICES) == {name for name, state in IN_MAP.items() if state["Type"] == "Choice"}


@pytest.mark.parametrize("state", PAYLOADS)
def test_a_function_is_called_with_what_the_definition_says(state: str) -> None:
    payload = IN_MAP[state]["Arguments"]["Payload"]
    said = evaluated(payload, **plain(VARIABLES), states={"input": plain(VARIABLES)})
    assert plain(PAYLOADS[state](VARIABLES)) == said


@pytest.mark.parametrize("state", [name for name, state in IN_MAP.items() if state["Type"] == "Task"])
def test_what_it_answers_is_remembered_as_the_definition_says(state: str) -> None:
    assert ("Assign" in IN_MAP[state]) == (state in ASSIGNS)
    for output in OUTPUTS.get(state, []):
        said = evaluated(
            IN_MAP[state]["Assign"], states={"result": {"Payload": plain(output)}, "input": plain(VARIABLES)}
        )
        said.pop("collection", None)  # there from the start
        assert plain(ASSIGNS[state](output)) == said


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_is_made_as_the_definition_says(choice: str) -> None:
    [rule] = IN_MAP[choice]["Choices"]
    for variables in (VARIABLES, {**VARIABLES, "anyDeltas": False, "sealed": None, "failure": None}):
        said = evaluated({"chosen": rule["Condition"]}, **plain(variables))["chosen"]
        assert CHOICES[choice](variables) is said


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("split", [(), ("b",), ("a", "b")])
def test_the_next_execution_is_asked_for_what_the_definition_says(more: bool, split: tuple[str, ...]) -> None:
    request = ListCollectionsInput(force=True, skip=["z"])
    due = [DueCollection(collection=name, reason="age", deltas=1, bytes=1, oldest_age_seconds=1.0) for name in "abc"]
    execution = Execution("e1", request, started=0.0)
    execution.list_succeeded(
        ListCollectionsOutput(due=due, more=more, unknown=[], pending_deltas=3, pending_bytes=3, oldest_age_seconds=1.0)
    )
    for run in execution.runs:
        run.outcome = {"end": "Compacted", "more": run.collection in split, "failure": None}
    told = [{"collection": run.collection, "more": run.outcome["more"]} for run in execution.runs if run.outcome]
    bindings = {"listMore": more, "request": plain(request), "results": told}
    said = None
    for rule in STATES["MoreDue?"]["Choices"]:
        if evaluated({"chosen": rule["Condition"]}, **bindings)["chosen"]:
            following = rule["Assign"]["next"]
            said = (
                evaluated({"next": following}, **bindings)["next"]
                if isinstance(following, str)
                else evaluated(following, **bindings)
            )
            break
    assert execution.next_request() == said
