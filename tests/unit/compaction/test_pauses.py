"""A pause holds for every start, is never forgotten, and stands in nobody's way who is under way or goes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from siltstone import keys
from siltstone.clock import iso
from siltstone.compaction.list_collections import list_collections
from siltstone.compaction.messages import ListCollectionsInput, ListCollectionsOutput
from siltstone.compaction.pauses import Pause, parse_until, pause, pause_of, read_pauses, resume
from siltstone.errors import InvalidInput, StoreUnavailable, UnknownCollection
from siltstone.settings import DueSettings

from tests.unit.deltas.house import House, upserts
from tests.unit.scrub.house import House as WholeHouse

EVERY_START: list[dict[str, Any]] = [
    {},  # the schedule, and a hint
    {"force": True},
    {"collections": ["texts"]},
    {"collections": ["texts"], "force": True},  # by hand, and an execution that goes on with a backlog
]


def ask(house: House, **request: Any) -> ListCollectionsOutput:
    return list_collections(ListCollectionsInput.model_validate(request), house.stores, house.clock)


@pytest.fixture
def house() -> House:
    house = House(due=DueSettings(min_deltas=1))
    house.put(upserts(["a"]), "d1", "texts")
    house.settle()
    return house


@pytest.mark.parametrize("name", ["texts", None])
@pytest.mark.parametrize("start", EVERY_START, ids=str)
def test_what_is_paused_is_due_for_no_start_and_its_backlog_is_told(
    house: House, name: str | None, start: dict[str, Any]
) -> None:
    before = ask(house, **start)
    assert [one.collection for one in before.due] == ["texts"]
    pause(name, house.stores, house.clock, reason="moving")
    found = ask(house, **start)
    assert (found.due, found.more, found.paused) == ([], False, ["texts"])
    assert (found.pending_deltas, found.pending_bytes) == (before.pending_deltas, before.pending_bytes)
    assert resume(name, house.stores)
    assert ask(house, **start).due == before.due


def test_the_others_are_compacted_as_ever(house: House) -> None:
    house.put(upserts(["a"]), "d1", "lines")
    house.settle()
    pause("texts", house.stores, house.clock)
    found = ask(house)
    assert ([one.collection for one in found.due], found.paused) == (["lines"], ["texts"])


def test_a_paused_collection_is_no_longer_than_until_its_time(house: House) -> None:
    until = parse_until("6h", house.clock.now())
    pause("texts", house.stores, house.clock, until=until)
    house.clock.advance(6 * 3_600 - 1)
    assert ask(house).paused == ["texts"]
    house.clock.advance(1)
    assert ask(house).paused == []
    assert [one.collection for one in ask(house).due] == ["texts"]
    assert read_pauses(house.stores.snapshots, house.clock) == []


def test_a_collection_is_paused_with_all_its_shards_or_one_shard_alone() -> None:
    house = House(shards=2, names=("texts",))
    made = pause("texts", house.stores, house.clock)
    assert [made.stops(name) for name in ("texts.s00", "texts.s01", "texts2.s00", "text")] == [True, True, False, False]
    assert ask(house, collections=["texts"], force=True).paused == ["texts.s00", "texts.s01"]
    resume("texts", house.stores)
    pause("texts.s01", house.stores, house.clock)
    found = ask(house, collections=["texts"], force=True)
    assert ([one.collection for one in found.due], found.paused) == (["texts.s00"], ["texts.s01"])


def test_pausing_again_changes_reason_and_end_and_not_since_when(house: House) -> None:
    first = pause("texts", house.stores, house.clock, reason="one")
    house.clock.advance(60)
    assert pause("texts", house.stores, house.clock, reason="one") == first
    again = pause("texts", house.stores, house.clock, reason="two", until=parse_until("1h", house.clock.now()))
    assert (again.since, again.reason) == (first.since, "two")
    assert read_pauses(house.stores.snapshots, house.clock) == [again]
    house.clock.advance(3_600)
    renewed = pause("texts", house.stores, house.clock)
    assert renewed.since == iso(house.clock.now()), "the one before had ended"


def test_resuming_ends_exactly_that_pause_and_twice_is_no_error(house: House) -> None:
    pause("texts", house.stores, house.clock)
    pause(None, house.stores, house.clock, reason="all")
    assert resume("texts", house.stores)
    assert not resume("texts", house.stores)
    assert ask(house).paused == ["texts"], "all are still paused"
    assert [one.collection for one in read_pauses(house.stores.snapshots, house.clock)] == [None]


@pytest.mark.parametrize("name", ["", "_all", "../texts"])
def test_what_is_no_name_resumes_nothing(house: House, name: str) -> None:
    pause(None, house.stores, house.clock)
    with pytest.raises(InvalidInput):
        resume(name, house.stores)
    assert [one.collection for one in read_pauses(house.stores.snapshots, house.clock)] == [None]


def test_an_empty_folder_that_a_console_made_pauses_nothing(house: House) -> None:
    house.stores.snapshots.put(keys.PAUSED, b"")
    assert read_pauses(house.stores.snapshots, house.clock) == []


def test_a_note_that_cant_be_read_holds(house: House) -> None:
    for body in (b"", b"{", b'{"collection": "lines", "since": 1}', b'{"collection": null, "since": "", "until": "x"}'):
        house.stores.snapshots.put(keys.pause("texts"), body)
        assert ask(house).paused == ["texts"]
        (found,) = read_pauses(house.stores.snapshots, house.clock)
        assert "can't be read" in str(found)
    assert pause("texts", house.stores, house.clock, reason="mended").reason == "mended"


def test_the_key_says_who_is_paused_whatever_the_note_says(house: House) -> None:
    note = Pause(collection="texts", since=iso(0.0))
    house.stores.snapshots.put(keys.pause("lines"), note.model_dump_json().encode())
    found = read_pauses(house.stores.snapshots, house.clock)
    assert pause_of("texts", found) is None
    assert pause_of("lines", found) is not None


def test_the_key_of_all_is_no_collections() -> None:
    name = keys.pause(None).removeprefix(keys.PAUSED).removesuffix(".json")
    with pytest.raises(InvalidInput):
        keys.check_collection(name)


def test_a_name_that_nobody_knows_is_not_paused(house: House) -> None:
    with pytest.raises(UnknownCollection):
        pause("nowhere", house.stores, house.clock)
    with pytest.raises(InvalidInput, match="reason"):
        pause("texts", house.stores, house.clock, reason="x" * 501)
    assert read_pauses(house.stores.snapshots, house.clock) == []


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("90min", "2026-01-31T13:30:00Z"),
        ("6h", "2026-01-31T18:00:00Z"),
        ("3 d", "2026-02-03T12:00:00Z"),
        ("2026-02-01T06:00", "2026-02-01T06:00:00Z"),
        ("2026-02-01T06:00+02:00", "2026-02-01T04:00:00Z"),
        ("2026-02-01", "2026-02-01T00:00:00Z"),
    ],
)
def test_an_end_is_a_time_or_a_length(text: str, written: str) -> None:
    assert parse_until(text, 1_769_860_800.0) == written


@pytest.mark.parametrize("text", ["", "tomorrow", "6", "-6h", "2026-01-31T11:59", "0h", "999999d0", "1e9h"])
def test_an_end_that_is_none_or_has_passed(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_until(text, 1_769_860_800.0)


def test_two_who_pause_at_once_leave_one_whole_note(house: House) -> None:
    put = house.stores.snapshots.put
    raced: list[str] = []

    def put_after_another(key: str, body: bytes, **conditions: Any) -> str:
        if not raced:
            raced.append(key)
            put(key, Pause(collection="texts", since=iso(5.0), reason="the other").model_dump_json().encode())
        return put(key, body, **conditions)

    house.stores.snapshots.put = put_after_another  # type: ignore[method-assign]
    made = pause("texts", house.stores, house.clock, reason="mine")
    assert (made.since, made.reason) == (iso(5.0), "mine")
    assert read_pauses(house.stores.snapshots, house.clock) == [made]


def test_a_note_that_never_stands_still_is_said_to(house: House) -> None:
    put = house.stores.snapshots.put
    times = iter(range(100))

    def put_after_another(key: str, body: bytes, **conditions: Any) -> str:
        put(key, Pause(collection="texts", since=iso(float(next(times)))).model_dump_json().encode())
        return put(key, body, **conditions)

    house.stores.snapshots.put = put_after_another  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        pause("texts", house.stores, house.clock, reason="mine")


def test_a_run_that_is_under_way_ends_as_it_would_and_a_rollback_is_allowed(tmp_path: Path) -> None:
    house = WholeHouse(tmp_path)
    house.write("a")
    first = house.compact()
    house.write("b")
    pause("lines", house.stores, house.clock)
    second = house.compact()  # from AcquireLock on: ListCollections came before the pause
    assert house.current == second
    assert house.manifest(house.rollback(first)).restored_from == first
