from __future__ import annotations

import pytest
from siltstone.embedding.poll_batch import MAX_SUBMISSIONS
from siltstone.embedding.submit_batch import LIST_LAG
from siltstone.errors import (
    BatchFailed,
    IllegalTransition,
    ProviderRefused,
    ProviderUnavailable,
    SubmissionUnclear,
    UnknownBatch,
)
from siltstone.sources.loading import load_sources

from tests.unit.embedding.faults import Crash, Hooked, crashing
from tests.unit.embedding.house import House, text

A = "text.texts.a"


@pytest.fixture
def batch_id(house: House) -> str:
    load_sources([text("a"), text("b", "two words")], house.stores, house.clock)
    return house.plan().batches[0].batch_id


def bought(house: House) -> int:
    return len(house.provider.batches)


def test_a_batch_is_submitted_with_its_ids_in_the_providers_metadata(house: House, batch_id: str) -> None:
    sent = house.submit(batch_id)
    (there,) = house.provider.batches.values()
    assert there.metadata == {"batch_id": batch_id, "attempt": "1", "submission": "1"}
    assert (sent.openai_batch_id, sent.collection, sent.attempt) == (there.id, "texts", 1)
    assert sent.wait_seconds > 0
    item = house.stores.ledger.read(batch_id)
    assert (item.status, item.submission, item.openai_batch_id) == ("SUBMITTED", 1, there.id)


def test_submitting_again_buys_nothing(house: House, batch_id: str) -> None:
    assert house.submit(batch_id) == house.submit(batch_id)
    assert bought(house) == 1


def test_a_lost_reply_is_looked_up_and_never_paid_twice(house: House, batch_id: str) -> None:
    house.provider.fail_next("create_batch", ProviderUnavailable("timed out"), done=True)
    with pytest.raises(SubmissionUnclear):
        house.submit(batch_id)
    sent = house.submit(batch_id)
    assert [sent.openai_batch_id] == list(house.provider.batches)
    assert house.stores.ledger.read(batch_id).submission == 1


def test_the_list_is_not_believed_before_its_lag_is_over(house: House, batch_id: str) -> None:
    house.provider.fail_next("create_batch", ProviderUnavailable("timed out"), done=True)
    with pytest.raises(SubmissionUnclear):
        house.submit(batch_id)
    (hidden,) = house.provider.batches
    house.provider.unlisted.add(hidden)
    for _ in range(5):
        with pytest.raises(SubmissionUnclear):
            house.submit(batch_id)
        house.clock.advance(LIST_LAG / 6)
    house.provider.unlisted.clear()
    assert house.submit(batch_id).openai_batch_id == hidden
    assert bought(house) == 1


def test_a_call_that_never_arrived_is_made_again_once_the_list_had_time(house: House, batch_id: str) -> None:
    house.provider.fail_next("create_batch", ProviderUnavailable("connection refused"))
    with pytest.raises(SubmissionUnclear):
        house.submit(batch_id)
    house.clock.advance(LIST_LAG)
    house.submit(batch_id)
    assert bought(house) == 1
    assert house.stores.ledger.read(batch_id).submission == 2


def test_a_batch_that_shows_up_only_after_the_second_call_was_tried_is_used(house: House, batch_id: str) -> None:
    house.provider.fail_next("create_batch", ProviderUnavailable("timed out"), done=True)
    with pytest.raises(SubmissionUnclear):
        house.submit(batch_id)
    (first,) = house.provider.batches
    house.provider.unlisted.add(first)
    house.clock.advance(LIST_LAG)
    house.provider.fail_next("create_batch", ProviderUnavailable("down"))
    with pytest.raises(SubmissionUnclear):
        house.submit(batch_id)
    house.provider.unlisted.clear()
    assert house.submit(batch_id).openai_batch_id == first
    assert bought(house) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_a_crash_around_the_call_pays_once(house: House, batch_id: str, after: bool) -> None:
    broken = house.with_stores()
    broken.provider = crashing(house.provider, "create_batch", after=after)
    with pytest.raises(Crash):
        broken.submit(batch_id)
    assert house.stores.ledger.read(batch_id).status == "SUBMITTING"
    house.clock.advance(LIST_LAG)
    house.submit(batch_id)
    assert bought(house) == 1


