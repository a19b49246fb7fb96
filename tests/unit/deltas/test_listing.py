"""The order of deltas is S3's, and what a run takes is a prefix of it."""

from __future__ import annotations

import random

import pytest
from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.deltas.listing import list_all_pending, list_pending
from siltstone.deltas.retire import retire_delta, with_earlier_life
from siltstone.stores.objects import Page

from tests.unit.deltas.house import SETTLE, House, upserts


def names(house: House, collection: str = "texts") -> list[str]:
    return [delta.delta_id for delta in list_pending(house.deltas, collection, house.stores.settings).deltas]


def test_order_is_the_whole_second_then_the_key_over_all_pages() -> None:
    house = House(page_size=3)
    expected: list[str] = []
    source = random.Random(3)
    for _ in range(5):
        same_second = [f"{source.randrange(10**9):09d}" for _ in range(4)]
        for name in same_second:
            house.deltas.put(keys.delta("texts", name), b"x")
            house.clock.advance(0.2)
        house.clock.advance(0.2)
        expected += sorted(same_second)
    assert names(house) == expected


def test_only_a_collections_own_deltas_are_listed() -> None:
    house = House(names=("line", "lines"))
    house.put(upserts(["a"]), "d1", "lines")
    house.deltas.put("deltas/lines/d1/notes.txt", b"x")
    assert names(house, "line") == []
    assert names(house, "lines") == ["d1"]


def test_a_delta_is_settled_once_nothing_can_slip_in_front_of_it() -> None:
    house = House()
    house.put(upserts(["a"]), "d1")
    for waited, expected in ((SETTLE - 1, 0), (1, 1)):
        house.clock.advance(waited)
        listed = list_pending(house.deltas, "texts", house.stores.settings)
        assert len(listed.settled(SETTLE)) == expected


