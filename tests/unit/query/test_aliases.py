"""An alias is moved by one conditional write, and readers follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from siltstone import keys
from siltstone.errors import InvalidInput, ManifestDamaged, PointerMoved, StoreUnavailable, UnknownCollection
from siltstone.query.aliases import Alias, move_alias, read_alias
from siltstone.settings import CollectionBook

from tests.unit.query.house import MEMORY, House

NAME = "newest-texts"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, MEMORY, collections=("texts", "texts-v2", "empty"))
    for name in ("texts", "texts-v2"):
        made.upsert(f"of-{name}", collection=name)
        made.compact(name)
    yield made
    made.close()


def move(house: House, to: str, held: Alias | None) -> Alias:
    return move_alias(house.snapshots, house.book, NAME, to, held=held)


@pytest.mark.parametrize("consistency", ["snapshot", "strong"])
def test_readers_follow_it(house: House, consistency: str) -> None:
    with pytest.raises(UnknownCollection):
        house.ask("count", collection_name=NAME, consistency=consistency)
    first = move(house, "texts", None)
    house.readers_may_refresh()
    answer = house.ask("get", collection_name=NAME, consistency=consistency)
    assert answer.results is not None and answer.results.ids == ["of-texts"]
    assert answer.collection_name == "texts"
    move(house, "texts-v2", first)
    if consistency == "snapshot":
        assert house.ask("count", collection_name=NAME).collection_name == "texts"  # asked a moment ago
        house.readers_may_refresh()
    assert house.ids(consistency, collection_name=NAME) == ["of-texts-v2"]


def test_it_is_asked_for_once_in_an_interval_and_a_configured_name_never(house: House) -> None:
    move(house, "texts", None)
    house.ask("count", collection_name=NAME)
    house.snapshots.forget()
    for _ in range(10):
        house.ask("count", collection_name=NAME)
        house.ask("count", collection_name="texts-v2")
        house.clock.advance(0.1)
    assert [key for _, key in house.snapshots.keys if key.startswith(keys.ALIASES)] == []
    house.clock.advance(2)
    house.ask("count", collection_name=NAME)
    house.ask("count", collection_name="texts-v2")
    assert [key for _, key in house.snapshots.keys if key.startswith(keys.ALIASES)] == [keys.alias(NAME)]


def test_of_two_who_move_it_one_gets_through(house: House) -> None:
    held = move(house, "texts", None)
    move(house, "texts-v2", held)
    with pytest.raises(PointerMoved, match="texts-v2"):
        move(house, "texts", Alias("texts", "an older etag"))
    with pytest.raises(PointerMoved):
        move(house, "texts", None)
    assert move(house, "texts-v2", held).collection == "texts-v2"  # ours, whose reply was lost


def test_a_collection_is_no_alias_and_an_alias_names_one_that_can_be_read(house: House) -> None:
    with pytest.raises(UnknownCollection, match="no version"):
        move(house, "empty", None)
    with pytest.raises(UnknownCollection):
        move(house, "nobody", None)
    with pytest.raises(InvalidInput, match="is a collection"):
        move_alias(house.snapshots, house.book, "empty", "texts", held=None)
    by_pattern = CollectionBook(collections={"texts*": house.settings})
    with pytest.raises(InvalidInput, match="is a collection"):
        move_alias(house.snapshots, by_pattern, "texts-v2", "texts", held=None)
    assert read_alias(house.snapshots, NAME) is None


def test_a_body_that_names_nothing_is_damage(house: House) -> None:
    house.snapshots.put(keys.alias(NAME), b"../../etc")
    with pytest.raises(ManifestDamaged, match="Move the alias again"):
        house.ask("count", collection_name=NAME)


def test_a_store_that_does_not_answer_leaves_it_where_it_was(house: House) -> None:
    move(house, "texts", None)
    house.ask("count", collection_name=NAME)
    house.readers_may_refresh()

    def fail() -> None:
        raise StoreUnavailable("S3 answered 503.")

    house.snapshots.before("read", fail, keys.ALIASES)
    assert house.ask("count", collection_name=NAME).collection_name == "texts"
    house.snapshots.before("read", fail, keys.ALIASES)
    with pytest.raises(StoreUnavailable):
        house.ask("count", collection_name=NAME, consistency="strong")


def test_names_that_callers_make_up_are_not_all_remembered(house: House) -> None:
    for number in range(1_100):
        assert house.readers.aliases.collection_of(f"made-up-{number}") == f"made-up-{number}"
    assert len(house.readers.aliases._known) <= 1_000
