"""The embedding machine without a batch: it plans, and starts itself once for each planned batch."""

from __future__ import annotations

from typing import Any

import pytest

from tests.statemachines.stage import Action, Execution, Stage, always, answers, raises, sleeps

MACHINE = "embedding"
pytestmark = pytest.mark.xdist_group("embedding-planning")

TAKEN = "StepFunctions.ExecutionAlreadyExistsException"
THROTTLED = "StepFunctions.AWSStepFunctionsException"
MOCKS = {  # what the emulator can't be made to answer: names that only AWS has
    "StateMachines": {
        MACHINE: {
            "TestCases": {
                "Taken": {"StartBatch": TAKEN},
                "Throttled": {"StartBatch": THROTTLED},
                "PlanThrottled": {"PlanAgain": THROTTLED},
            }
        }
    },
    "MockedResponses": {error: {"0-9": {"Throw": {"Error": error, "Cause": "no"}}} for error in (TAKEN, THROTTLED)},
}


def plan(*batches: str, more: bool = False, sources: int = 3) -> Action:
    """These batches are planned; ``1-0`` is the first generation of batch ``1``."""
    planned = [{"batch_id": each[:-2], "execution": each, "collection": "lines", "records": 9} for each in batches]
    return answers(batches=planned, sources=sources, records=9, more=more)


def by_name(executions: list[Execution]) -> dict[str, Execution]:
    return {execution.name: execution for execution in executions}


@pytest.mark.parametrize("event", [{}, {"collections": ["lines"], "limit": 5}, {"retry_failed": True}])
def test_an_input_without_a_batch_is_handed_to_the_plan_with_the_executions_name(
    stage: Stage, event: dict[str, Any]
) -> None:
    [execution] = stage.run_all(event)
    [call] = stage.calls()
    assert (call.state, call.payload) == ("PlanBatches", event | {"execution": execution.name})
    assert (execution.status, execution.output) == ("SUCCEEDED", call.answer)


def test_each_planned_batch_is_an_execution_of_that_name_and_the_plan_does_not_wait_for_it(stage: Stage) -> None:
    stage.script({"PlanBatches": [plan("01A-0", "01B-0", "01C-4")], "SubmitBatch": [sleeps(0.5)]})
    planning, *batches = stage.run_all({})
    assert planning.output == stage.calls("PlanBatches")[0].answer
    assert {name: each.input for name, each in by_name(batches).items()} == {
        "01A-0": {"batch_id": "01A"},
        "01B-0": {"batch_id": "01B"},
        "01C-4": {"batch_id": "01C"},
    }
    assert {each.output["status"] for each in batches} == {"COMPLETE"}
    assert len(stage.calls("PlanBatches")) == 1


def test_a_batch_that_was_started_already_is_one_batch_and_no_failure(stage: Stage) -> None:
    stage.script({"PlanBatches": [plan("02A-0", "02B-0")]})
    stage.run({"batch_id": "02A"}, name="02A-0")
    planning, *batches = stage.run_all({})
    assert planning.status == "SUCCEEDED"
    assert list(by_name(batches)) == ["02B-0"]
    assert len(stage.calls("SubmitBatch", "02A")) == 1
    assert stage.failures(planning) == ["ExecutionAlreadyExists"]


def test_aws_own_name_for_a_taken_name_is_no_failure_either_and_not_tried_again(stage: Stage) -> None:
    stage.script({"PlanBatches": [plan("03A-0")]})
    [planning] = stage.run_all({}, machine=f"{stage.arn}#Taken")
    assert planning.status == "SUCCEEDED"
    assert stage.failures(planning) == [TAKEN]


def test_a_start_that_is_throttled_is_tried_again_and_in_the_end_told(stage: Stage) -> None:
    stage.script({"PlanBatches": [plan("04A-0")]})
    [planning] = stage.run_all({}, machine=f"{stage.arn}#Throttled")
    assert (planning.status, planning.error) == ("FAILED", THROTTLED)
    assert stage.failures(planning) == [THROTTLED] * 6


def test_a_plan_that_ran_out_of_time_is_gone_on_with_by_another_execution(stage: Stage) -> None:
    stage.script({"PlanBatches": [plan("05A-0", more=True), plan("05B-0", more=True), plan("05C-0")]})
    executions = stage.run_all({"collections": ["lines"]})
    plans = [each for each in executions if "batch_id" not in each.input]
    assert [each.input for each in plans] == [{"collections": ["lines"]}] * 3
    assert {call.payload["execution"] for call in stage.calls("PlanBatches")} == {each.name for each in plans}
    assert {"05A-0", "05B-0", "05C-0"} <= set(by_name(executions))


def test_a_limit_that_was_asked_for_is_reached_once(stage: Stage) -> None:
    stage.script({"PlanBatches": [always(plan("06A-0", more=True))]})
    assert set(by_name(stage.run_all({"limit": 1}))) >= {"06A-0"}
    assert len(stage.calls("PlanBatches")) == 1


def test_a_plan_that_claims_nothing_is_not_made_again(stage: Stage) -> None:
    stage.script({"PlanBatches": [always(plan(more=True, sources=0))]})
    [planning] = stage.run_all({})
    assert planning.status == "SUCCEEDED"
    assert len(stage.calls("PlanBatches")) == 1


def test_a_next_plan_that_can_not_be_started_is_told(stage: Stage) -> None:
    stage.script({"PlanBatches": [plan(more=True)]})
    [planning] = stage.run_all({}, machine=f"{stage.arn}#PlanThrottled")
    assert (planning.status, planning.error) == ("FAILED", THROTTLED)
    assert stage.failures(planning) == [THROTTLED] * 6


def test_a_plan_owns_its_claims_through_its_retries(stage: Stage) -> None:
    stage.script({"PlanBatches": [*[raises("StoreUnavailable")] * 5, plan("07A-0")]})
    planning, batch = stage.run_all({})
    payloads = [call.payload for call in stage.calls("PlanBatches")]
    assert payloads == [{"execution": planning.name}] * 6
    assert batch.name == "07A-0"


@pytest.mark.parametrize("error", ["UnknownCollection", "LedgerChanged", "KeyError"])
def test_a_plan_that_fails_starts_nothing(stage: Stage, error: str) -> None:
    stage.script({"PlanBatches": [always(raises(error))]})
    [planning] = stage.run_all({})
    assert (planning.status, planning.error) == ("FAILED", error)
    assert stage.order() == ["PlanBatches"]
