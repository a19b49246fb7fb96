from __future__ import annotations

from pathlib import Path

import pytest
from siltstone import keys
from siltstone.errors import BadSource, UnknownSource
from siltstone.sources.loading import delete_sources, load_sources
from siltstone.sources.receipt import Receipt
from siltstone.sources.source import Source, source_from_body

from tests.unit.embedding.faults import Crash, Hooked, crashing, key_ends
from tests.unit.embedding.house import House, receipt, text, without_last_line

A = "text.texts.a"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def load(house: House, *sources: Source) -> tuple[int, int, int, int]:
    house.clock.advance(1)
    report = load_sources(sources, house.stores, house.clock)
    return report.new, report.changed, report.unchanged, len(report.delta_keys)


def line(source: Receipt, number: int) -> str:
    return f"IMAGE#{source.image_id}#RECEIPT#00001#LINE#{number:05d}"


class TestLoad:
    def test_a_source_has_a_body_and_an_open_item(self, house: House) -> None:
        source = receipt(1, ["x", "y"])
        assert load(house, source) == (1, 0, 0, 0)
        body = house.stores.deltas.get(keys.source("receipt", source.source_id)).body
        assert source_from_body("receipt", body) == source
        item = house.stores.sources.read(source.source_id)
        assert item is not None
        assert item.revision == source.revision
        assert {name: state.status for name, state in item.collections.items()} == {"lines": "NONE"}

    @pytest.mark.parametrize("steps", ["", "plan", "plan record"])
    def test_the_same_content_again_does_nothing_in_any_status(self, house: House, steps: str) -> None:
        load(house, text("a"))
        if "record" in steps:
            house.run()
        elif "plan" in steps:
            house.plan()
        before = house.stores.sources.read(A)
        assert load(house, text("a")) == (0, 0, 1, 0)
        assert house.stores.sources.read(A) == before

    def test_of_two_contents_in_one_load_the_later_counts(self, house: House) -> None:
        assert load(house, text("a", "one"), text("a", "two")) == (1, 0, 0, 0)
        house.run()
        assert house.documents() == {"a": "two"}

    def test_only_the_records_that_changed_are_embedded_again(self, house: House) -> None:
        lines = [f"item {n}" for n in range(9)]
        load(house, receipt(1, lines))
        house.run("p")
        lines[4] = "changed"
        assert load(house, receipt(1, lines)) == (0, 1, 0, 0)
        (planned,) = house.plan("q").batches
        assert planned.records == 3  # the line, and the two that have it as their context
        house.walk(planned.batch_id)
        assert list(house.documents("lines").values()).count("changed") == 1

    def test_metadata_that_changed_reaches_the_store(self, house: House) -> None:
        load(house, receipt(1, ["x"], merchant="Kiosk"))
        house.run("p")
        load(house, receipt(1, ["x"], merchant="Bakery"))
        house.run("q")
        (row,) = house.store("lines").values()
        assert row["metadata"]["merchant_name"] == "Bakery"

    def test_records_that_vanished_are_deleted_at_once(self, house: House) -> None:
        source = receipt(1, ["one", "two", "three"])
        load(house, source)
        house.run("p")
        assert load(house, without_last_line(source)) == (0, 1, 0, 1)
        assert sorted(house.documents("lines")) == [line(source, 0), line(source, 1)]
        assert house.hints.told[-1]["embedding_count"] == 1

    def test_a_change_while_the_batch_is_open_takes_the_new_content(self, house: House) -> None:
        source = receipt(1, ["one", "two", "three"])
        load(house, source)
        sent = house.sent()
        load(house, without_last_line(source))
        assert house.create(sent.batch_id).outdated == 3
        house.record(sent.batch_id)
        house.run("q")
        assert sorted(house.documents("lines").values()) == ["one", "two"]
        assert house.state(source.source_id, "lines").status == "SUCCESS"

    def test_nothing_of_a_new_source_is_deleted(self, house: House) -> None:
        load(house, receipt(1, ["one"]))
        load(house, receipt(1, ["two", "three"]))
        assert list(house.stores.deltas.list("deltas/")) == []

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("place", ["body", "item", "delta", "settled"])
    def test_a_load_that_crashed_is_repeated(self, house: House, place: str, after: bool) -> None:
        source = receipt(1, ["one", "two"])
        load(house, source)
        house.run("p")
        saves = iter([place == "item", place == "settled"])
        broken = house.with_stores(
            deltas=crashing(
                house.stores.deltas,
                "put",
                after=after,
                when=lambda key, *_, **__: {"body": ".json", "delta": ".parquet"}.get(place, "never") in key,
            ),
            sources=crashing(
                house.stores.sources, "save_many", after=after, when=lambda items, **_: bool(items) and next(saves)
            ),
        )
        with pytest.raises(Crash):
            load_sources([without_last_line(source)], broken.stores, house.clock)
        load(house, without_last_line(source))
        house.run("q")
        assert list(house.documents("lines").values()) == ["one"]
        assert house.state(source.source_id, "lines").status == "SUCCESS"

    def test_two_loads_at_once_end_as_one_of_them(self, house: House) -> None:
        load(house, text("a", "old"))
        rival = Hooked(house.stores.sources, "save_many", lambda: load(house, text("a", "theirs")) and None)
        load_sources([text("a", "mine")], house.with_stores(sources=rival).stores, house.clock)
        item = house.stores.sources.read(A)
        body = house.stores.deltas.get(keys.source("text", A)).body
        assert item is not None
        assert item.revision == source_from_body("text", body).revision == text("a", "mine").revision

    def test_a_source_for_a_collection_that_does_not_take_it_writes_nothing(self, house: House) -> None:
        with pytest.raises(BadSource):
            load(house, text("ok"), text("x", collection="lines"))
        assert list(house.stores.sources.list()) == []


