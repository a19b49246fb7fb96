"""The embedding machine with a batch: from submission to its delta, whatever the provider does on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.statemachines.stage import Action, Stage, always, answers, dies, raises

MACHINE = "embedding"
pytestmark = pytest.mark.xdist_group("embedding-batch")

BATCH = {"batch_id": "01HBATCH"}
STATES = ["SubmitBatch", "PollBatch", "CreateDelta", "RecordOutcome"]
RETRY = answers(status="PLANNED", retry=True, attempt=2)
LONGEST_PAYLOAD = 2_048  # bytes


@pytest.fixture(autouse=True)
def _keys_and_counts(stage: Stage) -> Iterator[None]:
    yield
    assert all(len(json.dumps(call.payload)) < LONGEST_PAYLOAD for call in stage.calls())


def poll(state: str, *, wait: int = 0, cause: str | None = None) -> Action:
    return answers(state=state, wait_seconds=wait, provider_status="in_progress", cause=cause)


def test_a_batch_passes_each_state_once_and_ends_with_its_outcome(stage: Stage) -> None:
    execution = stage.run(BATCH)
    assert stage.order() == STATES
    submit, look, create, record = stage.calls()
    assert submit.payload == BATCH
    assert look.payload == {**BATCH, "attempt": 1, "openai_batch_id": "batch_1", "polls": 0}
    assert create.payload == {**BATCH, "attempt": 1}
    assert record.payload == {**BATCH, "attempt": 1, "failed": None}
    assert (execution.status, execution.output) == ("SUCCEEDED", record.answer)


def test_it_looks_until_the_batch_is_ready_and_counts_its_looks(stage: Stage) -> None:
    stage.script({"PollBatch": [poll("running", wait=30)] * 4})
    assert stage.run(BATCH).status == "SUCCEEDED"
    assert stage.order() == ["SubmitBatch", *["PollBatch"] * 5, "CreateDelta", "RecordOutcome"]
    assert [call.payload["polls"] for call in stage.calls("PollBatch")] == [0, 1, 2, 3, 4]


def test_it_waits_as_long_as_it_is_told_before_each_look(stage: Stage) -> None:
    waits = [20, 40, 80]  # at a hundredth: 0.2, 0.4, 0.8 s
    stage.script({"SubmitBatch": [answers(wait_seconds=20)], "PollBatch": [poll("running", wait=w) for w in waits[1:]]})
    with stage.waiting(0.01):
        stage.run(BATCH)
    times = [call.at for call in stage.calls()][:4]
    assert all(later - earlier >= wait / 100 for earlier, later, wait in zip(times, times[1:], waits, strict=False))


def test_a_full_queue_is_waited_for_and_the_batch_submitted_again(stage: Stage) -> None:
    stage.script({"PollBatch": [poll("resubmit", wait=300, cause="token_limit_exceeded"), poll("running", wait=30)]})
    assert stage.run(BATCH).status == "SUCCEEDED"
    assert stage.order() == [
        "SubmitBatch",
        "PollBatch",
        "SubmitBatch",
        "PollBatch",
        "PollBatch",
        "CreateDelta",
        "RecordOutcome",
    ]
    assert [call.payload for call in stage.calls("SubmitBatch")] == [BATCH, BATCH]
    looks = [(call.payload["openai_batch_id"], call.payload["polls"]) for call in stage.calls("PollBatch")]
    assert looks == [("batch_1", 0), ("batch_2", 0), ("batch_2", 1)]


def test_rows_to_retry_are_the_next_attempt_of_the_same_batch(stage: Stage) -> None:
    stage.script({"SubmitBatch": [answers(), answers(attempt=2)], "RecordOutcome": [RETRY]})
    execution = stage.run(BATCH)
    assert stage.order() == STATES * 2
    assert [call.payload for call in stage.calls("SubmitBatch")] == [BATCH, BATCH]
    second = stage.calls()[4:]
    assert second[1].payload == {**BATCH, "attempt": 2, "openai_batch_id": "batch_2", "polls": 0}
    assert second[2].payload == {**BATCH, "attempt": 2}
    assert second[3].payload == {**BATCH, "attempt": 2, "failed": None}
    assert execution.output["status"] == "COMPLETE"


def test_a_batch_that_the_provider_failed_is_recorded_and_fails_the_execution(stage: Stage) -> None:
    cause = "The provider's batch batch_1 is failed: invalid_json: line 7 is no JSON."
    stage.script({"PollBatch": [poll("failed", cause=cause)]})
    execution = stage.run(BATCH)
    assert stage.order() == ["SubmitBatch", "PollBatch", "RecordOutcome"]
    assert stage.calls("RecordOutcome")[0].payload == {**BATCH, "attempt": 1, "failed": cause}
    assert (execution.status, execution.error, execution.cause) == ("FAILED", "BatchFailed", cause)


@pytest.mark.parametrize("state", ["SubmitBatch", "PollBatch", "CreateDelta"])
def test_a_state_that_finds_the_batch_failed_has_it_recorded(stage: Stage, state: str) -> None:
    stage.script({state: [raises("BatchFailed", 'they say "no"' + "!" * 1_000)]})
    execution = stage.run(BATCH)
    assert stage.order() == [*STATES[: STATES.index(state) + 1], "RecordOutcome"]
    [record] = stage.calls("RecordOutcome")
    assert (record.payload["attempt"], len(record.payload["failed"])) == (1, 500)
    assert r"they say \"no\"!!!" in record.payload["failed"]
    assert (execution.status, execution.error) == ("FAILED", "BatchFailed")
    assert execution.cause == record.payload["failed"]


def test_a_second_attempt_that_is_refused_is_recorded_under_its_own_number(stage: Stage) -> None:
    stage.script({"SubmitBatch": [answers(), raises("BatchFailed", "no more")], "RecordOutcome": [RETRY]})
    assert stage.run(BATCH).error == "BatchFailed"
    assert stage.order() == [*STATES, "SubmitBatch", "RecordOutcome"]
    first, second = (call.payload for call in stage.calls("RecordOutcome"))
    assert (first["attempt"], first["failed"]) == (1, None)
    assert second["attempt"] == 2
    assert "no more" in second["failed"]


def test_a_submission_whose_outcome_is_unknown_is_asked_about_for_ten_minutes(stage: Stage) -> None:
    stage.script({"SubmitBatch": [raises("SubmissionUnclear")] * 20})
    assert stage.run(BATCH).status == "SUCCEEDED"
    assert [call.payload for call in stage.calls("SubmitBatch")] == [BATCH] * 21


def test_a_submission_that_stays_unclear_leaves_the_ledger_open(stage: Stage) -> None:
    stage.script({"SubmitBatch": [always(raises("SubmissionUnclear"))]})
    execution = stage.run(BATCH)
    assert (execution.status, execution.error) == ("FAILED", "SubmissionUnclear")
    assert stage.order() == ["SubmitBatch"] * 21


def test_who_does_not_answer_is_asked_again_with_the_same_input_in_every_state(stage: Stage) -> None:
    errors = ["ProviderUnavailable", "StoreUnavailable", "Lambda.ServiceException", "Lambda.TooManyRequestsException"]
    stage.script({state: [raises(error) for error in errors] * 2 for state in STATES})
    assert stage.run(BATCH).status == "SUCCEEDED"
    assert stage.order() == [state for state in STATES for _ in range(9)]
    for state in STATES:
        payloads = [call.payload for call in stage.calls(state)]
        assert payloads == [payloads[0]] * 9


def test_unclear_and_unanswered_submissions_are_counted_apart(stage: Stage) -> None:
    stage.script({"SubmitBatch": [*[raises("SubmissionUnclear")] * 15, *[raises("ProviderUnavailable")] * 8]})
    assert stage.run(BATCH).status == "SUCCEEDED"


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("action", "error", "calls"),
    [
        (raises("LedgerImbalance"), "LedgerImbalance", 1),
        (raises("ProviderRefused"), "ProviderRefused", 1),  # BatchFailed is one of its kind; it is not the other way
        (raises("ProviderUnavailable"), "ProviderUnavailable", 9),
        (dies(), "Runtime.ExitError", 1),
    ],
)
def test_any_other_failure_fails_the_execution_and_records_nothing(
    stage: Stage, state: str, action: Action, error: str, calls: int
) -> None:
    stage.script({state: [always(action)]})
    execution = stage.run(BATCH)
    assert (execution.status, execution.error) == ("FAILED", error)
    assert stage.order() == [*STATES[: STATES.index(state)], *[state] * calls]


def test_a_batch_that_was_submitted_by_hand_is_adopted_once(stage: Stage) -> None:
    event = {**BATCH, "openai_batch_id": "batch_by_hand", "collection": "lines"}
    stage.script({"SubmitBatch": [answers(openai_batch_id="batch_by_hand")], "RecordOutcome": [RETRY]})
    assert stage.run(event).status == "SUCCEEDED"
    first, second = stage.calls("SubmitBatch")
    assert (first.payload, second.payload) == (event, BATCH)
    assert stage.calls("PollBatch")[0].payload["openai_batch_id"] == "batch_by_hand"


def test_an_adopted_batch_that_is_refused_is_recorded(stage: Stage) -> None:
    stage.script({"SubmitBatch": [raises("BatchFailed")]})
    assert stage.run({**BATCH, "openai_batch_id": "batch_by_hand", "collection": "lines"}).error == "BatchFailed"
    assert stage.calls("RecordOutcome")[0].payload["attempt"] == 1
