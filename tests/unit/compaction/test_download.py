"""A run's parts are the last operation of each id over exactly its deltas, in S3's order; nothing is lost."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from siltstone import keys
from siltstone.compaction import download as module
from siltstone.compaction import lock
from siltstone.compaction.documents import AppliedDelta, Manifest, Plan, RowCounts
from siltstone.compaction.download import download
from siltstone.compaction.messages import DownloadOutput, Run, RunInput
from siltstone.compaction.pointer import promote
from siltstone.compaction.staging import read_document, write_document
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import decode, encode
from siltstone.deltas.quarantine import list_quarantined
from siltstone.deltas.retire import retire_delta
from siltstone.errors import (
    LockLost,
    PointerMissing,
    SchemaTooNew,
    SettingsMismatch,
    SnapshotDamaged,
    StoreUnavailable,
)
from siltstone.settings import RunLimits
from siltstone.stores import Stores

from tests.unit.deltas.house import DIMENSION, House, header, upserts, vectors
from tests.unit.embedding.faults import Hooked

Content = dict[str, tuple[bytes, str | None, Any] | None]


class Runs(House):
    """A house with runs."""

    workspace: Path

    def acquire(self, execution: str = "run", collection: str = "texts") -> Run:
        return lock.acquire(collection, execution, 0, self.stores, self.clock)

    def download(self, execution: str = "run", *, settled: bool = True) -> tuple[DownloadOutput, Plan]:
        if settled:
            self.settle()
        run = self.acquire(execution)
        output = download(RunInput(run=run), self.stores, self.clock, workspace=self.workspace)
        plan = read_document(self.snapshots, output.plan, Plan)
        lock.release(run, self.stores, take=None, failures=0)
        return output, plan

    def content(self, plan: Plan) -> Content:
        """What the parts say of each id. An id that is there twice is a mistake."""
        found: Content = {}
        for part in plan.parts:
            stored = self.snapshots.get(part.file.key, if_match=part.file.etag)
            said, rows = decode(stored.body)
            assert said.count == len(rows) == part.upserts + part.deletes
            assert not set(rows.ids) & set(found)
            found.update(oracle([rows]))
        return found

    def publish(self, plan: Plan, execution: str = "publish") -> str:
        """A version that contains the plan's deltas, as ``Upload`` and ``PromotePointer`` would make it."""
        run = self.acquire(execution)
        manifest = Manifest(
            collection="texts",
            version=run.version,
            parent=plan.base.version,
            token=run.token,
            run=run.run_id,
            started_at="",
            created_at="",
            libraries={},
            settings=plan.settings,
            counts=RowCounts(),
            dead_slots=0,
            files=[],
            applied=[*plan.still_listed, *plan.deltas],
            checks=[],
        )
        write_document(self.snapshots, keys.manifest("texts", run.version), manifest)
        promote(self.snapshots, "texts", pinned=plan.base, version=run.version)
        lock.release(run, self.stores, take=None, failures=0)
        return run.version


@pytest.fixture
def house(tmp_path: Path) -> Runs:
    return make(tmp_path)


def make(tmp_path: Path, **options: Any) -> Runs:
    made = Runs(**options)
    made.workspace = tmp_path
    return made


def oracle(batches: list[DeltaRows]) -> Content:
    """The plain meaning of a sequence of operations: the last one of each id."""
    found: Content = {}
    for rows in batches:
        for place, row_id in enumerate(rows.ids):
            row = (rows.embeddings[place].tobytes(), rows.documents[place], rows.metadatas[place])
            found[row_id] = None if rows.deletes[place] else row
    return found


def names(deltas: list[AppliedDelta]) -> list[str]:
    return [delta.key.split("/")[-2] for delta in deltas]


