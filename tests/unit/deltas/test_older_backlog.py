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

from tests.faults.older_deltas import Backlog, merge_many
from tests.unit.scrub.house import COLLECTION


def test_more_than_a_thousand_are_merged_in_order_over_listing_pages_and_several_runs(tmp_path: Path) -> None:
    merge_many(Backlog(tmp_path, max_rows=1_500, page_size=97), 1_200)  # tests/faults takes more


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
    # A directory counts as written when it was certain that it is whole, a quarter of an hour after its last object.
    backlog.house.clock.advance(16 * 60)
    backlog.json(["c"], 4)
    backlog.drain()
    assert backlog.content() == backlog.wanted
    assert backlog.reasons() == {}
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
