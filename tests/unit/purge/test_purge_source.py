"""Forgetting a source: what goes, what is held and why, what others keep, and that `verify` sees no damage in it.

The judge of every test is `traces`: it looks into every object version of both buckets and every file of the provider
for a word that stands in the source alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.retention import pin, unpin
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.listing import list_pending
from siltstone.deltas.quarantine import quarantine_delta, replay
from siltstone.deltas.writer import write_delta
from siltstone.errors import ProviderUnavailable, SourceChanged, StoreUnavailable, UnknownSource
from siltstone.purge.purge_source import purge_source
from siltstone.purge.report import PurgeReport
from siltstone.settings import CollectionSettings
from siltstone.stores.objects import ObjectStore, ObjectVersion
from siltstone.stores.provider import EmbeddingProvider
from siltstone.stores.vectors_memory import open_memory

from tests.unit.embedding.faults import Crash
from tests.unit.embedding.house import DIMENSION, receipt, text
from tests.unit.embedding.test_convergence import Fuse
from tests.unit.sources.stage import Stage, receipts_and_texts

SECRET = "xylophone"
A = "text.texts.a"
DAY = 86_400


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A text to be forgotten beside one to be kept, both in the current version."""
    stage = Stage(tmp_path)
    stage.load(text("a", f"my {SECRET}"), text("b", "harmless"))
    stage.run("p")
    stage.compact("texts")
    return stage


def purge(stage: Stage, source_id: str = A, *, provider: EmbeddingProvider | None = None) -> PurgeReport:
    stage.clock.advance(1)
    return purge_source(
        source_id,
        stage.stores,
        stage.clock,
        provider=provider or stage.provider,
        workspace=stage.workspace / "purge",
        open_store=open_memory,
    )


def held(report: PurgeReport) -> dict[str, int]:
    kinds = [each.kind for each in report.held]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def readable(body: bytes) -> str:
    """A Parquet file's text is compressed: look at what it says."""
    if body[:4] == b"PAR1":
        return json.dumps(pq.read_table(io.BytesIO(body)).to_pylist(), default=str, ensure_ascii=False)
    return body.decode("utf-8", "replace")


def traces(stage: Stage, *words: str) -> list[str]:
    """Where any of the words stands: keys, or ids of the provider's files."""
    found: list[str] = []

    def look(store: ObjectStore) -> None:
        for entry in store.list_versions(""):
            if not entry.is_delete_marker:
                body = readable(store.get_version(entry.key, entry.version_id).body)
                found.extend([entry.key] * any(word in body or word in entry.key for word in words))

    look(stage.stores.deltas)
    look(stage.stores.snapshots)
    found.extend(name for name, body in stage.provider.files.items() if any(word in readable(body) for word in words))
    return found


def until_done(stage: Stage, *collections: str, source_id: str = A) -> PurgeReport:
    purge(stage, source_id)
    for _ in range(2):
        for name in collections:
            stage.compact(name)
        stage.clock.advance(DAY)
        report = purge(stage, source_id)
    stage.clock.advance(30 * DAY)
    report = purge(stage, source_id)
    return report


def test_everything_of_it_goes_and_the_others_stay(stage: Stage) -> None:
    assert len(traces(stage, SECRET)) >= 8
    first = purge(stage)
    assert held(first) == {"delta": 1, "provider": 1, "version": 1}
    assert [each.remedy for each in first.held if each.kind == "version"] == [
        "siltstone compact start texts, then run the purge again."
    ]
    assert first.removed["body"] == 1
    assert first.removed["provider"] == 2
    assert stage.provider.files == {}
    stage.compact("texts")
    second = purge(stage)
    assert {"provider", "version"} <= held(second).keys()  # readers may still be downloading the one before
    stage.clock.advance(DAY)
    third = purge(stage)
    assert third.removed["version"] >= 2
    assert traces(stage, SECRET) == []
    assert stage.rows("texts") == ["b"]
    assert held(third).keys() <= {"index", "provider"}
    assert [found.severity for found in stage.verify("texts", deep=True).findings if found.severity != "info"] == []