operations = st.lists(st.dictionaries(st.sampled_from("abcdef"), st.booleans(), min_size=1), min_size=1, max_size=6)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deltas=operations, seed=st.integers(0, 9), part_rows=st.integers(1, 7))
def test_the_last_operation_of_each_id_wins_as_in_a_dictionary(
    deltas: list[dict[str, bool]], seed: int, part_rows: int, tmp_path: Path
) -> None:
    house = make(tmp_path, limits=RunLimits(part_rows=part_rows))
    source = random.Random(seed)
    written: list[tuple[tuple[int, str], DeltaRows]] = []
    for number, ids in enumerate(deltas):
        rows = upserts(list(ids), seed=number, documents=[f"{number}{row_id}" for row_id in ids])
        rows.deletes[:] = list(ids.values())
        name = f"d{source.randrange(10**6):06d}"
        key = keys.delta("texts", name)
        house.deltas.put(key, encode(rows, header(rows, delta_id=name)))
        info = house.deltas.head(key)
        assert info is not None
        written.append(((info.last_modified, key), rows))
        house.clock.advance(source.choice([0, 0.5, 1]))
    output, plan = house.download()
    in_order = [rows for _, rows in sorted(written, key=lambda one: one[0])]
    expected = oracle(in_order)
    assert house.content(plan) == expected
    assert output.rows == len(expected)
    assert [delta.key for delta in plan.deltas] == [key for (_, key), _ in sorted(written, key=lambda one: one[0])]
    assert all(part.upserts + part.deletes <= part_rows for part in plan.parts)


def test_the_plan_names_everything_and_a_second_attempt_mixes_with_nothing(house: Runs) -> None:
    house.write(upserts(["a", "b"]))
    house.settle()
    run = house.acquire()
    outputs = [download(RunInput(run=run), house.stores, house.clock, workspace=house.workspace) for _ in range(2)]
    plans = [read_document(house.snapshots, output.plan, Plan) for output in outputs]
    assert outputs[0].plan.key != outputs[1].plan.key
    assert [house.content(plan) for plan in plans] == [house.content(plans[0])] * 2
    assert plans[0].deltas == plans[1].deltas
    assert plans[0].run_id == run.run_id
    assert plans[0].settings == house.stores.settings.resolve("texts").fixed()
    prefix = f"staging/texts/{run.run_id}/Download/"
    assert all(found.key.startswith(prefix) for found in house.snapshots.list(""))
    assert outputs[0].model_dump(exclude={"plan"}) == {
        "base_version": None,
        "deltas": 1,
        "parts": 1,
        "rows": 2,
        "quarantined": 0,
        "more": False,
    }
    assert list(house.workspace.iterdir()) == [], "the scratch is empty again"


def test_nothing_pending_is_a_plan_without_parts(house: Runs) -> None:
    output, plan = house.download()
    assert (output.deltas, output.parts, output.more, plan.parts, plan.deltas) == (0, 0, False, [], [])


def test_what_has_not_settled_waits(house: Runs) -> None:
    house.write(upserts(["a"]), delta_id="d1")
    house.settle()
    house.write(upserts(["b"]), delta_id="d2")
    _, plan = house.download(settled=False)
    assert names(plan.deltas) == ["d1"]


def test_a_delta_that_the_base_contains_is_not_applied_again(house: Runs) -> None:
    house.write(upserts(["a"]), delta_id="d1")
    _, first = house.download()
    version = house.publish(first)
    house.write(upserts(["b"]), delta_id="d2")
    output, plan = house.download("run-2")
    assert (output.base_version, names(plan.deltas), plan.still_listed) == (version, ["d2"], first.deltas)
    house.publish(plan, "publish-2")
    output, plan = house.download("run-3")
    assert (output.deltas, names(plan.still_listed)) == (0, ["d1", "d2"])
    for delta in plan.still_listed:
        retire_delta(house.deltas, delta.key, delta.etag)
    assert house.download("run-4")[1].still_listed == []


@pytest.mark.parametrize("same_body", [True, False])
def test_a_retired_delta_that_comes_back_is_retired_again_and_not_applied(same_body: bool, house: Runs) -> None:
    """Its producer's late retry succeeds over the delete marker; applied again it would undo what came after it."""
    written = house.write(upserts(["a"]), delta_id="d1")
    rows = upserts(["a"], seed=0 if same_body else 1)
    late = house.deltas.get(written.delta_key).body if same_body else encode(rows, header(rows))
    _, plan = house.download()
    house.publish(plan)
    retire_delta(house.deltas, written.delta_key, written.etag or "")
    house.write(upserts(["a"], seed=2), delta_id="d2")
    house.deltas.put(written.delta_key, late, create_only=True)
    house.write(upserts(["c"]), delta_id="d0")
    _, plan = house.download("run-2")
    assert names(plan.deltas) == ["d2", "d0"]
    house.publish(plan, "publish-2")
    house.deltas.put(written.delta_key, late)
    _, plan = house.download("run-3")
    assert plan.deltas == []
    for delta in plan.still_listed:  # what its base names is Retire's to delete, the same body as well
        retire_delta(house.deltas, delta.key, delta.etag)
    assert house.keys("deltas/") == []


