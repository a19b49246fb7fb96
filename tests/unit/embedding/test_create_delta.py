from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from siltstone import keys
from siltstone.deltas.codec import decode
from siltstone.embedding.answers import Answers
from siltstone.embedding.batch_files import RECORD_SCHEMA, batch_files
from siltstone.embedding.outcome import Outcome
from siltstone.embedding.requests import decode_vector
from siltstone.errors import IllegalTransition
from siltstone.settings import CollectionSettings
from siltstone.sources.loading import delete_sources, load_sources
from siltstone.stores.provider_memory import answered, embeddings_body, encode_vector, never_ran

from tests.unit.embedding.faults import Crash, Hooked, crashing, key_ends
from tests.unit.embedding.house import DIMENSION, House, book, embed, text

NAMES = ["a", "b", "c", "d"]
Row = dict[str, Any]


@pytest.fixture
def texts(house: House) -> None:
    load_sources([text(name, f"text {name}", place=name) for name in NAMES], house.stores, house.clock)


def refused(name: str, status: int, code: str, message: str) -> Row:
    return answered(name, name, status, {"error": {"code": code, "message": message}})


def vector_row(name: str, vector: object) -> Row:
    return answered(name, name, 200, embeddings_body("m", [vector], 3))


def replacing(*news: Row) -> Any:
    """Rows with the same ids replaced."""
    ids = {row["custom_id"] for row in news}
    return lambda rows: [*(row for row in rows if row["custom_id"] not in ids), *news]


