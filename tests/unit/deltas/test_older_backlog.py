"""A backlog of thousands of deltas in the older layouts goes through the ordinary compaction."""

from __future__ import annotations

import gzip
import json
from contextlib import closing
from pathlib import Path

from siltstone.compaction.list_collections import list_collections
from siltstone.compaction.messages import ListCollectionsInput
from siltstone.deltas.codec import decode
from siltstone.deltas.vetting import Vetting
from siltstone.settings import CollectionBook, CollectionSettings

from tests.faults.older_deltas import Backlog
from tests.unit.scrub.house import COLLECTION

DELTAS = 2_000  # and 5 of a wrong dimension, 1 broken among them


def test_thousands_are_merged_in_order_over_listing_pages_and_several_runs(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, max_rows=1_500, page_size=97)
    for number in range(DELTAS):
        ids = [f"r{number % 700:04d}", f"r{(number * 7) % 1_100:04d}", f"only-{number:05d}"]
        dimension = 3 if number % 400 == 13 else 4
        backlog.json(list(dict.fromkeys(ids)), number, dimension=dimension, broken=b"no" if number == 555 else None)
    made = backlog.drain()
    assert len(made) == 4  # 5,982 rows, at most 1,500 a run
    assert backlog.content() == backlog.wanted
    assert backlog.pending() == []
    reasons = backlog.reasons()
    assert reasons.keys() == backlog.bad.keys()
    assert len(reasons) == 6
    for name, reason in backlog.bad.items():
        assert reason in reasons[name]
    first, *others = [backlog.house.manifest(version) for version in made]
    assert [manifest.parent for manifest in others] == made[:-1]
    merged = [applied.key for manifest in [first, *others] for applied in manifest.applied]
    assert len(merged) == len(set(merged)) == DELTAS - 6
    assert backlog.house.codes() == []


def test_the_first_delta_that_a_reading_process_sees_is_judged_as_any_other(tmp_path: Path) -> None:
    """What Arrow and numpy make once, with their first array, counted against it: it went to quarantine."""
    body = gzip.compress(json.dumps({"ids": ["a"], "embeddings": [[1.0, 2.0, 3.0, 4.0]]}).encode(), mtime=0)
    (tmp_path / "x.json.gz").write_bytes(body)
    with closing(Vetting()) as fresh:
        fresh.convert(tmp_path / "x.json.gz", tmp_path / "x.parquet", COLLECTION, CollectionSettings(dimension=4))
    assert decode(tmp_path / "x.parquet")[1].ids == ["a"]


def test_a_run_takes_the_oldest_by_the_stores_clock_and_not_by_name(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, max_rows=10, page_size=7)
    names = [backlog.json([f"r{number}"], number) for number in range(40)]
    assert names != sorted(names)
    made = backlog.drain()
    taken = [[applied.key.split("/")[1] for applied in backlog.house.manifest(version).applied] for version in made]
    assert taken == [names[start : start + 10] for start in range(0, 40, 10)]


def test_of_two_in_the_same_second_the_greater_key_is_the_later_one(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, max_rows=100, page_size=7)
    backlog.house.clock.advance = lambda seconds: None  # type: ignore[method-assign]
    names = [backlog.json(["r"], number) for number in range(9)]
    del backlog.house.clock.advance
    backlog.drain()
    last = names.index(max(names))
    assert backlog.content()["r"][1] == f"r of {last}"


def test_chroma_directories_and_json_are_one_order(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, max_rows=100, page_size=3)
    backlog.json(["a", "b", "c"], 1)
    backlog.chroma(["b", "c", "d"], 2)
    backlog.chroma(["x"], 3, dimension=3)
    # A directory counts as written when it was certain that it is whole, a quarter of an hour after its last object.
    backlog.house.clock.advance(16 * 60)
    backlog.json(["c"], 4)
    backlog.drain()
    assert backlog.content() == backlog.wanted
    ((name, reason),) = backlog.bad.items()
    assert reason in backlog.reasons()[name]
    assert len(backlog.reasons()) == 1
    assert backlog.pending() == []


def test_without_the_setting_they_are_left_alone_and_with_it_they_are_seen(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, max_rows=100, page_size=3)
    name = backlog.json(["a"], 1)
    stores, clock = backlog.house.stores, backlog.house.clock
    with_it = stores.settings
    object.__setattr__(stores, "settings", CollectionBook(collections=with_it.collections, settle_seconds=0))
    assert backlog.drain() == []
    assert backlog.pending() == [f"deltas/{name}/embeddings.json.gz"]
    object.__setattr__(stores, "settings", with_it)
    clock.advance(3_600)
    (due,) = list_collections(ListCollectionsInput(), stores, clock).due
    assert (due.collection, due.deltas) == (COLLECTION, 1)
    backlog.drain()
    assert backlog.content() == backlog.wanted
