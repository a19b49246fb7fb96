"""The JSONata of both machines in the reference engine: the emulator's is a port of it, as AWS's is another.

What matters most is where an expression has nobody to catch it: in a Choice, a Pass, or a Catch itself.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from siltstone_local.node import find_node

from scripts.validate_asl import VALIDATORS
from tests.statemachines.definitions import ALL, DEFINED, Placed, strings

pytestmark = [pytest.mark.xdist_group("validators"), pytest.mark.usefixtures("validators")]

STATES = DEFINED["compaction"]["States"]
IN_MAP = STATES["CompactCollections"]["ItemProcessor"]["States"]
ODD = [
    None,
    "",
    "x" * 10,
    0,
    -1,
    True,
    False,
    [],
    [1, 2],
    {},
    {"state": None},
    {"state": "Merge", "error": "E", "cause": "c"},
]


def results(*asked: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """For each ``{% expression %}`` and its variables: ``{"value"}``, ``{"error"}``, or ``{}`` for nothing at all."""
    questions = [{"expression": text[3:-3], "bindings": bindings} for text, bindings in asked]
    done = subprocess.run(
        [str(find_node()), str(VALIDATORS / "evaluate.mjs")],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def value(text: str, **bindings: Any) -> Any:
    [result] = results((text, bindings))
    return result["value"]


def expressions(part: Any) -> list[str]:
    return [text for text in strings(part) if text.startswith("{%")]


def told(name: str, status: str = "compacted", *, more: bool = False) -> dict[str, Any]:
    cause = "Merge: CheckFailed: it is odd" if status == "failed" else None
    return {"collection": name, "status": status, "version": None, "more": more, "cause": cause}


def test_the_engine_tells_undefined_wrong_and_null_apart() -> None:
    found = results(("{% $x.y %}", {"x": {}}), ("{% 1 + 'a' %}", {}), ("{% null %}", {}), ("{% ( %}", {}))
    assert found[0] == {}
    assert found[1]["error"].startswith("T")
    assert found[2] == {"value": None}
    assert found[3]["error"].startswith("S")


def test_every_expression_is_jsonata() -> None:
    every = [text for placed in ALL for text in expressions(placed.state)]
    assert len(every) > 60
    syntax = [
        (text, answer["error"])
        for text, answer in zip(every, results(*((t, {}) for t in every)), strict=True)
        if answer.get("error", "").startswith("S")
    ]
    assert syntax == []


UNCAUGHT = [placed for placed in ALL if placed.in_map and placed.state["Type"] in {"Choice", "Pass"}]


@pytest.mark.parametrize("placed", UNCAUGHT, ids=str)
def test_a_state_of_the_map_that_can_not_catch_can_not_fail_whatever_its_variables_hold(placed: Placed) -> None:
    """It would end the Map, the other runs with it, and release nothing. (StartBatch's Pass has no expression.)"""
    names = ["failure", "status", "version", "sealed", "collection"]
    always_boolean = {"anyDeltas": True, "more": False}
    asked = [(text, dict.fromkeys(names, odd) | always_boolean) for text in expressions(placed.state) for odd in ODD]
    for (text, bindings), answer in zip(asked, results(*asked) if asked else [], strict=True):
        assert "value" in answer, (text, bindings, answer)
        if placed.state["Type"] == "Choice":
            assert isinstance(answer["value"], bool), text


def test_what_those_states_read_is_assigned_on_every_way_to_them() -> None:
    """By AcquireLock, or by a Task before them whose Assign is caught."""
    from_lock = set(IN_MAP["AcquireLock"]["Assign"])
    assert {"collection", "failure", "status", "version", "more"} <= from_lock
    assert "anyDeltas" in IN_MAP["Download"]["Assign"]
    assert "sealed" in IN_MAP["Merge"]["Assign"]
    for rule in IN_MAP["AcquireLock"]["Catch"]:
        assert rule["Assign"]["collection"] == "{% $states.input.collection %}"


@pytest.mark.parametrize("output", [{}, {"Cause": None}, {"Cause": ""}, {"Cause": {"a": 1}}, {"Cause": "é" * 600}])
def test_a_catch_reads_any_cause_and_none(output: dict[str, Any]) -> None:
    states = {"errorOutput": {"Error": "States.Timeout", **output}}
    catches = [rule for placed in ALL for rule in placed.state.get("Catch", []) if "Assign" in rule]
    texts = [text for rule in catches for text in expressions(rule["Assign"]) if "errorOutput" in text]
    assert len(texts) > 15
    asked = [(text, {"states": states, "failure": None, "results": []}) for text in texts]
    for (text, _), answer in zip(asked, results(*asked), strict=True):
        cut = answer["value"] if isinstance(answer["value"], str) else json.dumps(answer["value"], ensure_ascii=False)
        assert len(cut) <= 700, text


def test_a_release_that_fails_hides_no_failure_before_it() -> None:
    text = IN_MAP["ReleaseLock"]["Catch"][0]["Assign"]["failure"]
    states = {"errorOutput": {"Error": "StoreUnavailable"}}
    first = {"state": "Merge", "error": "CheckFailed", "cause": "odd"}
    assert value(text, failure=first, states=states) == first
    own = {"state": "ReleaseLock", "error": "StoreUnavailable", "cause": ""}
    assert value(text, failure=None, states=states) == own


@pytest.mark.parametrize("before", [None, [], ["x"], ["x", "y"]])
@pytest.mark.parametrize("names", [[], ["a"], ["a", "b"]])
def test_the_next_listing_skips_what_was_skipped_and_what_is_done(before: list[str] | None, names: list[str]) -> None:
    request: dict[str, Any] = {"operation": "compact"} | ({} if before is None else {"skip": before})
    done = [told(name, "failed") for name in names] + [told("goes-on", more=True)]
    text = STATES["MoreDue?"]["Choices"][0]["Assign"]["next"]
    assert value(text, request=request, results=done) == request | {"skip": [*(before or []), *names]}


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b"]])
def test_a_backlog_is_a_list_however_short(names: list[str]) -> None:
    rule = STATES["MoreDue?"]["Choices"][1]
    done = [told("idle"), *(told(name, more=True) for name in names)]
    assert value(rule["Condition"], results=done) is bool(names)
    assert value(rule["Assign"]["next"]["collections"], results=done) == names


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b"]])
def test_failures_are_found_and_named(names: list[str]) -> None:
    done = [told("good"), *(told(name, "failed") for name in names), told("busy", "busy")]
    assert value(STATES["AnyFailed?"]["Choices"][0]["Condition"], results=done) is bool(names)
    if names:
        cause = value(STATES["CollectionsFailed"]["Cause"], results=done)
        assert cause == f"{', '.join(names)}: {'; '.join(['Merge: CheckFailed: it is odd'] * len(names))}"


def test_an_empty_run_has_no_backlog_and_no_failure() -> None:
    assert value(STATES["MoreDue?"]["Choices"][1]["Condition"], results=[]) is False
    assert value(STATES["AnyFailed?"]["Choices"][0]["Condition"], results=[]) is False