@pytest.mark.usefixtures("texts")
class TestMatching:
    def test_every_vector_ends_beside_its_own_text(self, house: House) -> None:
        house.provider.edit_rows = lambda rows: rows[::-1]  # rows come in no order
        sent = house.sent()
        made = house.create(sent.batch_id)
        assert (made.submitted, made.embedded, made.to_retry) == (4, 4, 0)
        assert made.delta_keys == [f"deltas/texts/{sent.batch_id}-1/embeddings.parquet"]
        for name, row in house.store().items():
            np.testing.assert_array_equal(row["vector"], embed([f"text {name}"], DIMENSION)[0])
            assert row["document"] == f"text {name}"

    def test_a_row_says_where_it_came_from(self, house: House) -> None:
        sent = house.sent()
        house.create(sent.batch_id)
        metadata = house.store()["a"]["metadata"]
        assert metadata["place"] == "a"
        assert metadata["batch_id"] == sent.batch_id
        assert metadata["delta_id"] == f"{sent.batch_id}-1"
        assert metadata["model"] == "text-embedding-3-small"
        assert metadata["input_format"] == "plain-v1"
        assert len(metadata["input_sha256"]) == 64

    def test_rows_that_came_back_twice_or_were_never_sent_change_nothing(self, house: House) -> None:
        stranger = vector_row("stranger", encode_vector(np.ones(DIMENSION, np.float32)))
        house.provider.edit_rows = lambda rows: [*rows, rows[0], stranger]
        sent = house.sent()
        made = house.create(sent.batch_id)
        assert (made.submitted, made.embedded) == (4, 4)
        assert sorted(house.documents()) == NAMES
        attempt = house.stores.ledger.read(sent.batch_id).outcome(1)
        assert attempt is not None
        assert attempt.unknown_rows == 1

    def test_an_answer_wins_over_an_error_for_the_same_record(self, house: House) -> None:
        house.provider.edit_rows = lambda rows: [refused("a", 500, "server_error", "oops"), *rows]
        made = house.create(house.sent().batch_id)
        assert (made.embedded, made.to_retry) == (4, 0)

    def test_a_record_without_an_answer_is_to_be_sent_again(self, house: House) -> None:
        house.provider.edit_rows = lambda rows: rows[1:]
        made = house.create(house.sent().batch_id)
        assert (made.embedded, made.to_retry, made.rejected) == (3, 1, 0)

    @pytest.mark.parametrize(
        "vector",
        [
            encode_vector(np.ones(DIMENSION // 2, np.float32)),
            encode_vector(np.full(DIMENSION, np.nan, np.float32)),
            encode_vector(np.array([np.inf] + [0.0] * (DIMENSION - 1), np.float32)),
            encode_vector(np.full(DIMENSION, 1e30, np.float32)),
            encode_vector(np.zeros(DIMENSION, np.float32)),
            "not base64!",
            [],
            None,
        ],
        ids=["short", "nan", "infinite", "overflows", "zero", "not base64", "empty", "null"],
    )
    def test_a_vector_that_can_not_be_used_is_asked_for_again(self, house: House, vector: object) -> None:
        house.provider.edit_rows = replacing(vector_row("b", vector))
        made = house.create(house.sent().batch_id)
        assert (made.embedded, made.to_retry, made.rejected) == (3, 1, 0)
        assert sorted(house.documents()) == ["a", "c", "d"]

    @pytest.mark.parametrize(
        ("row", "rejected"),
        [
            (refused("b", 400, "invalid_request", "too long"), True),
            (refused("b", 429, "rate_limit_exceeded", "slow down"), False),
            (refused("b", 500, "server_error", "oops"), False),
            (never_ran("b", "b", "batch_expired"), False),
            ({"custom_id": "b", "response": {"status_code": 200, "body": {}}}, False),
        ],
        ids=["bad request", "throttled", "broken", "expired", "malformed"],
    )
    def test_only_a_refusal_of_the_record_itself_is_final(self, house: House, row: Row, rejected: bool) -> None:
        house.provider.edit_rows = replacing(row)
        made = house.create(house.sent().batch_id)
        assert (made.to_retry, made.rejected) == ((0, 1) if rejected else (1, 0))
        assert made.submitted == made.embedded + made.to_retry + made.rejected + made.outdated

    def test_the_providers_files_are_kept_as_they_came(self, house: House) -> None:
        house.provider.edit_rows = replacing(refused("b", 400, "invalid_request", "too long"))
        sent = house.sent()
        house.create(sent.batch_id)
        info = house.provider.batches[sent.openai_batch_id]
        prefix = keys.batch_attempt(sent.batch_id, 1)
        assert house.stores.deltas.get(f"{prefix}output.jsonl").body == house.provider.files[info.output_file_id or ""]
        assert house.stores.deltas.get(f"{prefix}errors.jsonl").body == house.provider.files[info.error_file_id or ""]

    def test_a_batch_without_a_single_success_writes_no_delta(self, house: House) -> None:
        house.provider.edit_rows = lambda rows: [refused(name, 400, "bad", "no") for name in NAMES]
        made = house.create(house.sent().batch_id)
        assert (made.delta_keys, made.rejected) == ([], 4)
        assert house.documents() == {}

    def test_tokens_and_cost_are_those_that_the_provider_bills(self, house: House) -> None:
        sent = house.sent()
        house.create(sent.batch_id)
        item = house.stores.ledger.read(sent.batch_id)
        assert item.tokens == 8
        assert item.cost_usd == pytest.approx(8 * 0.01 / 1e6)


@pytest.mark.usefixtures("texts")
class TestSources:
    def test_rows_of_sources_that_are_gone_or_changed_are_left_out(self, house: House) -> None:
        sent = house.sent()
        delete_sources(["text.texts.a"], house.stores, house.clock)
        load_sources([text("b", "changed")], house.stores, house.clock)
        made = house.create(sent.batch_id)
        assert (made.embedded, made.outdated) == (2, 2)
        assert sorted(house.documents()) == ["c", "d"]

    def test_a_record_that_no_delta_can_hold_does_not_cost_the_others(self, house: House) -> None:
        # What is loaded is checked; here the record file was made by a release that let more through.
        sent = house.sent()
        with batch_files(house.stores.deltas, sent.batch_id, 1, house.workspace) as files:
            rows = files.read_records().to_pylist()
            rows[1]["metadata"] = json.dumps({"n": 2**70})
            pq.write_table(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA), files.path("records.parquet"))
            files.upload("records.parquet")
        made = house.create(sent.batch_id)
        assert (made.embedded, made.rejected) == (3, 1)
        assert house.record(sent.batch_id).status == "COMPLETE"
        row = json.loads(house.stores.deltas.get(f"{keys.batch_attempt(sent.batch_id, 1)}rejected.jsonl").body)
        assert row["id"] == rows[1]["id"]
        assert "64 bits" in row["reason"]


@pytest.mark.usefixtures("texts")
class TestAgain:
    @pytest.mark.parametrize("end", ["outcome.parquet", "embeddings.parquet"])
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    def test_a_crash_at_any_write_ends_in_one_delta(self, house: House, end: str, after: bool) -> None:
        sent = house.sent()
        broken = house.with_stores(
            deltas=crashing(house.stores.deltas, "put", after=after, when=key_ends(end)),
        )
        with pytest.raises(Crash):
            broken.create(sent.batch_id)
        made = house.create(sent.batch_id)
        assert made.embedded == 4
        assert len(list(house.stores.deltas.list("deltas/"))) == 1
        assert house.record(sent.batch_id).status == "COMPLETE"

    def test_a_crash_before_the_ledger_ends_in_one_delta(self, house: House) -> None:
        sent = house.sent()
        with pytest.raises(Crash):
            house.with_stores(ledger=crashing(house.stores.ledger, "save")).create(sent.batch_id)
        assert house.create(sent.batch_id).embedded == 4
        assert len(list(house.stores.deltas.list_versions("deltas/"))) == 1

    def test_the_decision_that_was_written_first_holds(self, house: House) -> None:
        sent = house.sent()
        with pytest.raises(Crash):
            house.with_stores(ledger=crashing(house.stores.ledger, "save")).create(sent.batch_id)
        load_sources([text("a", "changed in between")], house.stores, house.clock)
        made = house.create(sent.batch_id)
        assert (made.embedded, made.outdated) == (4, 0)  # as the delta has it; RecordOutcome looks again

    def test_a_delta_that_was_merged_and_retired_is_not_written_again(self, house: House) -> None:
        sent = house.sent()
        with pytest.raises(Crash):
            house.with_stores(ledger=crashing(house.stores.ledger, "save")).create(sent.batch_id)
        (delta,) = house.stores.deltas.list("deltas/")
        house.stores.deltas.delete(delta.key)
        made = house.create(sent.batch_id)
        assert made.delta_keys == [delta.key]
        assert list(house.stores.deltas.list("deltas/")) == []

    def test_creating_again_answers_the_same_and_asks_nobody(self, house: House) -> None:
        sent = house.sent()
        first = house.create(sent.batch_id)
        calls = house.provider.calls.total()
        assert house.create(sent.batch_id) == first
        house.record(sent.batch_id)
        assert house.create(sent.batch_id) == first
        assert house.provider.calls.total() == calls

    def test_a_batch_that_still_runs_has_no_delta(self, house: House) -> None:
        (planned,) = house.plan().batches
        with pytest.raises(IllegalTransition, match="PLANNED"):
            house.create(planned.batch_id)
        house.submit(planned.batch_id)
        with pytest.raises(IllegalTransition, match="validating"):
            house.create(planned.batch_id)

    def test_an_execution_that_starts_over_after_the_delta_passes_through(self, house: House) -> None:
        sent = house.sent()
        house.create(sent.batch_id)
        item = house.walk(sent.batch_id)
        assert (item.status, item.counts.embedded) == ("COMPLETE", 4)
        assert len(house.provider.batches) == 1


def test_a_sharded_collection_gets_a_delta_for_each_shard(house: House) -> None:
    shards = CollectionSettings(dimension=DIMENSION, shards=4)
    there = House(house.workspace, book(many=shards))
    load_sources([text(f"t{number}", collection="many") for number in range(40)], there.stores, there.clock)
    (item,) = there.run()
    assert len(item.delta_keys) == 4
    assert item.counts.embedded == 40
    assert sum(len(there.store(f"many.s{shard:02d}")) for shard in range(4)) == 40
    assert {told["collection"] for told in there.hints.told} == {f"many.s{shard:02d}" for shard in range(4)}


def test_vectors_are_exact(house: House) -> None:
    vector = np.random.default_rng(0).normal(size=DIMENSION).astype(np.float32)
    load_sources([text("a")], house.stores, house.clock)
    house.provider.edit_rows = replacing(vector_row("a", encode_vector(vector)))
    house.run()
    (delta,) = house.stores.deltas.list("deltas/")
    _, rows = decode(house.stores.deltas.get(delta.key).body)
    assert rows.embeddings[0].tobytes() == vector.tobytes() == decode_vector(encode_vector(vector)).tobytes()


def test_a_source_that_changes_right_before_the_delta_is_embedded_again(house: House) -> None:
    load_sources([text("a", "old")], house.stores, house.clock)
    sent = house.sent()
    hook = Hooked(
        house.stores.deltas,
        "put",
        lambda: load_sources([text("a", "new")], house.stores, house.clock) and None,
        when=key_ends("embeddings.parquet"),
    )
    house.with_stores(deltas=hook).create(sent.batch_id)
    assert house.documents() == {"a": "old"}
    house.record(sent.batch_id)
    house.run("q")
    assert house.documents() == {"a": "new"}
    assert house.state("text.texts.a").status == "SUCCESS"


def test_a_reason_that_no_file_can_hold_is_kept_as_far_as_it_can(tmp_path: Path) -> None:
    """JSON's escapes can name half of a surrogate pair: one refused row must not cost the batch."""
    (tmp_path / "errors.jsonl").write_text(json.dumps(refused("a", 400, "\ud800", "bad \udfff words")) + "\n")
    answers = Answers(["a"], CollectionSettings(dimension=DIMENSION))
    answers.read(tmp_path / "errors.jsonl")
    assert Outcome.decode(answers.outcome.encode(), 1).reasons == {0: "?: bad ? words"}
