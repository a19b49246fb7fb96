"""Deleting sources: every record in every collection, whatever is on its way; and what is told about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from siltstone.errors import UnknownSource
from siltstone.overview.sources import read_sources, sources_status
from siltstone.settings import CollectionBook
from siltstone.sources.loading import delete_sources

from tests.unit.embedding.house import receipt, text
from tests.unit.sources.stage import Stage, receipts_and_texts

A = "text.texts.a"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_it_says_how_many_records_go_from_which_collection(stage: Stage) -> None:
    source, other = receipt(1, ["one two", "three"]), receipt(2, ["four"])
    stage.load(source, other, text("a"))
    stage.run("p")
    report = delete_sources([source.source_id, A], stage.stores, stage.clock)
    assert (report.deleted, report.records, report.owed) == (2, {"lines": 2, "words": 3, "texts": 1}, {})
    assert len(report.delta_keys) == 3
    again = delete_sources([source.source_id, A], stage.stores, stage.clock)
    assert (again.deleted, again.records, again.delta_keys) == (0, {}, [])
    stage.clock.advance(1)
    for name in ("lines", "words", "texts"):
        stage.compact(name)
    assert [len(stage.rows(name)) for name in ("lines", "words", "texts")] == [1, 1, 0]


def test_what_an_open_batch_brings_of_it_later_is_outdated(stage: Stage) -> None:
    stage.load(text("a"), text("b"))
    sent = stage.sent()
    report = delete_sources([A], stage.stores, stage.clock)
    assert report.records == {"texts": 1}  # in flight: it may have been written a moment ago
    counts = stage.walk(sent.batch_id).counts
    assert (counts.submitted, counts.embedded, counts.outdated) == (2, 1, 1)
    stage.compact("texts")
    assert stage.rows("texts") == ["b"]


def test_it_goes_from_a_collection_that_takes_no_receipts_any_more(tmp_path: Path) -> None:
    formats = receipts_and_texts().collections
    stage = Stage(tmp_path, receipts_and_texts(drafts=formats["lines"]))
    source = receipt(1, ["one"])
    stage.load(source)
    stage.run("p")
    stage.stores.settings.collections["drafts"] = formats["texts"]  # renamed into one for texts
    report = delete_sources([source.source_id], stage.stores, stage.clock)
    assert report.records == {"lines": 1, "words": 1, "drafts": 1}


def test_rows_of_a_collection_without_a_setting_are_named_and_stay_owed(stage: Stage) -> None:
    source = receipt(1, ["one"])
    stage.load(source)
    stage.run("p")
    without = CollectionBook(
        collections={key: value for key, value in stage.stores.settings.collections.items() if key != "words"}
    )
    report = delete_sources([source.source_id], stage.with_stores(settings=without).stores, stage.clock)
    assert (report.records, report.owed) == ({"lines": 1}, {"words": 1})
    assert sources_status(stage.stores, stage.clock).owed == 1
    again = delete_sources([source.source_id], stage.stores, stage.clock)
    assert (again.records, again.owed) == ({"words": 1}, {})


def test_counts_by_collection_and_status(stage: Stage) -> None:
    stage.load(text("a"), text("b"), text("gone"))
    stage.run("p")
    delete_sources(["text.texts.gone"], stage.stores, stage.clock)
    stage.load(receipt(1, ["one two"]))
    stage.clock.advance(100)
    (lines, words) = stage.plan("q").batches
    stage.load(text("later"))
    found = sources_status(stage.stores, stage.clock)
    assert (found.sources, found.deleted, found.owed) == (4, 1, 0)
    texts = {each.collection: each for each in found.collections}
    assert (texts["texts"].success, texts["texts"].none, texts["texts"].records) == (2, 1, 2)
    assert (texts["lines"].pending, texts["words"].pending) == (1, 1)
    oldest = texts["lines"].oldest
    assert oldest is not None
    assert (oldest.status, oldest.batch_id, round(oldest.age_seconds)) == ("PENDING", lines.batch_id, 1)
    stage.record(words.batch_id, failed="no money left")
    assert found.failures == []
    assert sources_status(stage.stores, stage.clock).failures == []  # a later plan takes it again


def test_a_source_that_waits_for_a_person_says_why(stage: Stage) -> None:
    stage.load(text("a"))
    for turn in range(3):
        (planned,) = stage.plan(f"p{turn}").batches
        stage.record(planned.batch_id, failed="no money left")
    (failure,) = sources_status(stage.stores, stage.clock).failures
    assert (failure.source_id, failure.collection, failure.cause) == (A, "texts", "no money left")
    (info,) = read_sources([A], stage.stores)
    assert (info.kind, info.deleted_at) == ("text", None)
    (state,) = info.collections
    assert (state.status, state.failures, state.settled, state.cause) == ("FAILED", 3, 0, "no money left")


def test_an_unknown_source_is_named(stage: Stage) -> None:
    with pytest.raises(UnknownSource, match="nobody"):
        read_sources(["nobody"], stage.stores)