def test_what_is_written_while_pages_are_read_is_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The margin counts from the first reply: a slow listing sees late writes, and must not take them."""
    house = House(page_size=1)
    house.put(upserts(["a"]), "d1")
    house.put(upserts(["a"]), "d2")
    house.settle()
    page = house.deltas.list_page

    def slow(prefix: str, token: str | None = None) -> Page:
        found = page(prefix, token)
        if token is None:
            house.put(upserts(["b"]), "d3")
            house.clock.advance(10 * SETTLE)
        return found

    monkeypatch.setattr(house.deltas, "list_page", slow)
    listed = list_pending(house.deltas, "texts", house.stores.settings)
    assert [delta.delta_id for delta in listed.deltas] == ["d1", "d2", "d3"]
    assert [delta.delta_id for delta in listed.settled(SETTLE)] == ["d1", "d2"]


def test_every_collection_is_in_one_listing() -> None:
    house = House()
    requests: list[str] = []
    page = house.deltas.list_page
    house.deltas.list_page = lambda prefix, token=None: (requests.append(prefix), page(prefix, token))[1]  # type: ignore[method-assign]
    for name in ("texts", "lines", "merchant-1"):
        house.put(upserts(["a"]), "d1", name)
    house.deltas.put("deltas/stray.bin", b"x")
    house.deltas.put("deltas/texts/", b"")
    listed = list_all_pending(house.deltas, house.stores.settings)
    assert [delta.collection for delta in listed.deltas] == ["texts", "lines", "merchant-1"]
    assert listed.strange == ["deltas/stray.bin"]
    assert requests == ["deltas/"]


def test_the_older_layouts_belong_to_the_collection_that_the_setting_names() -> None:
    house = House(legacy="lines")
    house.put(upserts(["a"]), "d1", "texts")
    house.deltas.put("deltas/7f/embeddings.json.gz", b"x")
    house.deltas.put("delta/9c/chroma.sqlite3", b"x")
    house.deltas.put("delta/9c/5f/header.bin", b"x")
    house.put(upserts(["a"]), "d2", "lines")
    house.clock.advance(15 * 60 + 1)
    listed = list_pending(house.deltas, "lines", house.stores.settings)
    assert [(delta.delta_id, delta.layout, len(delta.objects)) for delta in listed.deltas] == [
        ("7f", "json", 1),
        ("d2", "parquet", 1),
        ("9c", "chroma", 2),
    ]
    assert names(house, "texts") == ["d1"]
    assert {delta.collection for delta in list_all_pending(house.deltas, house.stores.settings).deltas} == {
        "texts",
        "lines",
    }


def test_without_the_setting_the_older_layouts_are_strange() -> None:
    house = House()
    house.deltas.put("deltas/7f/embeddings.json.gz", b"x")
    assert list_all_pending(house.deltas, house.stores.settings).strange == ["deltas/7f/embeddings.json.gz"]


def test_a_directory_waits_until_its_youngest_object_is_older_than_a_quarter_of_an_hour() -> None:
    house = House(legacy="lines")
    house.deltas.put("delta/9c/5f/header.bin", b"x")
    house.clock.advance(800)
    house.deltas.put("delta/9c/chroma.sqlite3", b"x")
    house.clock.advance(15 * 60)
    assert names(house, "lines") == []
    house.clock.advance(1)
    listed = list_pending(house.deltas, "lines", house.stores.settings)
    assert [delta.delta_id for delta in listed.settled(SETTLE)] == ["9c"]


@pytest.mark.parametrize("settle", [0, SETTLE, 2_000])
def test_a_directory_never_slips_in_front_of_what_was_settled_before_it(settle: int) -> None:
    house = House(legacy="lines")
    book = house.stores.settings.model_copy(update={"settle_seconds": settle})
    house.deltas.put("delta/9c/chroma.sqlite3", b"x")
    taken: list[str] = []
    for step in range(40):
        house.put(upserts(["a"]), f"d{step:02d}", "lines")
        house.clock.advance(99)
        order = [delta.delta_id for delta in list_pending(house.deltas, "lines", book).settled(settle)]
        assert order[: len(taken)] == taken
        taken = order
    assert ("9c" in taken) is True


def test_a_key_with_a_delete_behind_it_had_an_earlier_life() -> None:
    house = House(legacy="texts")
    first = house.put(upserts(["a"]), "d1")
    house.put(upserts(["a"]), "d2")
    house.put(upserts(["a"], seed=1), "d2")  # written twice, never deleted: nothing says that it was merged
    house.deltas.put("deltas/7f/embeddings.json.gz", b"x")
    house.deltas.put("delta/9c/chroma.sqlite3", b"x")
    for key in (first, "delta/9c/chroma.sqlite3"):
        body = house.deltas.get(key).body
        house.deltas.delete(key)
        house.deltas.put(key, body, create_only=True)  # a late retry succeeds over the delete marker
    house.clock.advance(1_000)
    listed = list_pending(house.deltas, "texts", house.stores.settings).deltas
    assert len(listed) == 4
    assert [delta.delta_id for delta in with_earlier_life(house.deltas, listed)] == ["d1", "9c"]


def test_a_delta_is_retired_by_its_etag_alone_and_again_without_effect() -> None:
    house = House()
    key = house.put(upserts(["a"]), "d1")
    etag = house.deltas.get(key).info.etag
    house.put(upserts(["b"], seed=5), "d1")
    assert retire_delta(house.deltas, key, etag) is False
    assert house.keys() == [key]
    etag = house.deltas.get(key).info.etag
    assert retire_delta(house.deltas, key, etag) is True
    assert retire_delta(house.deltas, key, etag) is True
    assert house.keys() == []
    assert sum(entry.is_delete_marker for entry in house.deltas.list_versions("deltas/")) == 1


def chroma_folder(house: House) -> tuple[str, str]:
    for name in ("5f/data_level0.bin", "5f/header.bin", "chroma.sqlite3", "notes.txt"):
        house.deltas.put(f"delta/9c/{name}", name.encode())
    house.clock.advance(1_000)
    (delta,) = list_pending(house.deltas, "lines", house.stores.settings).deltas
    return delta.key, delta.etag


@pytest.mark.parametrize("stop_after", [0, 1, 2, 3, 4])
def test_a_directory_is_retired_as_a_whole_wherever_it_stopped(stop_after: int) -> None:
    house = House(legacy="lines")
    key, etag = chroma_folder(house)
    assert key == "delta/9c/chroma.sqlite3"
    delete, left = house.deltas.delete, [stop_after]

    def stops(name: str, *, if_match: str | None = None) -> None:
        if not left[0]:
            raise InterruptedError
        left[0] -= 1
        delete(name, if_match=if_match)

    house.deltas.delete = stops  # type: ignore[method-assign]
    if stop_after < 4:
        with pytest.raises(InterruptedError):
            retire_delta(house.deltas, key, etag)
    house.deltas.delete = delete  # type: ignore[method-assign]
    assert retire_delta(house.deltas, key, etag) is True
    assert house.keys() == []


def test_a_directory_that_changed_or_never_was_complete_is_not_retired() -> None:
    house = House(legacy="lines")
    key, etag = chroma_folder(house)
    house.deltas.put("delta/9c/5f/header.bin", b"new")
    assert retire_delta(house.deltas, key, etag) is False
    house.deltas.put("delta/aa/5f/header.bin", b"x")
    assert retire_delta(house.deltas, "delta/aa/chroma.sqlite3", etag) is False
    assert len(house.keys()) == 5


def test_ages_are_of_the_stores_clock() -> None:
    house = House()
    assert isinstance(house.clock, ManualClock)
    house.put(upserts(["a"]), "d1")
    listed = list_all_pending(house.deltas, house.stores.settings)
    assert listed.date == int(house.clock.now())