class TestDelete:
    def test_all_records_of_a_deleted_source_go_at_once(self, house: House) -> None:
        load(house, text("a"), text("b"))
        house.run()
        report = delete_sources([A], house.stores, house.clock)
        assert (report.deleted, len(report.delta_keys)) == (1, 1)
        assert list(house.documents()) == ["b"]
        item = house.stores.sources.read(A)
        assert item is not None
        assert item.deleted_at is not None
        assert house.stores.deltas.head(keys.source("text", A)) is None
        assert list(house.stores.sources.list_open()) == []

    def test_twice_is_as_good_as_once(self, house: House) -> None:
        load(house, text("a"))
        house.run()
        delete_sources([A], house.stores, house.clock)
        again = delete_sources([A], house.stores, house.clock)
        assert (again.deleted, again.delta_keys) == (0, [])

    def test_an_unknown_source_is_named_and_nothing_is_deleted(self, house: House) -> None:
        load(house, text("a"))
        with pytest.raises(UnknownSource, match="nobody"):
            delete_sources([A, "nobody"], house.stores, house.clock)
        item = house.stores.sources.read(A)
        assert item is not None
        assert item.deleted_at is None

    @pytest.mark.parametrize("steps", ["planned", "submitted", "created"])
    def test_a_source_is_deleted_while_its_batch_is_open(self, house: House, steps: str) -> None:
        load(house, text("a"), text("b"))
        (planned,) = house.plan().batches
        if steps != "planned":
            house.submit(planned.batch_id)
            house.provider.advance(3)
        if steps == "created":
            house.create(planned.batch_id)
        house.clock.advance(1)
        delete_sources([A], house.stores, house.clock)
        house.walk(planned.batch_id)
        assert list(house.documents()) == ["b"]
        assert list(house.stores.sources.list_open()) == []
        assert house.plan("q").batches == []

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    def test_a_deletion_that_crashed_is_finished_by_the_next_plan(self, house: House, after: bool) -> None:
        load(house, text("a"))
        house.run()
        broken = house.with_stores(
            deltas=crashing(house.stores.deltas, "put", after=after, when=key_ends("embeddings.parquet"))
        )
        with pytest.raises(Crash):
            delete_sources([A], broken.stores, house.clock)
        house.plan("q")
        assert house.documents() == {}
        assert list(house.stores.sources.list_open()) == []

    def test_a_deleted_source_that_is_loaded_again_lives(self, house: House) -> None:
        load(house, text("a"))
        house.run("p")
        delete_sources([A], house.stores, house.clock)
        assert load(house, text("a")) == (0, 1, 0, 0)
        house.run("q")
        assert list(house.documents()) == ["a"]
        assert house.state(A).status == "SUCCESS"

    def test_a_source_that_is_loaded_while_its_deletes_are_written_lives(self, house: House) -> None:
        load(house, text("a", "old"))
        house.run("p")
        hook = Hooked(
            house.stores.deltas,
            "put",
            lambda: load(house, text("a", "new")) and None,
            when=key_ends("embeddings.parquet"),
        )
        delete_sources([A], house.with_stores(deltas=hook).stores, house.clock)
        house.run("q")
        assert house.documents() == {"a": "new"}
        assert house.state(A).status == "SUCCESS"
