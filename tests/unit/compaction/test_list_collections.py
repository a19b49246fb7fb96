"""What is due, and why; what nobody knows is reported, and an idle hour costs one listing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from siltstone.compaction.list_collections import list_collections
from siltstone.compaction.messages import ListCollectionsInput, ListCollectionsOutput
from siltstone.settings import DueSettings

from tests.unit.deltas.house import House, upserts

HOUR = 3_600


def ask(house: House, **request: object) -> ListCollectionsOutput:
    return list_collections(ListCollectionsInput.model_validate(request), house.stores, house.clock)


def reasons(house: House, **request: object) -> dict[str, str]:
    return {one.collection: one.reason for one in ask(house, **request).due}


def test_a_collection_is_due_by_count_bytes_or_age() -> None:
    house = House(due=DueSettings(max_age_seconds=HOUR, min_deltas=2, min_bytes=10_000))
    house.put(upserts(["a"]), "d1", "texts")
    house.put(upserts(["a"]), "d2", "texts")
    house.put(upserts(["a"], documents=["x" * 9 + str(list(range(9_000)))]), "d1", "lines")
    house.put(upserts(["a"]), "d1", "merchant-1")
    assert reasons(house) == {}, "nothing has settled"
    house.settle()
    assert reasons(house) == {"texts": "count", "lines": "bytes"}
    house.clock.advance(HOUR)
    assert reasons(house) == {"texts": "age", "lines": "age", "merchant-1": "age"}


def test_the_backlog_is_told_whether_or_not_anything_is_due() -> None:
    house = House()
    assert ask(house).model_dump() == {
        "due": [],
        "more": False,
        "unknown": [],
        "paused": [],
        "pending_deltas": 0,
        "pending_bytes": 0,
        "oldest_age_seconds": 0.0,
    }
    key = house.put(upserts(["a"]), "d1")
    house.clock.advance(9)
    output = ask(house)
    assert (output.due, output.pending_deltas, output.oldest_age_seconds) == ([], 1, 10.0)
    assert output.pending_bytes == len(house.deltas.get(key).body)


def test_an_idle_hour_costs_one_request() -> None:
    house = House()
    requests: list[str] = []
    for name in ("list_page", "get", "head", "list_versions", "list_prefixes"):
        act = getattr(house.deltas, name)
        setattr(house.deltas, name, lambda *a, act=act, name=name, **k: (requests.append(name), act(*a, **k))[1])
    ask(house)
    assert requests == ["list_page"]


@pytest.mark.parametrize(("hours", "delayed"), [((22, 6), True), ((2, 4), True), ((6, 22), False), ((4, 4), False)])
def test_quiet_hours_delay_all_but_the_age(hours: tuple[int, int], delayed: bool) -> None:
    house = House(due=DueSettings(max_age_seconds=HOUR, min_deltas=1, quiet_hours_utc=hours))
    three = datetime(2026, 1, 31, 3, 0, tzinfo=UTC).timestamp()
    house.clock.advance(three - house.clock.now())
    house.put(upserts(["a"]), "d1")
    house.settle()
    assert reasons(house) == ({} if delayed else {"texts": "count"})
    assert reasons(house, force=True) == {"texts": "asked"}
    house.clock.advance(HOUR - 100)
    house.clock.advance(100)
    assert reasons(house) == {"texts": "age"}


def test_what_is_asked_for_is_due_and_nothing_else() -> None:
    house = House()
    house.put(upserts(["a"]), "d1", "texts")
    house.put(upserts(["a"]), "d1", "lines")
    house.settle()
    assert reasons(house) == {}
    assert reasons(house, collections=["texts"]) == {}, "named, but not forced"
    assert reasons(house, force=True) == {"texts": "asked", "lines": "asked"}
    assert reasons(house, force=True, collections=["lines", "merchant-9"]) == {"lines": "asked", "merchant-9": "asked"}
    assert reasons(house, force=True, skip=["lines"]) == {"texts": "asked"}


def test_an_unknown_name_is_reported_and_keeps_nobody_waiting() -> None:
    house = House(due=DueSettings(min_deltas=1))
    house.put(upserts(["a"]), "d1", "texts")
    house.put(upserts(["a"]), "d1", "nobody")
    house.put(upserts(["a"]), "d1", "-")
    house.deltas.put("deltas/stray.bin", b"x")
    house.settle()
    output = ask(house, collections=["texts", "nowhere"])
    assert [one.collection for one in output.due] == ["texts"]
    assert output.unknown == ["-", "deltas/stray.bin", "nobody", "nowhere"]


def test_the_oldest_come_first_at_most_a_hundred_and_the_rest_in_the_next_execution() -> None:
    house = House(due=DueSettings(min_deltas=1), page_size=7)
    for number in range(130):
        house.put(upserts(["a"]), "d1", f"merchant-{(number * 37) % 130:03d}")
    house.settle()
    first = ask(house)
    assert (len(first.due), first.more) == (100, True)
    assert [one.oldest_age_seconds for one in first.due] == sorted(
        (one.oldest_age_seconds for one in first.due), reverse=True
    )
    rest = ask(house, skip=[one.collection for one in first.due])
    assert (len(rest.due), rest.more) == (30, False)
    assert rest.due[0].oldest_age_seconds < first.due[-1].oldest_age_seconds


def test_a_shard_that_is_asked_for_by_its_own_name_is_that_shard_alone() -> None:
    house = House(shards=2, names=("texts",))
    assert reasons(house, collections=["texts.s01"], force=True) == {"texts.s01": "asked"}


def test_the_shards_of_a_collection_are_collections_of_their_own() -> None:
    house = House(shards=2, names=("texts",))
    house.write(upserts([f"id{place}" for place in range(20)]))
    house.settle()
    assert sorted(reasons(house, force=True)) == ["texts.s00", "texts.s01"]
    assert sorted(reasons(house, force=True, collections=["texts"])) == ["texts.s00", "texts.s01"]
    assert ask(house).unknown == []


def test_the_older_layouts_count_for_the_collection_that_the_setting_names() -> None:
    house = House(legacy="lines", due=DueSettings(min_deltas=2))
    house.deltas.put("deltas/7f/embeddings.json.gz", b"x")
    house.deltas.put("delta/9c/chroma.sqlite3", b"x")
    house.clock.advance(1_000)
    assert reasons(house) == {"lines": "count"}
