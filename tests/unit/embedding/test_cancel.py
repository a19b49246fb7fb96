"""Cancelling a batch: a mark in the ledger that every state of the machine obeys, wherever the batch is."""

from __future__ import annotations

from typing import Any

import pytest
from siltstone.embedding.create_delta import MAX_ATTEMPTS
from siltstone.embedding.messages import SubmitBatchOutput
from siltstone.embedding.operate import cancel_batch
from siltstone.embedding.plan_batches import ORPHAN_SECONDS
from siltstone.embedding.poll_batch import poll_wait
from siltstone.errors import (
    BatchFailed,
    IllegalTransition,
    ProviderRefused,
    ProviderUnavailable,
    SubmissionUnclear,
    UnknownBatch,
)
from siltstone.sources.loading import load_sources
from siltstone.stores.ledger import Counts
from siltstone.stores.machines import MemoryMachine
from siltstone.stores.provider_memory import answered

from tests.unit.embedding.faults import Crash, crashing
from tests.unit.embedding.house import House, text

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def machine() -> MemoryMachine:
    return MemoryMachine()


@pytest.fixture
def batch_id(house: House) -> str:
    load_sources([text(name, name * 3) for name in NAMES], house.stores, house.clock)
    return house.plan().batches[0].batch_id


def statuses(house: House) -> list[str]:
    return [house.state(f"text.texts.{name}").status for name in NAMES]


def cancelled(house: House, batch_id: str) -> None:
    """The batch is over, nobody has its sources, and another plan embeds what is left, without a failure counted."""
    item = house.stores.ledger.read(batch_id)
    assert (item.status, item.cause) == ("CANCELLED", "Cancelled on request.")
    assert item.counts.balanced
    states = [house.state(f"text.texts.{name}") for name in NAMES]
    assert [(state.claim, state.failures) for state in states] == [(None, 0)] * len(NAMES)
    house.run("plan-2")
    assert house.documents() == {name: name * 3 for name in NAMES}
    assert statuses(house) == ["SUCCESS"] * len(NAMES)


def obeyed(house: House, sent: SubmitBatchOutput) -> None:
    """The machine's way from a look at a batch that is to end."""
    looked = house.poll(sent, polls=12)
    assert (looked.state, looked.provider_status) == ("running", "cancelling")
    assert (looked.wait_seconds, looked.polls) == (poll_wait(0), 1)  # its end is near
    house.provider.advance(3)
    looked = house.poll(sent, looked.polls)
    if looked.state == "ready":
        house.create(sent.batch_id, sent.attempt)
        outcome = house.record(sent.batch_id, sent.attempt)
    else:
        outcome = house.record(sent.batch_id, sent.attempt, failed=looked.cause)
    assert (outcome.status, outcome.retry) == ("CANCELLED", False)


def test_what_the_provider_had_embedded_is_kept_and_the_rest_is_free(
    house: House, batch_id: str, machine: MemoryMachine
) -> None:
    sent = house.submit(batch_id)
    house.provider.advance(1)
    done = cancel_batch(batch_id, house.stores, house.clock, machine)
    assert (done.status, done.execution, machine.started) == ("SUBMITTED", None, [])
    obeyed(house, sent)
    assert house.stores.ledger.read(batch_id).counts == Counts(submitted=4, embedded=2, to_retry=2)
    assert len(house.documents()) == 2
    assert sorted(statuses(house)) == ["NONE", "NONE", "SUCCESS", "SUCCESS"]
    cancelled(house, batch_id)


def test_a_batch_that_had_not_begun_leaves_nothing_and_frees_all(
    house: House, batch_id: str, machine: MemoryMachine
) -> None:
    sent = house.submit(batch_id)
    cancel_batch(batch_id, house.stores, house.clock, machine)
    house.provider.edit_rows = lambda rows: []
    obeyed(house, sent)
    house.provider.edit_rows = lambda rows: rows
    cancelled(house, batch_id)


def test_a_batch_that_was_not_bought_is_never_bought(house: House, batch_id: str, machine: MemoryMachine) -> None:
    cancel_batch(batch_id, house.stores, house.clock, machine)
    with pytest.raises(BatchFailed, match="before it was bought") as raised:
        house.submit(batch_id)
    assert house.provider.calls["create_batch"] == 0
    assert house.record(batch_id, failed=str(raised.value)).status == "CANCELLED"
    cancelled(house, batch_id)


def test_an_unclear_submission_is_looked_up_and_cancelled(house: House, batch_id: str, machine: MemoryMachine) -> None:
    house.provider.fail_next("create_batch", ProviderUnavailable("lost"), done=True)
    with pytest.raises(SubmissionUnclear):
        house.submit(batch_id)
    cancel_batch(batch_id, house.stores, house.clock, machine)
    obeyed(house, house.submit(batch_id))
    assert house.provider.calls["create_batch"] == 1
    cancelled(house, batch_id)


def test_a_full_queue_is_not_tried_again(house: House, batch_id: str, machine: MemoryMachine) -> None:
    sent = house.submit(batch_id)
    house.provider.fail(sent.openai_batch_id, "token_limit_exceeded", "Enqueued token limit reached.")
    house.provider.advance(1)
    cancel_batch(batch_id, house.stores, house.clock, machine)
    looked = house.poll(sent)
    assert looked.state == "failed"
    assert house.record(batch_id, failed=looked.cause).status == "CANCELLED"
    cancelled(house, batch_id)