def test_running_it_again_removes_and_writes_nothing_more(stage: Stage) -> None:
    until_done(stage, "texts")
    before = [list(store.list_versions("")) for store in (stage.stores.deltas, stage.stores.snapshots)]
    report = purge(stage)
    assert (report.removed, report.records, report.bytes) == ({}, {}, 0)
    assert [list(store.list_versions("")) for store in (stage.stores.deltas, stage.stores.snapshots)] == before
    assert held(report).keys() <= {"index"}


def test_nothing_is_held_in_the_end(stage: Stage) -> None:
    report = until_done(stage, "texts")  # a fifth of the index was dead: the run that deleted rebuilt it
    assert report.done, report.held


def test_dead_slots_are_held_until_the_index_is_rebuilt(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.load(text("a", SECRET), *(text(f"t{number}", f"text {number}") for number in range(20)))
    stage.run("p")
    stage.compact("texts")
    report = until_done(stage, "texts")
    (index,) = report.held
    assert (index.kind, "1 dead slots" in index.why) == ("index", True)
    stage.load(*(text(f"t{number}", f"another text {number}") for number in range(10)))
    stage.run("q")
    stage.compact("texts")
    report = purge(stage)
    assert report.done, report.held
    stage.load(text("t11", "one more"))
    stage.run("r")
    stage.compact("texts")
    assert purge(stage).done  # these dead slots are others'


def test_a_receipt_goes_from_lines_and_words_and_its_neighbours_stay(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.load(receipt(1, [f"{SECRET} 1", "two three"]), receipt(2, ["four five"]))
    stage.run("p")
    for name in ("lines", "words"):
        stage.compact(name)
    report = until_done(stage, "lines", "words", source_id=receipt(1, ["x"]).source_id)
    assert traces(stage, SECRET, receipt(1, ["x"]).image_id) == []
    assert (len(stage.rows("lines")), len(stage.rows("words"))) == (1, 2)
    assert held(report).keys() <= {"index"}
    for name in ("lines", "words"):
        assert [each for each in stage.verify(name, deep=True).findings if each.severity != "info"] == []


def test_a_record_that_is_called_like_the_source_is_another(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    gone = receipt(1, [SECRET])
    stage.load(gone)
    stage.run("p")
    rows = DeltaRows.upserts([gone.source_id], np.ones((1, DIMENSION), np.float32), ["a producer's own"])
    write_delta(rows, collection="lines", stores=stage.stores, clock=stage.clock, input_format="plain-v1")
    stage.clock.advance(1)
    stage.compact("lines")
    stage.compact("words")
    until_done(stage, "lines", "words", source_id=gone.source_id)
    assert stage.rows("lines") == [gone.source_id]


def test_a_sharded_collection_is_looked_through_shard_by_shard(tmp_path: Path) -> None:
    sharded = CollectionSettings(dimension=DIMENSION, shards=2)
    stage = Stage(tmp_path, receipts_and_texts(notes=sharded))
    stage.load(*(text(f"t{number}", f"{SECRET}{number}." if number < 4 else "kept", "notes") for number in range(8)))
    stage.run("p")
    shards = ("notes.s00", "notes.s01")
    for name in shards:
        stage.compact(name)
    until_done(stage, *shards, source_id="text.notes.t1")
    assert traces(stage, f"{SECRET}1.") == []
    assert sorted(row for name in shards for row in stage.rows(name)) == [f"t{n}" for n in range(8) if n != 1]


def test_a_delta_that_waits_is_merged_first_so_that_others_lose_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.load(text("a", SECRET), text("b", "harmless"))
    stage.run("p")
    report = purge(stage)
    (delta,) = [each for each in report.held if each.kind == "delta"]
    assert delta.what == "deltas/texts/"
    assert "siltstone compact start texts" in delta.remedy
    assert sorted(stage.documents()) == ["b"]
    stage.compact("texts")
    report = purge(stage)
    assert report.removed["delta"] == 2
    assert stage.rows("texts") == ["b"]
    assert traces(stage, SECRET) == []


def test_an_open_batch_keeps_its_files_until_it_has_ended(stage: Stage) -> None:
    stage.load(text("a", f"my other {SECRET}"), text("c", "harmless too"))
    sent = stage.sent("q")
    report = purge(stage)
    (batch,) = [each for each in report.held if each.kind == "batch"]
    assert sent.batch_id in batch.what
    assert f"siltstone embed cancel {sent.batch_id}" in batch.remedy
    counts = stage.walk(sent.batch_id).counts
    assert (counts.embedded, counts.outdated) == (1, 1)
    until_done(stage, "texts")
    assert traces(stage, SECRET) == []
    assert stage.rows("texts") == ["b", "c"]


def test_a_pinned_version_is_named_and_goes_once_it_is_unpinned(stage: Stage) -> None:
    version = stage.rows("texts") and stage.stores.snapshots.get(keys.pointer("texts")).body.decode().split("/")[2]
    pin(stage.stores.snapshots, "texts", version)
    report = until_done(stage, "texts")
    (pinned,) = [each for each in report.held if each.kind == "version"]
    assert (version in pinned.what, "pinned" in pinned.why) == (True, True)
    unpin(stage.stores.snapshots, "texts", version)
    assert "version" not in held(purge(stage))
    assert traces(stage, SECRET) == []


def test_older_versions_without_it_are_kept_as_long_as_ever(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.load(text("b", "harmless"))
    stage.run("p")
    first = stage.compact("texts")
    stage.load(text("a", SECRET))
    stage.run("q")
    with_it = stage.compact("texts")
    purge(stage)
    stage.compact("texts")
    stage.clock.advance(DAY)
    purge(stage)
    stage.clock.advance(30 * DAY)
    stage.compact("texts")  # its retirement looks at what is too old
    kept = {found.key.split("/")[2] for found in stage.stores.snapshots.list(keys.versions("texts"))}
    assert first in kept and with_it not in kept
    assert [each.code for each in stage.verify("texts").findings if each.severity != "info"] == []


def test_a_version_within_the_grace_period_is_held_until_a_time(stage: Stage) -> None:
    purge(stage)
    stage.compact("texts")
    (version,) = [each for each in purge(stage).held if each.kind == "version"]
    assert version.until is not None
    assert "downloading" in version.why


def test_a_rollback_that_brought_it_back_is_answered_with_another_delete(stage: Stage) -> None:
    first = stage.stores.snapshots.get(keys.pointer("texts")).body.decode().split("/")[2]
    purge(stage)
    stage.compact("texts")
    stage.rollback("texts", first)
    assert stage.rows("texts") == ["a", "b"]
    report = purge(stage)
    assert report.records == {"texts": 1}
    assert purge(stage).records == {}  # it waits
    until_done(stage, "texts")
    assert stage.rows("texts") == ["b"]
    assert traces(stage, SECRET) == []


def test_a_quarantined_delta_loses_its_rows_and_keeps_the_others(stage: Stage) -> None:
    rows = DeltaRows.upserts(["a", "z"], np.ones((2, DIMENSION), np.float32), [SECRET, "kept"])
    write_delta(rows, collection="texts", stores=stage.stores, clock=stage.clock)
    stage.clock.advance(5)
    (delta,) = list_pending(stage.stores.deltas, "texts", stage.stores.settings).deltas
    quarantine_delta(delta, "a test", header=None, run="r", stores=stage.stores, clock=stage.clock)
    until_done(stage, "texts")
    assert traces(stage, SECRET) == []
    replay("texts", delta.delta_id, stores=stage.stores, clock=stage.clock, workspace=stage.workspace)
    stage.clock.advance(1)
    stage.compact("texts")
    assert stage.rows("texts") == ["b", "z"]


def test_a_quarantined_delta_of_its_rows_alone_goes_whole_and_is_no_lost_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.load(text("b", "harmless"))
    stage.run("p")
    stage.compact("texts")
    stage.load(text("a", SECRET))
    stage.run("q")
    stage.clock.advance(5)
    (delta,) = list_pending(stage.stores.deltas, "texts", stage.stores.settings).deltas
    quarantine_delta(delta, "a test", header=None, run="r", stores=stage.stores, clock=stage.clock)
    until_done(stage, "texts")
    assert traces(stage, SECRET) == []
    assert list(stage.stores.deltas.list_versions(keys.QUARANTINE)) == []
    assert [each.code for each in stage.verify("texts").findings if each.severity != "info"] == []


class Interrupted:
    """A store before whose ``nth`` call of one method something else happens."""

    def __init__(self, store: object, method: str, meanwhile: Callable[[], object], *, nth: int = 1) -> None:
        self._store, self._method, self._meanwhile, self._left = store, method, meanwhile, nth

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            self._left -= 1
            if self._left == 0:
                self._meanwhile()
        return getattr(self._store, name)


@pytest.mark.parametrize("moment", ["put", "delete"])
@pytest.mark.parametrize("unreadable", [False, True], ids=["its rows alone", "unreadable"])
def test_a_delta_that_a_run_moves_to_quarantine_at_this_moment_is_left_alone(
    stage: Stage, moment: str, unreadable: bool
) -> None:
    stage.load(text("a", f"more {SECRET}"))
    stage.run("q")
    stage.clock.advance(5)
    (delta,) = list_pending(stage.stores.deltas, "texts", stage.stores.settings).deltas
    if unreadable:
        stage.stores.deltas.put(delta.key, b"another producer's")
        (delta,) = list_pending(stage.stores.deltas, "texts", stage.stores.settings).deltas
    reports: list[PurgeReport] = []
    store = Interrupted(stage.stores.deltas, moment, lambda: reports.append(purge(stage)))
    moving = stage.with_stores(deltas=store).stores
    quarantine_delta(delta, "a test", header=None, run="r", stores=moving, clock=stage.clock)
    assert held(reports[0])["quarantine"] == 1
    codes = {each.code for each in stage.verify("texts").findings if each.severity == "error"}
    assert codes <= {"delta-rewritten"}  # by this test
    (there,) = [each for each in stage.stores.deltas.list(keys.QUARANTINE) if each.key.endswith(keys.DELTA_FILE)]
    if unreadable:
        assert stage.stores.deltas.get(there.key).body == b"another producer's"
    else:
        until_done(stage, "texts")
        assert traces(stage, SECRET) == []


@pytest.mark.parametrize(("moment", "nth"), [("get", 1), ("put", 2)])
def test_no_note_is_written_of_a_delta_that_was_purged_from_quarantine(stage: Stage, moment: str, nth: int) -> None:
    stage.load(text("a", f"more {SECRET}"))
    stage.run("q")
    stage.clock.advance(5)
    (delta,) = list_pending(stage.stores.deltas, "texts", stage.stores.settings).deltas
    store = Interrupted(stage.stores.deltas, moment, lambda: purge(stage), nth=nth)
    moving = stage.with_stores(deltas=store).stores
    quarantine_delta(delta, "a test", header=None, run="r", stores=moving, clock=stage.clock)
    assert list(stage.stores.deltas.list(keys.QUARANTINE)) == []
    assert [each.code for each in stage.verify("texts").findings if each.severity == "error"] == []


def test_two_purges_at_once_leave_no_empty_delta_in_quarantine(stage: Stage) -> None:
    rows = DeltaRows.upserts(["a", "b"], np.ones((2, DIMENSION), np.float32), [SECRET, "harmless"])
    write_delta(rows, collection="texts", stores=stage.stores, clock=stage.clock)
    stage.clock.advance(5)
    (delta,) = list_pending(stage.stores.deltas, "texts", stage.stores.settings).deltas
    quarantine_delta(delta, "a test", header=None, run="r", stores=stage.stores, clock=stage.clock)

    def other() -> None:
        stage.clock.advance(1)
        purge(stage, "text.texts.b")

    # The one has written the delta again, and not yet removed what was there before, when the other looks.
    broken = stage.with_stores(deltas=Rewritten(stage.stores.deltas, other))
    purge(broken)  # type: ignore[arg-type]
    until_done(stage, "texts")
    until_done(stage, "texts", source_id="text.texts.b")
    assert list(stage.stores.deltas.list(keys.QUARANTINE)) == []
    assert traces(stage, SECRET, "harmless") == []
    assert [each.code for each in stage.verify("texts").findings if each.severity == "error"] == []


class Rewritten:
    """A store in which something else happens right after a quarantined delta was written again."""

    def __init__(self, store: Any, meanwhile: Callable[[], object]) -> None:
        self._store, self._meanwhile = store, [meanwhile]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, body: bytes, **conditions: Any) -> str:
        etag = self._store.put(key, body, **conditions)
        if key.startswith(keys.QUARANTINE) and self._meanwhile:
            self._meanwhile.pop()()
        return etag


class CutShort:
    """A store whose deletions for good stop after some entries: S3 promises no order, and no all or nothing."""

    def __init__(self, store: Any, entries: int) -> None:
        self._store, self._left = store, entries

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def delete_versions(self, entries: Sequence[ObjectVersion]) -> None:
        some = entries[: self._left]
        self._left -= len(some)
        self._store.delete_versions(some)
        if len(some) < len(entries):
            raise StoreUnavailable("A part was deleted.")


@pytest.mark.parametrize("entries", range(6))
def test_versions_that_were_removed_never_come_back_where_a_purge_stops(stage: Stage, entries: int) -> None:
    purge(stage)
    stage.compact("texts")
    stage.clock.advance(DAY)
    broken = stage.with_stores(snapshots=CutShort(stage.stores.snapshots, entries))
    with pytest.raises(StoreUnavailable):
        purge(broken)  # type: ignore[arg-type]
    assert [each.code for each in stage.verify("texts").findings if each.severity != "info"] == []
    current = read_pointer(stage.stores.snapshots, "texts").version
    assert {found.key.split("/")[2] for found in stage.stores.snapshots.list(keys.versions("texts"))} == {
        "latest",
        current,
    }
    until_done(stage, "texts")
    assert traces(stage, SECRET) == []


def test_a_delta_that_somebody_deleted_unmerged_is_left_for_verify(stage: Stage) -> None:
    rows = DeltaRows.upserts(["a", "z"], np.ones((2, DIMENSION), np.float32), [SECRET, "kept"])
    key = write_delta(rows, collection="texts", stores=stage.stores, clock=stage.clock).delta_key
    stage.clock.advance(1)
    stage.stores.deltas.delete(key)
    report = purge(stage)
    (lost,) = [each for each in report.held if each.what == key]
    assert "siltstone verify" in lost.remedy
    assert [each.key for each in stage.verify("texts").findings if each.code == "delta-lost"] == [key]


def test_without_a_provider_its_files_are_held_and_go_later(stage: Stage) -> None:
    stage.clock.advance(1)
    report = purge_source(
        A,
        stage.stores,
        stage.clock,
        provider=None,
        workspace=stage.workspace,
        open_store=open_memory,
    )
    assert [each.why for each in report.held if each.kind == "provider"] == ["No provider was given."]
    assert list(stage.stores.deltas.list_versions(keys.BATCHES)) == []
    assert len(stage.provider.files) == 2
    stage.provider.fail_next("list_batches", ProviderUnavailable("no answer"))
    report = purge(stage)
    assert any("no answer" in each.why for each in report.held)
    assert len(stage.provider.files) == 2
    report = purge(stage)
    assert report.removed["provider"] == 2
    assert stage.provider.files == {}
    (files,) = [each for each in report.held if each.kind == "provider"]
    assert (files.until is not None, "30 days" in files.why) == (True, True)


def test_a_batch_whose_record_file_is_gone_is_named_and_its_delta_looked_into(stage: Stage) -> None:
    history = list(stage.stores.deltas.list_versions(keys.BATCHES))
    stage.stores.deltas.delete_versions([entry for entry in history if not entry.key.endswith("requests.jsonl")])
    stage.clock.advance(DAY)
    report = purge(stage)
    (batch,) = [each for each in report.held if each.kind == "batch"]
    assert "by hand" in batch.remedy
    assert report.removed["delta"] == 1
    left = list(stage.stores.deltas.list_versions(keys.BATCHES))
    stage.stores.deltas.delete(left[0].key)  # as a lifecycle does: a marker, and later nothing
    stage.stores.deltas.delete_versions(left)
    assert "batch" not in held(purge(stage))


def test_other_sources_batches_are_left_alone(stage: Stage) -> None:
    stage.load(text("c", "harmless as well"))
    (other,) = stage.run("q")
    purge(stage)
    kept = {entry.key.split("/")[1] for entry in stage.stores.deltas.list_versions(keys.BATCHES)}
    assert kept == {other.batch_id}
    assert len(stage.provider.files) == 2


def test_two_sources_of_one_batch_are_forgotten_one_after_the_other(stage: Stage) -> None:
    stage.load(text("c", "violoncello"))
    stage.run("q")
    until_done(stage, "texts")
    until_done(stage, "texts", source_id="text.texts.b")
    assert traces(stage, SECRET, "harmless") == []
    assert stage.rows("texts") == ["c"]


def test_the_tombstone_tells_nothing_of_the_content_and_the_source_can_come_again(stage: Stage) -> None:
    until_done(stage, "texts")
    item = stage.stores.sources.read(A)
    assert item is not None
    assert (item.deleted_at is not None, item.revision) == (True, "")
    assert all(not state.held and state.cause is None for state in item.collections.values())
    stage.load(text("a", "a new life"))
    stage.run("again")
    stage.compact("texts")
    assert stage.rows("texts") == ["a", "b"]


def test_the_record_names_nobody(stage: Stage) -> None:
    until_done(stage, "texts")
    (record,) = stage.stores.deltas.list(keys.PURGED)
    assert A not in record.key
    assert A.encode() not in stage.stores.deltas.get(record.key).body


def test_staging_of_other_runs_goes_and_that_of_a_run_on_its_way_stays(stage: Stage) -> None:
    purge(stage)
    stage.compact("texts")
    lease = stage.stores.leases.acquire("compaction#texts", "running-0", now=stage.clock.now(), seconds=600, floor=0)
    stage.stores.snapshots.put(f"{keys.STAGING}texts/running-0/download/1/part", b"x")
    report = purge(stage)
    assert report.removed["staging"] > 0
    assert [each.what for each in report.held if each.kind == "staging"] == [f"{keys.STAGING}texts/running-0/"]
    assert {entry.key.split("/")[2] for entry in stage.stores.snapshots.list_versions(keys.STAGING)} == {"running-0"}
    assert lease.owner == "running-0"


def test_an_unknown_source_is_named_and_nothing_is_written(stage: Stage) -> None:
    with pytest.raises(UnknownSource, match="nobody"):
        purge(stage, "nobody")
    assert list(stage.stores.deltas.list(keys.PURGED)) == []


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("length", range(1, 25, 4))
def test_it_may_stop_at_any_write_and_is_run_again(tmp_path: Path, length: int, after: bool) -> None:
    stage = Stage(tmp_path)
    stage.load(text("a", f"my {SECRET}"), text("b", "harmless"))
    stage.run("p")
    stage.compact("texts")
    for turn in range(2):
        fuse = Fuse(length, after=after)
        broken = stage.with_stores(
            deltas=fuse.around(stage.stores.deltas),
            snapshots=fuse.around(stage.stores.snapshots),
            sources=fuse.around(stage.stores.sources),
        )
        with suppress(Crash):
            purge(broken, provider=fuse.around(stage.provider))  # type: ignore[arg-type]
        if turn == 0:
            stage.compact("texts")
            stage.clock.advance(DAY)
    until_done(stage, "texts")
    assert traces(stage, SECRET) == []
    assert stage.rows("texts") == ["b"]
    assert [each.code for each in stage.verify("texts").findings if each.severity != "info"] == []


def test_a_source_that_is_loaded_again_meanwhile_stops_it(stage: Stage) -> None:
    class Reloaded:
        def __getattr__(self, name: str) -> object:
            found = getattr(stage.stores.sources, name)
            if name != "read":
                return found

            def read(source_id: str) -> object:
                stage.load(text("a", "again"))
                return found(source_id)

            return read

    broken = stage.with_stores(sources=Reloaded())
    with pytest.raises(SourceChanged, match="loaded again"):
        purge(broken)  # type: ignore[arg-type]
    assert isinstance(stage.clock, ManualClock)
