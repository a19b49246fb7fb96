"""Nothing is lost in quarantine: it is moved whole, counted, and written again once the reason is mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from siltstone import keys
from siltstone.deltas.codec import DeltaHeader, decode
from siltstone.deltas.listing import list_pending
from siltstone.deltas.quarantine import Quarantined, list_quarantined, quarantine_delta, replay
from siltstone.errors import BadDelta, ObjectNotFound, StoreUnavailable
from siltstone.stores.ledger import BatchItem

from tests.unit.deltas.house import House, header, upserts


def quarantine(house: House, said: DeltaHeader | None = None) -> Quarantined:
    delta = list_pending(house.deltas, "texts", house.stores.settings).deltas[0]
    return quarantine_delta(delta, "why", header=said, run="run-0", stores=house.stores, clock=house.clock)


def with_batch(house: House, batch_id: str = "b-1") -> None:
    item = BatchItem(batch_id=batch_id, collection="texts", plan="p", model="m")
    house.ledger.create(item, now=house.clock.now())


def test_a_delta_is_moved_with_its_reason_and_the_ledger_counts_its_records() -> None:
    house = House()
    with_batch(house)
    rows = upserts(["a", "b"])
    key = house.put(rows, "d1", batch_id="b-1")
    body = house.deltas.get(key).body
    note = quarantine(house, header(rows, batch_id="b-1"))
    assert house.keys() == ["quarantine/texts/d1/embeddings.parquet", "quarantine/texts/d1/reason.json"]
    assert house.deltas.get("quarantine/texts/d1/embeddings.parquet").body == body
    assert (note.reason, note.key, note.records, note.batch_id, note.run) == ("why", key, 2, "b-1", "run-0")
    assert list(list_quarantined(house.deltas)) == list(list_quarantined(house.deltas, "texts")) == [note]
    assert list(list_quarantined(house.deltas, "lines")) == []
    assert house.ledger.read("b-1").quarantined == {key: 2}


def test_poison_is_moved_before_its_header_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    with_batch(house)
    key = house.put(upserts(["a"]), "d1", batch_id="b-1")

    def crash(_: object) -> DeltaHeader:
        assert house.keys("deltas/") == []
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("siltstone.deltas.quarantine.read_header", crash)
        with pytest.raises(SystemExit):
            quarantine(house)
    house.put(upserts(["a"]), "d2", batch_id="b-1")
    assert quarantine(house).batch_id == "b-1"
    assert house.ledger.read("b-1").quarantined == {key.replace("d1", "d2"): 1}


@pytest.mark.parametrize("operation", ["copy", "put", "delete"])
@pytest.mark.parametrize("happens", [True, False])
def test_a_stop_on_the_way_is_finished_by_the_next_run(
    operation: str, happens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House()
    rows = upserts(["a"])
    key = house.put(rows, "d1")
    body = house.deltas.get(key).body
    act = getattr(house.deltas, operation)

    def stops(*parameters: Any, **named: Any) -> None:
        if happens:
            act(*parameters, **named)
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(house.deltas, operation, stops)
        with pytest.raises(StoreUnavailable):
            quarantine(house, header(rows))
    if list_pending(house.deltas, "texts", house.stores.settings).deltas:
        quarantine(house, header(rows))
    assert house.deltas.get("quarantine/texts/d1/embeddings.parquet").body == body
    assert house.keys("deltas/") == []


def test_a_replay_is_a_new_write_under_a_new_key_validated_again(tmp_path: Path) -> None:
    house = House()
    with_batch(house)
    rows = upserts(["a"])
    key = house.put(rows, "d1", batch_id="b-1", model="text-embedding-3-large")
    quarantine(house, header(rows, batch_id="b-1"))
    with pytest.raises(BadDelta, match="its model"):
        replay("texts", "d1", stores=house.stores, clock=house.clock, workspace=tmp_path)
    assert len(house.keys("quarantine/")) == 2
    mended = house.put(rows, "d2", batch_id="b-1")
    house.deltas.put("quarantine/texts/d1/embeddings.parquet", house.deltas.get(mended).body)
    house.deltas.delete(mended)
    written = replay("texts", "d1", stores=house.stores, clock=house.clock, workspace=tmp_path)
    assert house.keys() == [written.delta_key]
    assert written.delta_key != key
    found, found_rows = decode(house.deltas.get(written.delta_key).body)
    assert (found.batch_id, found_rows.ids) == ("b-1", ["a"])
    assert house.ledger.read("b-1").quarantined == {key: 0}
    with pytest.raises(ObjectNotFound, match=r"There is no quarantine/texts/d1/reason\.json"):
        replay("texts", "d1", stores=house.stores, clock=house.clock, workspace=tmp_path)


def test_a_replay_that_stopped_half_way_writes_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    rows = upserts(["a"])
    house.put(rows, "d1")
    quarantine(house, header(rows))

    def stops(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(house.deltas, "delete", stops)
        with pytest.raises(StoreUnavailable):
            replay("texts", "d1", stores=house.stores, clock=house.clock, workspace=tmp_path)
    first = house.keys("deltas/")
    replay("texts", "d1", stores=house.stores, clock=house.clock, workspace=tmp_path)
    assert house.keys() == first
    assert len(list(house.deltas.list_versions(first[0]))) == 1


def test_a_delta_of_the_wrong_collection_is_replayed_into_the_right_one(tmp_path: Path) -> None:
    house = House()
    rows = upserts(["a"])
    house.put(rows, "d1")
    quarantine(house, header(rows))
    written = replay("texts", "d1", into="lines", stores=house.stores, clock=house.clock, workspace=tmp_path)
    assert house.keys() == [keys.delta("lines", written.delta_id)]