def test_a_crash_before_the_ledger_knows_the_id_pays_once(house: House, batch_id: str) -> None:
    to_submitted = Hooked(
        house.stores.ledger, "save", lambda: (_ for _ in ()).throw(Crash()), when=lambda item, **_: item.openai_batch_id
    )
    with pytest.raises(Crash):
        house.with_stores(ledger=to_submitted).submit(batch_id)
    house.submit(batch_id)
    assert bought(house) == 1


def test_of_two_executions_that_submit_at_once_one_buys(house: House, batch_id: str) -> None:
    rival = Hooked(house.stores.ledger, "save", lambda: house.submit(batch_id) and None)
    with pytest.raises(Exception, match="changed since it was read"):
        house.with_stores(ledger=rival).submit(batch_id)
    assert bought(house) == 1


def test_a_failed_upload_leaves_nothing_to_look_up(house: House, batch_id: str) -> None:
    house.provider.fail_next("upload_file", ProviderUnavailable("502"))
    with pytest.raises(ProviderUnavailable):
        house.submit(batch_id)
    assert house.stores.ledger.read(batch_id).status == "PLANNED"
    house.submit(batch_id)
    assert bought(house) == 1


def test_a_refusal_for_good_closes_the_batch_and_frees_its_sources(house: House, batch_id: str) -> None:
    house.provider.fail_next("create_batch", BatchFailed("Creating a batch: HTTP 400: bad endpoint"))
    with pytest.raises(BatchFailed) as caught:
        house.submit(batch_id)
    outcome = house.record(batch_id, failed=str(caught.value))
    assert (outcome.status, outcome.retry) == ("FAILED", False)
    item = house.stores.ledger.read(batch_id)
    assert "bad endpoint" in (item.cause or "")
    assert item.counts.balanced
    assert house.state(A).status == "NONE"
    with pytest.raises(IllegalTransition, match="Plan again"):
        house.submit(batch_id)


def test_a_key_that_is_refused_leaves_the_batch_open(house: House, batch_id: str) -> None:
    house.provider.fail_next("create_batch", ProviderRefused("HTTP 401"))
    with pytest.raises(ProviderRefused):
        house.submit(batch_id)
    house.clock.advance(LIST_LAG)
    house.submit(batch_id)
    assert bought(house) == 1


def test_a_full_queue_waits_longer_each_time_and_goes_again(house: House, batch_id: str) -> None:
    waits: list[int] = []
    for number in range(1, 4):
        sent = house.submit(batch_id)
        house.provider.fail(sent.openai_batch_id, "token_limit_exceeded", "Enqueued token limit reached.")
        house.provider.advance(1)
        looked = house.poll(sent)
        assert (looked.state, looked.provider_status) == ("resubmit", "failed")
        assert "Enqueued token limit" in (looked.cause or "")
        waits.append(looked.wait_seconds)
        house.clock.advance(looked.wait_seconds)
        assert house.stores.ledger.read(batch_id).submission == number
    assert waits == sorted(set(waits))
    assert house.walk(batch_id).counts.embedded == 2
    assert house.provider.calls["upload_file"] == 1


def test_a_lost_reply_after_a_full_queue_does_not_take_the_refused_batch_for_the_new_one(
    house: House, batch_id: str
) -> None:
    sent = house.submit(batch_id)
    house.provider.fail(sent.openai_batch_id, "token_limit_exceeded", "full")
    house.provider.advance(1)
    house.provider.fail_next("create_batch", ProviderUnavailable("timed out"), done=True)
    with pytest.raises(SubmissionUnclear):
        house.submit(batch_id)
    again = house.submit(batch_id)
    assert again.openai_batch_id != sent.openai_batch_id
    assert bought(house) == 2


def test_a_batch_that_never_fits_the_queue_fails_at_last(house: House, batch_id: str) -> None:
    sent = house.submit(batch_id)
    house.provider.fail(sent.openai_batch_id, "token_limit_exceeded", "full")
    house.provider.advance(1)
    item = house.stores.ledger.read(batch_id)
    house.stores.ledger.save(item.model_copy(update={"submission": MAX_SUBMISSIONS}), now=house.clock.now())
    looked = house.poll(sent)
    assert looked.state == "failed"
    assert f"Submitted {MAX_SUBMISSIONS} times" in (looked.cause or "")


def test_an_unknown_batch_is_named(house: House) -> None:
    with pytest.raises(UnknownBatch, match="01NOPE"):
        house.submit("01NOPE")
