"""Strong reads while a compaction runs between any two of their steps: nothing is missing, nothing comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from siltstone import keys
from siltstone.deltas.codec import decode, encode
from siltstone.errors import BacklogTooLarge, StoreUnavailable

from tests.unit.query.house import MEMORY, House, upserts

Place = Callable[[House, Callable[[], None]], None]

PLACES: dict[str, Place] = {
    "before the first listing": lambda house, act: house.deltas.before("list_page", act),
    "between the listing and the pointer": lambda house, act: house.deltas.after("list_page", act),
    "after the pointer was read": lambda house, act: house.snapshots.after("get_if_changed", act, "pointer"),
    "before the history is looked at": lambda house, act: house.deltas.before("list_versions", act),
    "between the history and the fetch": lambda house, act: house.deltas.after("list_versions", act),
    "between two fetches": lambda house, act: house.deltas.after("read", act),
    "before the last listing": lambda house, act: house.deltas.after(
        "read", lambda: house.deltas.before("list_page", act)
    ),
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, MEMORY)
    made.upsert("a", "b", "c", seed=1)
    made.compact()
    made.ids()  # the reader holds the first version
    yield made
    made.close()


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_compaction_in_between_hides_nothing(house: House, place: Place) -> None:
    house.upsert("a", "d", seed=2)
    house.delete("b")
    house.upsert("e", seed=3)
    place(house, house.compact)
    found = house.ask("get", consistency="strong").results
    assert house.deltas.all_ran and house.snapshots.all_ran
    assert found is not None
    assert found.ids == ["a", "c", "d", "e"]
    assert found.documents == ["text 2 of a", "text 1 of c", "text 2 of d", "text 3 of e"]


@pytest.mark.parametrize("place", [*list(PLACES.values())[:3], PLACES["before the last listing"]])
def test_neither_does_one_while_some_deltas_were_cached(house: House, place: Place) -> None:
    house.upsert("d", seed=2)
    assert house.ids() == ["a", "b", "c", "d"]
    house.upsert("e", seed=3)
    house.delete("d")
    place(house, house.compact)
    assert house.ids() == ["a", "b", "c", "e"]
    assert house.deltas.all_ran and house.snapshots.all_ran


def test_neither_does_one_while_all_deltas_were_cached(house: House) -> None:
    house.upsert("d", seed=2)
    assert house.ids() == ["a", "b", "c", "d"]
    house.snapshots.after("get_if_changed", lambda: house.compact() and None, "pointer")
    assert house.ids() == ["a", "b", "c", "d"]
    assert house.snapshots.all_ran


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_crash_between_promotion_and_retirement_changes_nothing(house: House, place: Place) -> None:
    house.upsert("d", seed=2)
    house.delete("a")
    place(house, lambda: house.compact(and_retire=False) and None)
    assert house.ids() == ["b", "c", "d"]
    answer = house.ask("count", consistency="strong")
    assert (answer.count, answer.pending_deltas) == (3, 0)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_what_was_retired_and_put_back_does_not_come_back(house: House, place: Place) -> None:
    """The late retry of a producer: create-only succeeds over the delete marker."""
    written = house.upsert("d", seed=2)
    body = house.deltas.get(written.delta_key).body

    def merge_it_undo_it_and_put_it_back() -> None:
        house.compact()
        house.delete("d")
        house.compact()
        house.deltas.put(written.delta_key, body, create_only=True)
        house.clock.advance(1)

    house.upsert("e", seed=3)
    place(house, merge_it_undo_it_and_put_it_back)
    assert house.ids() == ["a", "b", "c", "e"]
    assert house.ids() == ["a", "b", "c", "e"]
    assert house.deltas.all_ran and house.snapshots.all_ran


def test_it_does_not_come_back_to_a_reader_that_had_it_cached(house: House) -> None:
    written = house.upsert("d", seed=2)
    body = house.deltas.get(written.delta_key).body
    assert house.ids() == ["a", "b", "c", "d"]
    house.compact()
    house.delete("d")
    house.compact()
    house.deltas.put(written.delta_key, body, create_only=True)
    assert house.ids() == ["a", "b", "c"]
    answer = house.ask("count", consistency="strong")
    assert (answer.pending_deltas, answer.unusable_deltas) == (0, 1)


def test_a_delta_that_another_body_replaced_counts_with_the_new_one(house: House) -> None:
    """No producer of ours does it; what the next run would merge is what is seen."""
    written = house.upsert("d", seed=2)
    assert house.ids() == ["a", "b", "c", "d"]
    header, _ = decode(house.deltas.get(written.delta_key).body)
    house.deltas.before(
        "read", lambda: house.deltas.put(written.delta_key, encode(upserts(["x"]), header)) and None, written.delta_key
    )
    fresh = house.new_readers()
    found = house.ask("get", readers=fresh, consistency="strong").results
    assert found is not None and found.ids == ["a", "b", "c", "x"]
    assert house.ids() == ["a", "b", "c", "x"]
    fresh.snapshots.close()


def test_a_delta_that_can_not_be_used_is_counted_and_hides_nothing(house: House) -> None:
    house.deltas.put(keys.delta("texts", "0" * 26), b"no parquet")
    house.upsert("d", seed=2)
    answer = house.ask("get", consistency="strong")
    assert answer.results is not None and answer.results.ids == ["a", "b", "c", "d"]
    assert (answer.pending_deltas, answer.unusable_deltas) == (1, 1)


def test_it_may_be_quarantined_while_it_is_read(house: House) -> None:
    house.deltas.put(keys.delta("texts", "0" * 26), b"no parquet")
    house.upsert("d", seed=2)
    house.deltas.before("read", house.compact, "0" * 26)
    answer = house.ask("get", consistency="strong")
    assert answer.results is not None and answer.results.ids == ["a", "b", "c", "d"]
    assert (answer.pending_deltas, answer.unusable_deltas) == (0, 0)


def test_pending_deletes_alone_hide_rows(house: House) -> None:
    house.delete("b", "nobody")
    assert house.ids() == ["a", "c"]
    assert house.ask("count", consistency="strong").count == 2
    found = house.ask(consistency="strong", query_text="x", n_results=3).results
    assert found is not None and sorted(found.ids) == ["a", "c"]
    assert house.ids("snapshot") == ["a", "b", "c"]


def test_a_record_is_found_before_anything_was_ever_compacted(tmp_path: Path) -> None:
    house = House(tmp_path, MEMORY)
    house.upsert("a", seed=1)
    answer = house.ask(consistency="strong", query_text="x")
    assert answer.results is not None and answer.results.ids == ["a"]
    assert (answer.version, answer.version_age_seconds, answer.pending_deltas) == (None, None, 1)
    house.snapshots.after("list_versions", lambda: house.compact() and None)
    assert house.ids() == ["a"]
    house.close()


def test_a_compaction_that_outruns_every_try_is_reported_as_such(house: House) -> None:
    def outrun() -> None:
        house.compact()
        house.upsert("z", seed=house.deltas.calls["list_page"])
        house.deltas.before("list_versions", outrun)

    house.upsert("z")
    house.deltas.before("list_versions", outrun)
    with pytest.raises(StoreUnavailable, match="compacted faster"):
        house.ids()


def test_a_backlog_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    house = House(tmp_path, MEMORY, max_pending_bytes=30_000)
    house.upsert("a")
    assert house.ids() == ["a"]
    house.upsert(*[f"r{number}" for number in range(300)])
    with pytest.raises(BacklogTooLarge, match="consistency=snapshot"):
        house.ids()
    house.compact()
    assert len(house.ids()) == 301
    house.close()


def test_pending_rows_of_many_collections_are_not_all_kept(tmp_path: Path) -> None:
    house = House(tmp_path, MEMORY, collections=("texts", "others"), max_pending_bytes=15_000)
    for name in ("texts", "others"):
        house.upsert(*[f"r{number}" for number in range(60)], collection=name)
    sizes = [info.size for info in house.deltas.list(keys.DELTAS)]
    assert max(sizes) < 15_000 < sum(sizes)

    def fetches(name: str) -> int:
        house.deltas.forget()
        assert house.ask("count", collection_name=name, consistency="strong").count == 60
        return house.deltas.calls["read"]

    assert [fetches("texts"), fetches("texts"), fetches("others"), fetches("texts")] == [1, 0, 1, 1]
    house.close()
