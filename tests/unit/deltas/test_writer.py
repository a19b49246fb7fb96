"""A key is written once in its life, whatever is lost on the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import decode
from siltstone.deltas.ids import GrowingIds
from siltstone.deltas.listing import list_pending
from siltstone.deltas.produce import produce_deletes, produce_embedding_delta
from siltstone.deltas.reading import read_delta
from siltstone.deltas.retire import retire_delta
from siltstone.deltas.shards import physical, spread
from siltstone.errors import BadDelta, InvalidInput, StoreUnavailable, UnknownCollection

from tests.unit.deltas.house import House, upserts, vectors


def rows_of(house: House, key: str) -> DeltaRows:
    return decode(house.deltas.get(key).body)[1]


def test_a_delta_is_one_object_that_says_where_it_came_from() -> None:
    house = House()
    written = house.write(upserts(["a"], metadatas=[{"model": "X100", "n": None}]), batch_id="b-1")
    assert house.keys() == [written.delta_key] == [f"deltas/texts/{written.delta_id}/embeddings.parquet"]
    found, rows = decode(house.deltas.get(written.delta_key).body)
    assert (found.delta_id, found.collection, found.count, found.batch_id) == (written.delta_id, "texts", 1, "b-1")
    assert rows.metadatas == [
        {"batch_id": "b-1", "delta_id": written.delta_id, "input_format": "plain-v1", "model": "X100"}
    ]
    assert house.deltas.get(written.delta_key).info.etag == written.etag


def test_a_derived_id_is_written_once_and_the_fact_that_stands_is_returned() -> None:
    house = House()
    first = house.write(upserts(["a", "b"]), delta_id="batch-1")
    again = house.write(upserts(["c"], seed=9), delta_id="batch-1")
    assert again == first
    assert rows_of(house, first.delta_key).ids == ["a", "b"]


def test_a_derived_id_that_was_retired_is_never_written_again() -> None:
    house = House()
    first = house.write(upserts(["a"]), delta_id="batch-1")
    retire_delta(house.deltas, first.delta_key, first.etag or "")
    again = house.write(upserts(["a"]), delta_id="batch-1")
    assert (again.delta_key, again.etag, again.embedding_count) == (first.delta_key, None, 1)
    assert house.keys() == []


def test_of_two_executions_that_write_one_derived_id_at_once_one_wins_and_both_agree() -> None:
    house = House()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: house.write(upserts(["a"], seed=seed), delta_id="batch-1"), range(16)))
    assert len(set(found)) == 1
    history = list(house.deltas.list_versions("deltas/"))
    assert len(history) == 1


def test_a_put_whose_reply_was_lost_is_one_delta(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    put = house.deltas.put

    def put_twice(key: str, body: bytes, **conditions: Any) -> str:
        put(key, body, **conditions)
        return put(key, body, **conditions)  # as botocore does: the second is refused because of the first

    monkeypatch.setattr(house.deltas, "put", put_twice)
    written = house.write(upserts(["a"]))
    assert house.keys() == [written.delta_key]


def test_a_store_that_does_not_answer_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()

    def unavailable(*_: Any, **__: Any) -> str:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(house.deltas, "put", unavailable)
    with pytest.raises(StoreUnavailable):
        house.write(upserts(["a"]))


def test_a_producer_learns_at_once_what_is_wrong_and_nothing_is_written() -> None:
    house = House(shards=3)
    ids = [f"id{place}" for place in range(50)]
    embeddings = vectors(50)
    embeddings[49] = np.nan
    with pytest.raises(BadDelta, match="id 'id49': the vector has a NaN"):
        house.write(DeltaRows.upserts(ids, embeddings))
    with pytest.raises(BadDelta, match="its model is 'other'"):
        house.write(upserts(["a"]), model="other")
    with pytest.raises(BadDelta, match="50,001 rows are more than 50,000"):
        house.write(DeltaRows.deletions([str(place) for place in range(50_001)], 4))
    with pytest.raises(UnknownCollection):
        house.write(upserts(["a"]), "nowhere")
    with pytest.raises(InvalidInput, match="delta id"):
        house.write(upserts(["a"]), delta_id="../x")
    assert house.keys() == []


def test_the_rows_of_a_sharded_collection_are_spread_by_id_and_a_delete_goes_where_its_upsert_went() -> None:
    house = House(shards=3)
    ids = [f"id{place}" for place in range(60)]
    written = house.write(upserts(ids))
    deleted = house.write(DeltaRows.deletions(ids, 4))
    names = physical("texts", house.stores.settings.resolve("texts"))
    assert names == ["texts.s00", "texts.s01", "texts.s02"]
    assert [part.collection for part in written.parts] == names
    assert written.embedding_count == deleted.embedding_count == 60
    for shard, (up, down) in enumerate(zip(written.delta_keys, deleted.delta_keys, strict=True)):
        found = rows_of(house, up).ids
        assert found == rows_of(house, down).ids
        assert set(spread(found, 3).tolist()) == {shard}
        listed = list_pending(house.deltas, names[shard], house.stores.settings).deltas
        assert [delta.key for delta in listed] == [up, down]


def test_spreading_never_changes() -> None:
    # The check value of CRC-32 in its standard is 0xCBF43926, of these nine digits.
    assert spread(["123456789"], 64).tolist() == [0xCBF43926 % 64]


def test_ids_grow_within_a_millisecond_and_when_the_clock_goes_back() -> None:
    source = GrowingIds()
    clocks = [ManualClock(1_700_000_000), ManualClock(1_600_000_000), ManualClock(1_700_000_000.5)]
    found = [source.next(clocks[place % 3]) for place in range(300)]
    assert found == sorted(found)
    assert len(set(found)) == 300


def test_produce_writes_one_delta_and_tells_the_queue() -> None:
    house = House()
    produced = produce_embedding_delta(
        ["a", "b"], [[1, 2, 3, 4], [4, 3, 2, 1]], ["x", None], None, "texts", stores=house.stores, clock=house.clock
    )
    gone = produce_deletes(["a"], "texts", stores=house.stores, clock=house.clock)
    assert set(produced) == {"delta_id", "delta_key", "embedding_count"}
    assert [told["delta_key"] for told in house.hints.told] == [produced["delta_key"], gone["delta_key"]]
    listed = list_pending(house.deltas, "texts", house.stores.settings).deltas
    assert [delta.delta_id for delta in listed] == [produced["delta_id"], gone["delta_id"]]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"embeddings": [[1, 2], [1]]}, "different lengths"),
        ({"embeddings": [["1", "2", "3", "4"]] * 2}, "vectors of numbers"),
        ({"embeddings": [[1, 2, 3, 4]]}, "2 ids and 1 embeddings"),
        ({"documents": ["x"]}, "2 ids and 1 documents"),
        ({"metadatas": []}, "2 ids and 0 metadatas"),
        ({"embeddings": [[1e39, 2, 3, 4]] * 2}, "row 0, id 'a': the vector has an infinite"),
    ],
)
def test_columns_that_do_not_fit_are_an_error_of_the_producer(columns: dict[str, Any], reason: str) -> None:
    house = House()
    good: dict[str, Any] = {"embeddings": vectors(2), "documents": None, "metadatas": None}
    with pytest.raises(BadDelta, match=reason):
        produce_embedding_delta(["a", "b"], **{**good, **columns}, collection="texts", stores=house.stores)
    assert house.keys() == []


def test_what_was_written_is_what_a_reader_gets(tmp_path: Any) -> None:
    house = House()
    rows = upserts(["a", "b"], documents=["x", None])
    house.write(rows)
    (delta,) = list_pending(house.deltas, "texts", house.stores.settings).deltas
    found = read_delta(house.deltas, delta, house.stores.settings.resolve("texts"), tmp_path)
    assert (found.ids, found.documents) == (rows.ids, rows.documents)
    assert delta.key == keys.delta("texts", delta.delta_id)
