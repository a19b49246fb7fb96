"""More than one execution takes: the compaction machine starts itself again, for the right rest, and never for ever."""

from __future__ import annotations

from typing import Any

import pytest

from tests.statemachines.compacting import RUN, blamed, due, results
from tests.statemachines.stage import Execution, Stage, always, answers, lists, raises

MACHINE = "compaction"
pytestmark = pytest.mark.xdist_group("compaction-chain")

NAMES = [f"shop-{number}" for number in range(7)]
MOCKS = {  # what the emulator can't be made to answer: names that only AWS has
    "StateMachines": {MACHINE: {"TestCases": {"Throttled": {"StartNext": "Throttled"}}}},
    "MockedResponses": {
        "Throttled": {"0": {"Throw": {"Error": "StepFunctions.AWSStepFunctionsException", "Cause": "Rate exceeded"}}}
    },
}


def tried(stage: Stage) -> list[str]:
    return sorted(call.subject for call in stage.calls("AcquireLock"))


def statuses(executions: list[Execution]) -> list[list[str]]:
    return [[result["status"] for result in results(each).values()] for each in executions]


def test_one_execution_is_enough_where_nothing_is_left(stage: Stage) -> None:
    stage.script({"ListCollections": [lists(*NAMES[:3], at_most=3)]})
    [execution] = stage.run_all({})
    assert list(results(execution)) == NAMES[:3]


def test_what_one_execution_can_not_take_is_taken_by_the_next_the_oldest_first(stage: Stage) -> None:
    stage.script({"ListCollections": [always(lists(*NAMES, at_most=3))]})
    executions = stage.run_all({"operation": "compact"})
    assert [list(results(each)) for each in executions] == [NAMES[:3], NAMES[3:6], NAMES[6:]]
    assert executions[1].input == {"operation": "compact", "skip": NAMES[:3]}
    assert executions[2].input == {"operation": "compact", "skip": NAMES[:6]}


@pytest.mark.parametrize("error", ["SettingsMismatch", "PointerMissing", "LockBusy"])
def test_collections_that_never_get_on_are_tried_once_each_and_left_to_the_next_trigger(
    stage: Stage, error: str
) -> None:
    stage.script({"ListCollections": [always(lists(*NAMES, at_most=3))], "AcquireLock": [always(raises(error))]})
    executions = stage.run_all({})
    assert len(executions) == 3
    assert tried(stage) == NAMES
    if error == "LockBusy":
        assert statuses(executions) == [["busy"] * 3, ["busy"] * 3, ["busy"]]
    else:
        assert [blamed(each) for each in executions] == [NAMES[:3], NAMES[3:6], NAMES[6:]]


def test_collections_that_are_due_but_hold_nothing_new_do_not_keep_the_others_waiting(stage: Stage) -> None:
    idle = answers(deltas=0, parts=0, rows=0)
    stage.script({"ListCollections": [always(lists(*NAMES, at_most=3))], "Download": [always(idle)]})
    assert statuses(stage.run_all({})) == [["idle"] * 3, ["idle"] * 3, ["idle"]]
    assert tried(stage) == NAMES


def test_a_forced_run_ends_although_what_is_asked_for_stays_due(stage: Stage) -> None:
    """A collection that is asked for by force is due with no delta at all, however often it was compacted."""
    stage.script({"ListCollections": [always(lists(*NAMES, at_most=3))]})
    executions = stage.run_all({"collections": NAMES, "force": True})
    assert tried(stage) == NAMES
    assert statuses(executions) == [["compacted"] * 3, ["compacted"] * 3, ["compacted"]]
    assert executions[2].input == {"collections": NAMES, "force": True, "skip": NAMES[:6]}


@pytest.mark.parametrize("skip", [[], ["shop-0"], ["shop-0", "shop-6"]])
def test_what_was_skipped_before_stays_skipped(stage: Stage, skip: list[str]) -> None:
    stage.script({"ListCollections": [always(lists(*NAMES, at_most=3))]})
    stage.run_all({"skip": skip})
    assert tried(stage) == sorted(set(NAMES) - set(skip))


def test_a_backlog_is_gone_on_with_until_nothing_is_left(stage: Stage) -> None:
    stage.script(
        {
            "ListCollections": [due("lines", "words"), always(due("lines"))],
            "Download/lines": [answers(more=True), answers(more=True)],
        }
    )
    executions = stage.run_all({"operation": "compact"})
    rest = {"operation": "compact", "collections": ["lines"], "force": True}
    assert [each.input for each in executions] == [{"operation": "compact"}, rest, rest]
    assert [results(each)["lines"]["more"] for each in executions] == [True, True, False]
    assert stage.order("lines") == RUN * 3
    assert stage.order("words") == RUN


@pytest.mark.parametrize(("state", "error"), [("AcquireLock", "LockBusy"), ("Merge", "CheckFailed")])
def test_a_backlog_that_gets_stuck_is_left_to_the_next_trigger(stage: Stage, state: str, error: str) -> None:
    stage.script(
        {
            "ListCollections": [always(due("lines"))],
            "Download": [always(answers(more=True))],
            state: [answers(), always(raises(error))],
        }
    )
    assert len(stage.run_all({})) == 2


def test_several_backlogs_are_one_execution_and_a_failure_beside_them_is_told(stage: Stage) -> None:
    stage.script(
        {
            "ListCollections": [due("a-lines", "b-lines", "c-lines")],
            "Download/a-lines": [answers(more=True)],
            "Download/b-lines": [raises("SnapshotDamaged")],
            "Download/c-lines": [answers(more=True)],
        }
    )
    first, second = stage.run_all({})
    assert blamed(first) == ["b-lines"]
    assert second.input == {"operation": "compact", "collections": ["a-lines", "c-lines"], "force": True}


def test_a_backlog_is_not_skipped_where_more_is_due_as_well(stage: Stage) -> None:
    stage.script(
        {
            "ListCollections": [always(lists(*NAMES[:4], at_most=3))],
            "Download/shop-1": [answers(more=True)],
        }
    )
    _, second = stage.run_all({})
    assert second.input == {"skip": ["shop-0", "shop-2"]}


@pytest.mark.parametrize("failing", [[], ["lines"]])
def test_a_next_execution_that_can_not_be_started_is_told_with_the_collections_that_failed(
    stage: Stage, failing: list[str]
) -> None:
    script: dict[str, Any] = {f"Merge/{name}": [raises("CheckFailed")] for name in failing}
    stage.script(script | {"ListCollections": [due("lines", "words", more=True)]})
    [execution] = stage.run_all({}, machine=f"{stage.arn}#Throttled")
    assert stage.failures(execution).count("StepFunctions.AWSStepFunctionsException") == 6
    assert blamed(execution) == [*failing, "the next execution"]
    assert "StartNext: StepFunctions.AWSStepFunctionsException: Rate exceeded" in execution.cause