BAD: dict[str, tuple[DeltaRows, dict[str, Any], str]] = {
    "model": (upserts(["a"]), {"model": "other"}, "its model is 'other'"),
    "collection": (upserts(["a"]), {"collection": "lines"}, "its collection is 'lines'"),
    "dimension": (DeltaRows.upserts(["a"], vectors(1, dimension=5)), {}, "its dimension is 5"),
    "nan": (DeltaRows.upserts(["a"], np.full((1, 4), np.nan, np.float32)), {}, "row 0, id 'a': the vector has a NaN"),
    "repeated": (upserts(["a", "a"]), {}, "row 1, id 'a': the id is repeated"),
    "metadata": (upserts(["a"], metadatas=[{"chroma:x": 1}]), {}, "reserved"),
    "empty": (upserts([]), {}, "0 rows"),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_unusable_delta_goes_to_quarantine_and_the_others_go_on(kind: str, house: Runs) -> None:
    rows, changes, reason = BAD[kind]
    house.put(upserts(["a"], seed=1), "d1")
    key = keys.delta("texts", "d2")
    house.deltas.put(key, encode(rows, header(rows, **{"delta_id": "d2", **changes})))
    house.put(upserts(["b"]), "d3")
    output, plan = house.download()
    assert (names(plan.deltas), names(plan.quarantined), output.quarantined) == (["d1", "d3"], ["d2"], 1)
    assert set(house.content(plan)) == {"a", "b"}, "the bad delta hides nothing"
    (note,) = list_quarantined(house.deltas)
    assert reason in note.reason
    assert note.run == plan.run_id
    assert output.more is False
    assert house.download("run-2")[1].quarantined == []


@pytest.mark.parametrize("method", ["get_file", "copy"])
def test_what_an_attempt_that_still_runs_elsewhere_moved_aside_fails_no_retry(method: str, house: Runs) -> None:
    """Two attempts of one state list the same unusable delta; one of them is quicker."""
    house.put(upserts(["a"]), "d1", model="other")
    house.put(upserts(["b"]), "d2")
    house.settle()
    run = house.acquire()

    def attempt(stores: Stores) -> DownloadOutput:
        return download(RunInput(run=run), stores, house.clock, workspace=house.workspace)

    slow = Hooked(house.deltas, method, lambda: attempt(house.stores) and None)
    output = attempt(replace(house.stores, deltas=slow))
    assert (output.deltas, output.quarantined, output.more) == (1, 0, False)
    assert [note.delta_id for note in list_quarantined(house.deltas)] == ["d1"]


@pytest.mark.parametrize("cut", [0, 10, 300, -1])
def test_bytes_that_are_no_parquet_go_to_quarantine(cut: int, house: Runs) -> None:
    key = house.put(upserts(["a"]), "d1")
    house.deltas.put(key, house.deltas.get(key).body[:cut])
    output, _ = house.download()
    assert (output.deltas, output.quarantined) == (0, 1)


def test_a_store_that_does_not_answer_quarantines_nothing(house: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    house.put(upserts(["a"]), "d1")

    def unavailable(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("no answer")

    for operation in ("get_file", "list_page", "list_versions"):
        with monkeypatch.context() as patch:
            patch.setattr(house.deltas, operation, unavailable)
            with pytest.raises(StoreUnavailable):
                house.download()
    assert house.download()[0].deltas == 1


def test_a_newer_releases_delta_stops_the_run_and_stays(house: Runs) -> None:
    key = house.put(upserts(["a"]), "d1", schema_version=2)
    with pytest.raises(SchemaTooNew):
        house.download()
    assert house.keys() == [key]


def test_settings_that_differ_from_the_manifest_stop_the_run_and_quarantine_nothing(tmp_path: Path) -> None:
    house = make(tmp_path)
    house.write(upserts(["a"]))
    _, plan = house.download()
    house.publish(plan.model_copy(update={"settings": {**plan.settings, "dimension": 8}}))
    house.write(upserts(["b"]))
    with pytest.raises(SettingsMismatch, match="texts has dimension 8; the stage's setting is 4"):
        house.download("run-2")
    assert len(house.keys("deltas/")) == 2
    assert house.keys("quarantine/") == []


def test_a_pointer_that_is_gone_or_names_nothing_stops_the_run(house: Runs) -> None:
    house.write(upserts(["a"]))
    _, plan = house.download()
    version = house.publish(plan)
    run = house.acquire("run-2")
    house.snapshots.delete(keys.manifest("texts", version))
    with pytest.raises(SnapshotDamaged, match="has no manifest"):
        download(RunInput(run=run), house.stores, house.clock, workspace=house.workspace)
    house.snapshots.delete(keys.pointer("texts"))
    with pytest.raises(PointerMissing):
        download(RunInput(run=run), house.stores, house.clock, workspace=house.workspace)


def test_a_lost_lock_stops_the_run_before_anything_is_read(house: Runs) -> None:
    house.write(upserts(["a"]))
    run = house.acquire()
    house.clock.advance(lock.LEASE_SECONDS + 1)
    house.acquire("other")
    with pytest.raises(LockLost):
        download(RunInput(run=run), house.stores, house.clock, workspace=house.workspace)
    assert list(house.snapshots.list("staging/")) == []


def test_a_backlog_is_split_by_rows_the_oldest_first_at_least_one(tmp_path: Path) -> None:
    house = make(tmp_path, limits=RunLimits(max_rows=5))
    for number, count in enumerate([3, 2, 1, 9, 1]):
        house.write(upserts([f"{number}-{row}" for row in range(count)]), delta_id=f"d{number}")
    taken: list[list[str]] = []
    for number in range(3):
        output, plan = house.download(f"run-{number}")
        taken.append(names(plan.deltas))
        assert output.more is True
        for delta in plan.deltas:
            retire_delta(house.deltas, delta.key, delta.etag)
    assert taken == [["d0", "d1"], ["d2"], ["d3"]]
    output, plan = house.download("run-9")
    assert (names(plan.deltas), output.more) == (["d4"], False)


def test_a_backlog_is_split_by_bytes_the_oldest_first_at_least_one(tmp_path: Path) -> None:
    house = make(tmp_path, limits=RunLimits(max_bytes=10))
    for number in range(3):
        house.write(upserts(["a"]), delta_id=f"d{number}")
    output, plan = house.download()
    assert (names(plan.deltas), output.more) == (["d0"], True)


def test_deltas_of_many_windows_are_all_read(house: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FETCHED_AT_ONCE", 3)
    for number in range(10):
        house.write(upserts([f"id{number}"]), delta_id=f"d{number}")
    output, plan = house.download()
    assert (output.deltas, len(house.content(plan))) == (10, 10)


def with_lease(house: Runs, *, take: int | None, failures: int, suspect: str | None = None) -> None:
    run = house.acquire("before")
    key = "" if suspect is None else keys.delta("texts", suspect)
    found = house.deltas.head(key)
    name = None if found is None else f"{key} {found.etag}"
    lock.release(run, house.stores, take=take, failures=failures, suspect=name)


def test_a_run_takes_what_the_lease_allows_and_says_how_many_it_took(house: Runs) -> None:
    for number in range(5):
        house.write(upserts([f"id{number}"]), delta_id=f"d{number}")
    with_lease(house, take=2, failures=0)
    house.settle()
    run = house.acquire()
    output = download(RunInput(run=run), house.stores, house.clock, workspace=house.workspace)
    assert (output.deltas, output.more) == (2, True)
    lease = house.leases.read(lock.lock_id("texts"))
    assert lease is not None
    assert lease.taking == 2


@pytest.mark.parametrize(("failures", "poisoned"), [(2, False), (3, True)])
def test_a_delta_that_failed_three_times_alone_is_poison(failures: int, poisoned: bool, house: Runs) -> None:
    house.write(upserts(["a"]), delta_id="d1")
    house.write(upserts(["b"]), delta_id="d2")
    with_lease(house, take=1, failures=failures, suspect="d1")
    output, plan = house.download()
    assert output.more is True
    if poisoned:
        assert (names(plan.quarantined), plan.deltas) == (["d1"], [])
        assert names(house.download("run-2")[1].deltas) == ["d2"]
    else:
        assert (plan.quarantined, names(plan.deltas)) == ([], ["d1"])


def test_a_retry_of_the_state_that_moved_the_poison_convicts_no_second_delta(house: Runs) -> None:
    """Its reply was lost; the lease still tells of three failures, but of the delta that is gone."""
    house.write(upserts(["a"]), delta_id="d1")
    house.write(upserts(["b"]), delta_id="d2")
    with_lease(house, take=1, failures=3, suspect="d1")
    house.settle()
    run = house.acquire()
    outputs = [download(RunInput(run=run), house.stores, house.clock, workspace=house.workspace) for _ in range(2)]
    assert [(output.quarantined, output.deltas) for output in outputs] == [(1, 0), (0, 1)]
    assert [note.delta_id for note in list_quarantined(house.deltas)] == ["d1"]


def test_nor_does_the_next_run_after_an_execution_that_was_stopped_before_it_released(house: Runs) -> None:
    house.write(upserts(["a"]), delta_id="d1")
    house.write(upserts(["b"]), delta_id="d2")
    with_lease(house, take=1, failures=3, suspect="d1")
    house.settle()
    stopped = house.acquire("stopped")
    download(RunInput(run=stopped), house.stores, house.clock, workspace=house.workspace)
    house.clock.advance(lock.LEASE_SECONDS + 1)
    output, plan = house.download("run-2")
    assert (output.quarantined, names(plan.deltas)) == (0, ["d2"])


def test_failures_of_a_delta_that_is_gone_convict_no_other(house: Runs) -> None:
    house.write(upserts(["a"]), delta_id="d1")
    with_lease(house, take=1, failures=3, suspect="d1")
    house.deltas.delete(keys.delta("texts", "d1"))
    house.write(upserts(["b"]), delta_id="d2")
    output, plan = house.download()
    assert (output.quarantined, names(plan.deltas)) == (0, ["d2"])


def test_a_run_counts_how_many_it_took_without_the_quarantined(house: Runs) -> None:
    house.put(upserts(["a"]), "d1")
    house.put(upserts(["b"]), "d2", model="other")
    house.settle()
    download(RunInput(run=house.acquire()), house.stores, house.clock, workspace=house.workspace)
    lease = house.leases.read(lock.lock_id("texts"))
    assert lease is not None
    assert (lease.taking, (lease.alone or "").split("/")[2]) == (1, "d1")


def test_the_older_layouts_take_their_place_in_the_order(tmp_path: Path) -> None:
    house = make(tmp_path, legacy="texts")
    house.put(upserts(["a", "b"]), "d1")
    old = {"ids": ["a", "c"], "embeddings": [[1, 2, 3, 4]] * 2, "documents": ["old", "old"], "metadatas": None}
    house.deltas.put("deltas/7f/embeddings.json.gz", gzip.compress(json.dumps(old).encode()))
    house.clock.advance(1)
    house.put(DeltaRows.deletions(["c"], DIMENSION), "d2")
    house.deltas.put("deltas/80/embeddings.json.gz", b"no gzip")
    output, plan = house.download()
    assert (names(plan.deltas), names(plan.quarantined), output.quarantined) == (["d1", "7f", "d2"], ["80"], 1)
    content = house.content(plan)
    assert content["c"] is None
    assert content["a"] == (np.array([1, 2, 3, 4], np.float32).tobytes(), "old", {})
    assert house.keys("quarantine/")[0] == "quarantine/texts/80/embeddings.json.gz"


def test_a_delta_written_to_a_sharded_collections_own_name_is_kept_for_a_replay(tmp_path: Path) -> None:
    house = make(tmp_path, shards=2, names=("texts",))
    house.put(upserts(["a"]), "d1")
    output, _ = house.download()
    (note,) = list_quarantined(house.deltas)
    assert output.quarantined == 1
    assert "has 2 shards, and this is none of them" in note.reason


def test_each_shard_is_a_run_of_its_own_and_together_they_hold_everything(tmp_path: Path) -> None:
    house = make(tmp_path, shards=2, names=("texts",))
    rows = upserts([f"id{place}" for place in range(30)])
    house.write(rows)
    house.write(DeltaRows.deletions(rows.ids[:10], DIMENSION))
    house.settle()
    found: Content = {}
    for name in ("texts.s00", "texts.s01"):
        run = house.acquire(collection=name)
        output = download(RunInput(run=run), house.stores, house.clock, workspace=tmp_path)
        assert (output.deltas, output.quarantined) == (2, 0)
        found.update(house.content(read_document(house.snapshots, output.plan, Plan)))
    assert {row_id for row_id, row in found.items() if row is None} == set(rows.ids[:10])
    assert set(found) == set(rows.ids)
