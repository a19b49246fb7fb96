from __future__ import annotations

import pytest
from siltstone.embedding.messages import SubmitBatchOutput
from siltstone.embedding.poll_batch import LONGEST_WAIT
from siltstone.errors import ProviderUnavailable
from siltstone.sources.loading import load_sources

from tests.unit.embedding.house import House, text


@pytest.fixture
def sent(house: House) -> SubmitBatchOutput:
    load_sources([text("a", "one"), text("b", "two")], house.stores, house.clock)
    return house.submit(house.plan().batches[0].batch_id)


def test_a_running_batch_is_looked_at_less_often_each_time(house: House, sent: SubmitBatchOutput) -> None:
    waits: list[int] = []
    polls = 0
    for _ in range(15):
        looked = house.poll(sent, polls)
        assert (looked.state, looked.polls) == ("running", polls + 1)
        polls = looked.polls
        waits.append(looked.wait_seconds)
    assert waits == sorted(waits)
    assert waits[0] < 60
    assert waits[-1] == LONGEST_WAIT


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_every_status_before_the_end_is_running(house: House, sent: SubmitBatchOutput, steps: int) -> None:
    house.provider.advance(steps)
    assert house.poll(sent).state == "running"


def test_a_cancelling_batch_is_running(house: House, sent: SubmitBatchOutput) -> None:
    house.provider.cancel_batch(sent.openai_batch_id)
    looked = house.poll(sent)
    assert (looked.state, looked.provider_status) == ("running", "cancelling")


def test_a_completed_batch_is_ready(house: House, sent: SubmitBatchOutput) -> None:
    house.provider.advance(3)
    looked = house.poll(sent)
    assert (looked.state, looked.wait_seconds, looked.cause) == ("ready", 0, None)


@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_what_was_paid_for_before_the_end_is_kept(house: House, sent: SubmitBatchOutput, end: str) -> None:
    house.provider.end_as(sent.openai_batch_id, end, share=0.5)  # type: ignore[arg-type]
    house.provider.advance(3)
    assert house.poll(sent).state == "ready"


@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_an_end_without_any_output_is_a_failure(house: House, sent: SubmitBatchOutput, end: str) -> None:
    house.provider.end_as(sent.openai_batch_id, end, share=0.0)  # type: ignore[arg-type]
    house.provider.advance(3)
    looked = house.poll(sent)
    assert looked.state == "failed"
    assert end in (looked.cause or "")


def test_any_other_failure_is_final_and_says_why(house: House, sent: SubmitBatchOutput) -> None:
    house.provider.fail(sent.openai_batch_id, "invalid_json_line", "Line 1 is not JSON.")
    house.provider.advance(1)
    looked = house.poll(sent)
    assert looked.state == "failed"
    assert "invalid_json_line: Line 1 is not JSON." in (looked.cause or "")


def test_a_look_leaves_only_a_sign_of_life(house: House, sent: SubmitBatchOutput) -> None:
    before = house.stores.ledger.read(sent.batch_id)
    house.clock.advance(50)
    house.poll(sent)
    after = house.stores.ledger.read(sent.batch_id)
    assert after == before.model_copy(update={"seen_at": house.clock.now()})


def test_a_provider_that_does_not_answer_is_asked_again(house: House, sent: SubmitBatchOutput) -> None:
    house.provider.fail_next("get_batch", ProviderUnavailable("503"))
    with pytest.raises(ProviderUnavailable):
        house.poll(sent)
    assert house.poll(sent).state == "running"
