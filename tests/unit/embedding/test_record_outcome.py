from __future__ import annotations

import json
from typing import Any

import pytest
from siltstone import keys
from siltstone.embedding.create_delta import MAX_ATTEMPTS
from siltstone.embedding.embed_now import embed_sources_now
from siltstone.embedding.outcome import Outcome
from siltstone.errors import IllegalTransition, LedgerImbalance
from siltstone.sources.loading import delete_sources, load_sources
from siltstone.sources.text import Text
from siltstone.stores.ledger import Counts
from siltstone.stores.provider_memory import answered

from tests.unit.embedding.faults import Crash, Hooked, crashing, key_ends
from tests.unit.embedding.house import House, receipt, text

A = "text.texts.a"


def refusing(*names: str, status: int = 500, message: str = "oops") -> Any:
    """Rows of these records become errors."""

    def edit(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        error = {"error": {"code": "why", "message": message}}
        return [
            answered(row["custom_id"], row["custom_id"], status, error) if row["custom_id"] in names else row
            for row in rows
        ]

    return edit


def load(house: House, *texts: Text) -> None:
    load_sources(texts, house.stores, house.clock)


class TestBalance:
    def test_a_batch_that_went_well_is_complete_and_its_sources_are_settled(self, house: House) -> None:
        load(house, text("a"), text("b"))
        sent = house.sent()
        made = house.create(sent.batch_id)
        outcome = house.record(sent.batch_id)
        assert (outcome.status, outcome.retry, outcome.attempt) == ("COMPLETE", False, 1)
        assert outcome.counts == Counts(submitted=2, embedded=2)
        state = house.state(A)
        assert (state.status, state.claim, state.batch_id) == ("SUCCESS", None, sent.batch_id)
        assert state.settled.keys() == {"a"}
        assert house.hints.told == [{"collection": "texts", "delta_key": made.delta_keys[0], "embedding_count": 2}]

    def test_recording_again_answers_the_same(self, house: House) -> None:
        load(house, text("a"))
        sent = house.sent()
        house.create(sent.batch_id)
        first, item = house.record(sent.batch_id), house.stores.ledger.read(sent.batch_id)
        assert house.record(sent.batch_id) == first
        assert house.stores.ledger.read(sent.batch_id) == item

    def test_a_record_that_is_unaccounted_for_fails_the_execution(self, house: House) -> None:
        load(house, text("a"), text("b"))
        sent = house.sent()
        house.create(sent.batch_id)
        key = f"{keys.batch_attempt(sent.batch_id, 1)}outcome.parquet"
        house.stores.deltas.put(key, Outcome.blank(2).encode())
        with pytest.raises(LedgerImbalance, match=sent.batch_id):
            house.record(sent.batch_id)
        house.stores.deltas.put(key, Outcome.blank(1).encode())
        with pytest.raises(LedgerImbalance):
            house.record(sent.batch_id)
        assert house.stores.ledger.read(sent.batch_id).status == "EMBEDDED"
        assert house.state(A).status == "PENDING"

    def test_there_is_nothing_to_record_before_the_delta(self, house: House) -> None:
        load(house, text("a"))
        sent = house.sent()
        with pytest.raises(IllegalTransition, match="CreateDelta comes first"):
            house.record(sent.batch_id)


class TestRetry:
    def test_rows_to_retry_form_the_next_attempt_and_nothing_else(self, house: House) -> None:
        load(house, text("a"), text("b"), text("c"))
        house.provider.edit_rows = refusing("b")
        sent = house.sent()
        house.create(sent.batch_id)
        outcome = house.record(sent.batch_id)
        assert (outcome.status, outcome.retry, outcome.attempt) == ("PLANNED", True, 2)
        assert outcome.counts == Counts(submitted=3, embedded=2, to_retry=1)
        assert house.record(sent.batch_id) == outcome
        assert (house.state(A).status, house.state("text.texts.b").status) == ("SUCCESS", "PENDING")
        house.provider.edit_rows = lambda rows: rows
        again = house.submit(sent.batch_id)
        assert again.attempt == 2
        assert house.provider.batches[again.openai_batch_id].metadata["attempt"] == "2"
        house.provider.advance(3)
        made = house.create(sent.batch_id, 2)
        assert (made.submitted, made.embedded) == (1, 1)
        assert house.record(sent.batch_id, 2).status == "COMPLETE"
        item = house.stores.ledger.read(sent.batch_id)
        assert item.counts == Counts(submitted=3, embedded=3)
        assert len(item.delta_keys) == 2
        assert sorted(house.documents()) == ["a", "b", "c"]
        assert house.record(sent.batch_id, 1) == outcome  # a late retry of the first attempt's state

    def test_a_source_with_one_row_to_retry_is_pending_until_it_is_there(self, house: House) -> None:
        source = receipt(1, ["one", "two"])
        load_sources([source], house.stores, house.clock)
        first, second = (f"IMAGE#{source.image_id}#RECEIPT#00001#LINE#{n:05d}" for n in range(2))
        house.provider.edit_rows = refusing(second)
        sent = house.sent()
        house.create(sent.batch_id)
        house.record(sent.batch_id)
        state = house.state(source.source_id, "lines")
        assert (state.status, set(state.settled), state.pending) == ("PENDING", {first}, {second})
        house.provider.edit_rows = lambda rows: rows
        house.walk(sent.batch_id)
        assert house.state(source.source_id, "lines").status == "SUCCESS"

    def test_after_the_last_attempt_the_rows_are_rejected_with_the_providers_words(self, house: House) -> None:
        load(house, text("a"), text("b"))
        house.provider.edit_rows = refusing("b", message="the engine is on fire")
        (item,) = house.run()
        assert (item.status, item.attempt) == ("COMPLETE", MAX_ATTEMPTS)
        assert item.counts == Counts(submitted=2, embedded=1, rejected=1)
        body = house.stores.deltas.get(f"{keys.batch_attempt(item.batch_id, MAX_ATTEMPTS)}rejected.jsonl").body
        assert json.loads(body)["reason"] == "why: the engine is on fire"
        state = house.state("text.texts.b")
        assert state.status == "FAILED"
        assert "on fire" in (state.cause or "")

    def test_an_expired_batch_keeps_what_it_finished_and_sends_the_rest_again(self, house: House) -> None:
        load(house, *(text(f"t{number}", f"text {number}") for number in range(10)))
        (planned,) = house.plan().batches
        sent = house.submit(planned.batch_id)
        house.provider.end_as(sent.openai_batch_id, "expired", share=0.6)
        house.provider.advance(3)
        assert house.create(sent.batch_id).embedded == 6
        assert house.record(sent.batch_id).counts.to_retry == 4
        assert house.walk(sent.batch_id).counts == Counts(submitted=10, embedded=10)
        assert len(house.documents()) == 10


class TestSources:
    def test_a_source_deleted_while_its_delta_was_written_gets_a_delete(self, house: House) -> None:
        load(house, text("a"), text("b"))
        sent = house.sent()
        house.create(sent.batch_id)
        delete_sources([A], house.stores, house.clock)
        house.clock.advance(1)
        assert house.record(sent.batch_id).status == "COMPLETE"
        assert list(house.documents()) == ["b"]
        assert list(house.stores.sources.list_open()) == []

    def test_a_source_deleted_just_before_the_delta_arrives_gets_another_delete(self, house: House) -> None:
        load(house, text("a"))
        sent = house.sent()

        def vanish() -> None:
            delete_sources([A], house.stores, house.clock)
            house.clock.advance(5)

        hook = Hooked(house.stores.deltas, "put", vanish, when=key_ends("-1/embeddings.parquet"))
        house.with_stores(deltas=hook).create(sent.batch_id)
        assert list(house.documents()) == ["a"]  # the delete came first
        house.record(sent.batch_id)
        assert house.documents() == {}
        house.record(sent.batch_id)
        assert house.documents() == {}

    def test_a_source_deleted_right_behind_its_delta_and_loaded_again_is_embedded_again(self, house: House) -> None:
        """The delete came after the delta, so the same content is wanted and not there."""
        load(house, text("a"))
        sent = house.sent()
        house.create(sent.batch_id)
        house.clock.advance(1)
        delete_sources([A], house.stores, house.clock)
        house.clock.advance(1)
        load(house, text("a"))
        house.record(sent.batch_id)
        assert house.state(A).status == "NONE"
        house.run("plan-2")
        assert house.documents() == {"a": "hello"}
        assert house.state(A).status == "SUCCESS"

    def test_an_old_content_that_overtakes_a_new_one_is_embedded_again(self, house: House) -> None:
        load(house, text("a", "old"))
        sent = house.sent()

        def overtaken() -> None:
            embed_sources_now([text("a", "new")], house.stores, house.clock, house.provider)
            house.clock.advance(5)

        hook = Hooked(house.stores.deltas, "put", overtaken, when=key_ends("-1/embeddings.parquet"))
        house.with_stores(deltas=hook).create(sent.batch_id)
        assert house.state(A).status == "SUCCESS"
        assert house.documents() == {"a": "old"}  # wrong for the moment: the old one was written last
        house.record(sent.batch_id)
        assert house.state(A).status == "NONE"
        house.run("q")
        assert house.documents() == {"a": "new"}

    def test_a_changed_source_is_not_a_success(self, house: House) -> None:
        load(house, text("a", "old"))
        sent = house.sent()
        house.create(sent.batch_id)
        load(house, text("a", "new"))
        house.record(sent.batch_id)
        assert house.state(A).status == "NONE"
        house.run("q")
        assert house.documents() == {"a": "new"}

    def test_content_that_changed_and_changed_back_ends_right(self, house: House) -> None:
        load(house, text("a", "one"))
        sent = house.sent()
        load(house, text("a", "two"))
        load(house, text("a", "one"))
        house.create(sent.batch_id)
        house.record(sent.batch_id)
        house.run("q")
        assert house.documents() == {"a": "one"}
        assert house.state(A).status == "SUCCESS"

    def test_a_claim_that_another_plan_took_over_is_left_to_it(self, house: House) -> None:
        load(house, text("a"))
        with pytest.raises(Crash):
            house.with_stores(ledger=crashing(house.stores.ledger, "create")).plan("p")
        house.clock.advance(4_000)
        (planned,) = house.plan("q").batches
        assert house.walk(planned.batch_id).counts.embedded == 1
        assert house.state(A).batch_id == planned.batch_id

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    def test_a_crash_between_the_sources_and_the_ledger_changes_nothing(self, house: House, after: bool) -> None:
        load(house, text("a"), text("b"))
        house.provider.edit_rows = refusing("b", status=400)
        sent = house.sent()
        house.create(sent.batch_id)
        with pytest.raises(Crash):
            house.with_stores(ledger=crashing(house.stores.ledger, "save", after=after)).record(sent.batch_id)
        before = house.state(A), house.state("text.texts.b")
        assert house.record(sent.batch_id).status == "COMPLETE"
        assert (house.state(A), house.state("text.texts.b")) == before
        assert before[0].status == "SUCCESS"
        assert house.plan("q").batches == []

    def test_a_source_that_moves_while_it_is_settled_is_read_again(self, house: House) -> None:
        load(house, text("a", "old"))
        sent = house.sent()
        house.create(sent.batch_id)
        hook = Hooked(
            house.stores.sources,
            "save_many",
            lambda: load(house, text("a", "new")),
            when=lambda items, **_: len(items) == 1,
        )
        house.with_stores(sources=hook).record(sent.batch_id)
        assert house.state(A).status == "NONE"
        house.run("q")
        assert house.documents() == {"a": "new"}


class TestRejection:
    def test_a_rejected_record_is_not_paid_for_again_until_it_changes(self, house: House) -> None:
        load(house, text("a", "bad"), text("b"))
        house.provider.edit_rows = refusing("a", status=400, message="won't do")
        house.run("p")
        load(house, text("a", "bad"), text("b"))
        assert house.plan("q").batches == []
        house.provider.edit_rows = lambda rows: rows
        load(house, text("a", "good"))
        house.run("r")
        assert house.documents() == {"a": "good", "b": "hello"}
        assert house.state(A).status == "SUCCESS"
        assert house.state(A).refused == {}
        assert house.state(A).cause is None

    def test_the_old_content_of_a_rejected_record_leaves_the_store(self, house: House) -> None:
        load(house, text("a", "good"))
        house.run("p")
        house.provider.edit_rows = refusing("a", status=400)
        load(house, text("a", "bad"))
        (item,) = house.run("q")
        assert item.counts.rejected == 1
        assert house.documents() == {}
        assert house.state(A).held == frozenset()
        load(house, text("a", "good"))
        house.provider.edit_rows = lambda rows: rows
        house.run("r")
        assert house.documents() == {"a": "good"}

    def test_the_other_records_of_the_source_stay(self, house: House) -> None:
        source = receipt(1, ["one", "two", "three"])
        load_sources([source], house.stores, house.clock)
        ids = [f"IMAGE#{source.image_id}#RECEIPT#00001#LINE#{n:05d}" for n in range(3)]
        house.provider.edit_rows = refusing(ids[1], status=400)
        house.run("p")
        assert sorted(house.documents("lines")) == [ids[0], ids[2]]
        state = house.state(source.source_id, "lines")
        assert (state.status, set(state.refused)) == ("FAILED", {ids[1]})
        house.provider.edit_rows = lambda rows: rows
        (planned,) = house.plan("q", retry_failed=True).batches
        assert planned.records == 1
        house.walk(planned.batch_id)
        assert sorted(house.documents("lines")) == ids


class TestFailedForGood:
    def test_the_ledger_balances_and_a_later_plan_takes_the_sources(self, house: House) -> None:
        load(house, text("a"), text("b"))
        (planned,) = house.plan("p").batches
        sent = house.submit(planned.batch_id)
        house.provider.fail(sent.openai_batch_id, "invalid_file", "no")
        house.provider.advance(1)
        outcome = house.record(sent.batch_id, failed=house.poll(sent).cause)
        assert (outcome.status, outcome.retry) == ("FAILED", False)
        assert outcome.counts == Counts(submitted=2, to_retry=2)
        assert "invalid_file" in (outcome.cause or "")
        assert house.record(sent.batch_id, failed="again") == outcome
        item = house.stores.ledger.read(sent.batch_id)
        assert item.counts == Counts(submitted=2, to_retry=2)
        assert item.cost_usd == 0
        assert "invalid_file" in (house.state(A).cause or "")
        house.run("q")
        assert sorted(house.documents()) == ["a", "b"]
        assert house.state(A).failures == 0

    def test_a_source_whose_batches_always_fail_waits_for_a_person(self, house: House) -> None:
        load(house, text("a"))
        for number in range(3):
            (planned,) = house.plan(f"p{number}").batches
            house.record(planned.batch_id, failed="no")
        assert house.state(A).status == "FAILED"
        assert house.plan("q").batches == []
        (planned,) = house.plan("r", retry_failed=True).batches
        house.walk(planned.batch_id)
        assert house.state(A).status == "SUCCESS"

    def test_what_an_earlier_attempt_embedded_stays(self, house: House) -> None:
        load(house, text("a"), text("b"))
        house.provider.edit_rows = refusing("b")
        sent = house.sent()
        house.create(sent.batch_id)
        house.record(sent.batch_id)
        # Another execution's first failure does not know the attempt: the ledger does.
        outcome = house.record(sent.batch_id, 1, failed="the key was revoked")
        assert (outcome.status, outcome.attempt, outcome.counts.to_retry) == ("FAILED", 2, 1)
        assert house.stores.ledger.read(sent.batch_id).counts == Counts(submitted=2, embedded=1, to_retry=1)
        assert (house.state(A).status, house.state("text.texts.b").status) == ("SUCCESS", "NONE")

    def test_a_crash_before_the_ledger_gives_the_sources_back_once(self, house: House) -> None:
        load(house, text("a"))
        (planned,) = house.plan("p").batches
        with pytest.raises(Crash):
            house.with_stores(ledger=crashing(house.stores.ledger, "save")).record(planned.batch_id, failed="no")
        house.record(planned.batch_id, failed="no")
        assert house.state(A).failures == 1

    def test_a_batch_with_answers_did_not_fail(self, house: House) -> None:
        load(house, text("a"))
        sent = house.sent()
        house.create(sent.batch_id)
        with pytest.raises(IllegalTransition):
            house.record(sent.batch_id, failed="no")
        house.record(sent.batch_id)
        with pytest.raises(IllegalTransition):
            house.record(sent.batch_id, failed="no")