def test_a_batch_that_ended_before_the_request_was_seen_is_complete(
    house: House, batch_id: str, machine: MemoryMachine
) -> None:
    sent = house.submit(batch_id)
    house.provider.advance(3)
    cancel_batch(batch_id, house.stores, house.clock, machine)
    assert house.poll(sent).state == "ready"
    assert house.provider.calls["cancel_batch"] == 0
    house.create(batch_id)
    assert house.record(batch_id).status == "COMPLETE"
    with pytest.raises(IllegalTransition, match="COMPLETE"):
        cancel_batch(batch_id, house.stores, house.clock, machine)


def test_a_provider_that_refuses_to_cancel_goes_on(house: House, batch_id: str, machine: MemoryMachine) -> None:
    sent = house.submit(batch_id)
    cancel_batch(batch_id, house.stores, house.clock, machine)
    house.provider.fail_next("cancel_batch", ProviderRefused("HTTP 409"))
    assert house.poll(sent).state == "running"
    obeyed(house, sent)


@pytest.mark.parametrize("attempt", range(1, MAX_ATTEMPTS + 1))
def test_rows_that_would_have_been_sent_again_are_free_in_every_attempt(
    house: House, batch_id: str, machine: MemoryMachine, attempt: int
) -> None:
    house.provider.edit_rows = failing("a")
    for _ in range(attempt - 1):
        through(house, batch_id)
        assert house.stores.ledger.read(batch_id).status == "PLANNED"
    sent = house.submit(batch_id)
    house.provider.advance(3)
    cancel_batch(batch_id, house.stores, house.clock, machine)
    house.create(batch_id, sent.attempt)
    outcome = house.record(batch_id, sent.attempt)
    assert (outcome.status, outcome.retry, outcome.counts.to_retry) == ("CANCELLED", False, 1)
    assert house.record(batch_id, sent.attempt) == outcome
    assert statuses(house) == ["NONE", "SUCCESS", "SUCCESS", "SUCCESS"]
    house.provider.edit_rows = lambda rows: rows
    cancelled(house, batch_id)


def test_a_request_between_two_attempts_stops_the_second(house: House, batch_id: str, machine: MemoryMachine) -> None:
    house.provider.edit_rows = failing("a")
    through(house, batch_id)
    cancel_batch(batch_id, house.stores, house.clock, machine)
    with pytest.raises(BatchFailed) as raised:
        house.submit(batch_id)
    house.record(batch_id, 2, failed=str(raised.value))
    assert house.stores.ledger.read(batch_id).counts == Counts(submitted=4, embedded=3, to_retry=1)
    house.provider.edit_rows = lambda rows: rows
    cancelled(house, batch_id)


def test_recording_that_crashed_before_the_request_frees_all_the_same(
    house: House, batch_id: str, machine: MemoryMachine
) -> None:
    house.provider.edit_rows = failing("a")
    sent = house.submit(batch_id)
    house.provider.advance(3)
    house.create(batch_id)
    with pytest.raises(Crash):
        house.with_stores(ledger=crashing(house.stores.ledger, "save")).record(batch_id)
    assert house.state("text.texts.a").status == "PENDING"
    cancel_batch(batch_id, house.stores, house.clock, machine)
    assert house.record(sent.batch_id).status == "CANCELLED"
    house.provider.edit_rows = lambda rows: rows
    cancelled(house, batch_id)


def test_asking_twice_is_as_good_as_once(house: House, batch_id: str, machine: MemoryMachine) -> None:
    sent = house.submit(batch_id)
    cancel_batch(batch_id, house.stores, house.clock, machine)
    asked_at = house.stores.ledger.read(batch_id).cancel_requested_at
    house.clock.advance(60)
    cancel_batch(batch_id, house.stores, house.clock, machine)
    assert house.stores.ledger.read(batch_id).cancel_requested_at == asked_at
    obeyed(house, sent)
    item = house.stores.ledger.read(batch_id)
    assert cancel_batch(batch_id, house.stores, house.clock, machine).status == "CANCELLED"
    assert house.stores.ledger.read(batch_id) == item


def test_a_batch_that_nobody_works_on_is_started_again_to_be_ended(
    house: House, batch_id: str, machine: MemoryMachine
) -> None:
    sent = house.submit(batch_id)
    house.clock.advance(ORPHAN_SECONDS + 1)
    done = cancel_batch(batch_id, house.stores, house.clock, machine)
    assert done.execution == f"{batch_id}-2"
    assert machine.started == [{"batch_id": batch_id}]
    obeyed(house, sent)
    cancelled(house, batch_id)


def test_an_unknown_batch_is_named(house: House, machine: MemoryMachine) -> None:
    with pytest.raises(UnknownBatch, match="nope"):
        cancel_batch("nope", house.stores, house.clock, machine)


def failing(name: str) -> Any:
    """This record's row fails each time, in a way that may pass."""
    error = {"error": {"code": "oops", "message": "later"}}

    def edit(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [answered(name, name, 500, error) if row["custom_id"] == name else row for row in rows]

    return edit


def through(house: House, batch_id: str) -> None:
    """One attempt, as the machine walks it."""
    sent = house.submit(batch_id)
    house.provider.advance(3)
    house.create(batch_id, sent.attempt)
    house.record(batch_id, sent.attempt)
