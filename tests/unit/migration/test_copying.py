"""A namespace is copied whole, once, and goes on from wherever it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from siltstone.errors import IndexRefused, IndexUnavailable, LedgerChanged, SettingsMismatch
from siltstone.migration.source import IdPage
from siltstone.migration.source_memory import MemoryIndex
from siltstone.migration.walk import GivenIds, ids_of_file, ids_of_sources

from tests.unit.migration.moving import Moving, index_of, vector, vectors
from tests.unit.query.house import MEMORY

Make = Callable[..., Moving]


class Killed(BaseException):
    """What no handler catches, as no handler sees SIGKILL."""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Moving] = []

    def build(index: MemoryIndex, **settings: Any) -> Moving:
        made.append(Moving(tmp_path / str(len(made)), index, engine=MEMORY, **settings))
        return made[-1]

    yield build
    for each in made:
        each.close()


def test_every_vector_arrives_with_its_metadata_and_its_text(make: Make) -> None:
    moving = make(index_of(vectors(230)))
    (item,) = moving.copy()
    assert (item.status, item.pages, item.counts.written, item.counts.deltas) == ("COPIED", 5, 230, 5)
    report = moving.verify()
    assert report.equal, report.text()
    assert report.namespaces[0].same == report.namespaces[0].bitwise == 230
    found = moving.house.ask("get", ids=["r00007"], consistency="strong").results
    assert found is not None
    assert found.documents == ["text of r00007"]
    assert found.metadatas[0]["share"] == 0.1


def test_namespaces_go_into_the_collections_of_their_names_or_of_the_mapping(make: Make) -> None:
    index = MemoryIndex({"lines": vectors(30), "words": vectors(20, "w"), "__default__": vectors(10, "d")})
    moving = make(index)
    items = moving.copy(mapping={"": "texts"})
    assert {(item.namespace, item.collection, item.counts.written) for item in items} == {
        ("lines", "lines", 30),
        ("words", "words", 20),
        ("__default__", "texts", 10),
    }
    assert moving.verify(mapping={"": "texts"}).equal


def test_nothing_is_done_twice_when_it_is_run_again(make: Make) -> None:
    moving = make(index_of(vectors(120)))
    first = moving.copy()
    written = moving.keys("texts")
    moving.index.fault = lambda request: pytest.fail(request) if request != "shape" else None
    assert moving.copy() == first
    assert moving.keys("texts") == written


@pytest.mark.parametrize("stop", range(1, 7))
@pytest.mark.parametrize("place", ["before the page", "before the delta", "after the delta", "after the ledger"])
def test_killed_anywhere_it_goes_on_without_loss_or_doubles(
    make: Make, monkeypatch: pytest.MonkeyPatch, place: str, stop: int
) -> None:
    moving = make(index_of(vectors(110)))
    stores, calls = moving.house.stores, 0

    def kill(real: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == stop and not after:
                raise Killed
            result = real(*arguments, **options)
            if calls == stop:
                raise Killed
            return result

        return call

    owner, name, after = {
        "before the page": (moving.index, "list_ids", False),
        "before the delta": (stores.deltas, "put", False),
        "after the delta": (stores.deltas, "put", True),
        "after the ledger": (stores.ledger, "save_migration", True),
    }[place]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, kill(getattr(owner, name), after=after))
        while True:
            try:
                moving.copy(rows=20)
            except Killed:
                continue
            break
    assert calls >= stop
    (item,) = moving.copy(rows=20)
    assert (item.pages, item.counts.listed, item.counts.written) == (6, 110, 110)
    assert len(moving.keys("texts")) == 6
    assert moving.verify().equal


def test_a_page_that_changed_while_it_was_stopped_is_not_lost(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of([vector(f"r{number:05d}") for number in range(0, 100, 2)])
    moving = make(index)
    with monkeypatch.context() as patch:

        def die(*_: Any, **__: Any) -> None:
            raise Killed

        patch.setattr(moving.house.stores.ledger, "save_migration", die)
        with pytest.raises(Killed):
            moving.copy(rows=20)
    # The same page number has other rows by now: the last ones of before, pushed out, come on the next page.
    for number in range(1, 30, 2):
        index.put("texts", vector(f"r{number:05d}"))
    index.put("texts", vector("r00000", seed=5))
    moving.clock.advance(1)
    moving.copy(rows=20)
    report = moving.verify()
    assert report.equal, report.text()


def test_what_was_merged_and_retired_is_not_written_again(make: Make) -> None:
    moving = make(index_of(vectors(60)))
    moving.copy()
    moving.house.compact("texts")
    newer = moving.house.upsert("r00003", seed=9)
    moving.copy(restart=True)
    assert moving.keys("texts") == [newer.delta_key]


def test_two_at_the_same_time_stop_each_other_and_lose_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    moving = make(index_of(vectors(60)))
    real, other = moving.index.fetch, [True]

    def fetch(*arguments: Any) -> Any:
        if other.pop() if other else False:
            moving.copy(rows=20)
        return real(*arguments)

    monkeypatch.setattr(moving.index, "fetch", fetch)
    with pytest.raises(LedgerChanged):
        moving.copy(rows=20)
    assert moving.verify().equal
    assert len(moving.keys("texts")) == 3


def test_a_throttled_index_is_asked_again_and_again_but_not_for_ever(make: Make) -> None:
    asked = 0

    def busy(request: str) -> None:
        nonlocal asked
        asked += 1
        if asked % 3:
            raise IndexUnavailable("429", retry_after=2.0)

    moving = make(index_of(vectors(60), fault=busy))
    began = moving.clock.monotonic()
    moving.copy()
    assert moving.clock.monotonic() - began >= 2.0
    moving.index.fault = lambda request: (_ for _ in ()).throw(IndexUnavailable("503"))
    with pytest.raises(IndexUnavailable):
        moving.copy("other")
    moving.index.fault = lambda request: None
    assert moving.verify().equal


def test_a_migration_does_not_change_its_index_collection_or_ids_on_the_way(make: Make) -> None:
    moving = make(index_of(vectors(20)))
    moving.copy()
    with pytest.raises(SettingsMismatch, match="collection 'texts', not 'words'"):
        moving.copy(mapping={"texts": "words"})
    with pytest.raises(SettingsMismatch, match=r"list of ids.*--restart"):
        moving.copy(walk=GivenIds(["r00001"]))
    moving.index = index_of(vectors(20), name="another")
    with pytest.raises(SettingsMismatch, match="index 'memory', not 'another'"):
        moving.copy()


def test_an_index_that_can_not_list_is_copied_by_the_ids_of_a_file(make: Make, tmp_path: Path) -> None:
    moving = make(index_of(vectors(90), lists=False))
    with pytest.raises(IndexRefused, match="--ids-from"):
        moving.copy()
    file = tmp_path / "ids.txt"
    file.write_text("\n".join(["", "gone", *(f"r{number:05d}" for number in reversed(range(90))), "r00001", ""]))
    (item,) = moving.copy(walk=ids_of_file(file))
    assert (item.counts.listed, item.counts.written, item.counts.missing) == (91, 90, 1)
    assert moving.verify(walk=ids_of_file(file)).equal
    file.write_text("r00001\n")
    assert not moving.verify(walk=ids_of_file(file)).equal  # fewer ids than the index says it has vectors


def test_ids_come_from_the_loaded_sources(make: Make) -> None:
    from siltstone.sources.loading import load_sources
    from siltstone.sources.text import Text

    moving = make(index_of(vectors(30), lists=False))
    load_sources(
        [Text(collection="texts", id=f"r{number:05d}", text="a text") for number in range(25)],
        moving.house.stores,
        moving.clock,
    )
    (item,) = moving.copy(walk=ids_of_sources("texts", moving.house.stores))
    assert (item.counts.listed, item.counts.written) == (25, 25)


def test_a_listing_that_repeats_its_token_is_an_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    moving = make(index_of(vectors(200)))
    monkeypatch.setattr(moving.index, "list_ids", lambda *_: IdPage(["r00001"], "again"))
    with pytest.raises(IndexRefused, match="repeats its token"):
        moving.copy(rows=500)


def test_repeated_and_vanished_ids_are_counted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    moving = make(index_of(vectors(5)))
    monkeypatch.setattr(moving.index, "list_ids", lambda *_: IdPage(["r00001", "r00001", "gone"], None))
    (item,) = moving.copy()
    counts = item.counts
    assert (counts.listed, counts.written, counts.repeated, counts.missing) == (3, 1, 1, 1)
    assert counts.balanced


def test_a_sharded_collection_gets_each_row_in_its_shard(make: Make) -> None:
    moving = make(index_of(vectors(80)), shards=3)
    moving.copy()
    assert moving.verify().equal
    assert {key.split("/")[1] for shard in range(3) for key in moving.keys(f"texts.s{shard:02d}")} == {
        "texts.s00",
        "texts.s01",
        "texts.s02",
    }


def test_what_somebody_writes_in_the_same_second_is_newer_than_the_copy(make: Make) -> None:
    moving = make(index_of(vectors(10)))
    moving.house.upsert("r00004", seed=9)
    object.__setattr__(moving.clock, "_now", moving.clock.now() - 1)  # the second in which that was written
    moving.copy()
    found = moving.house.ask("get", ids=["r00004"], consistency="strong").results
    assert found is not None
    assert found.documents == ["text 9 of r00004"]
