"""Merge over several turns, in too little time, killed, retried, over damaged files and without the lock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from siltstone import keys
from siltstone.compaction import lock
from siltstone.compaction.documents import Work
from siltstone.compaction.messages import MergeInput, MergeOutput
from siltstone.compaction.staging import read_document
from siltstone.deltas.batch import DeltaRows
from siltstone.errors import (
    BadRecord,
    DiskFull,
    LockLost,
    ManifestDamaged,
    NoProgress,
    SettingsMismatch,
    SnapshotDamaged,
)
from siltstone.settings import CollectionSettings
from siltstone.snapshots.chroma import open_chroma
from siltstone.snapshots.files import differences
from siltstone.stores.vectors import CollectionSpec, VectorStore
from siltstone.stores.vectors_memory import open_memory

from tests.unit.compaction.merging import DIMENSION, Bench, deletes, names, upserts


@pytest.fixture(params=[open_chroma, open_memory], ids=["chroma", "memory"])
def bench(request, tmp_path) -> Bench:
    return Bench(tmp_path, open_store=request.param)


def asked(times: int) -> Callable[[], float]:
    """Plenty of time for so many questions, then hardly any."""
    answers = iter([900.0] * times)
    return lambda: next(answers, 1.0)


def finish(bench: Bench, request: MergeInput, *, questions: int) -> list[MergeOutput]:
    """Turns with time for ``questions`` steps each, until it is sealed."""
    outputs: list[MergeOutput] = []
    while not outputs or outputs[-1].sealed is None:
        work = outputs[-1].work if outputs else None
        outputs.append(bench.turn(request.model_copy(update={"work": work}), seconds_left=asked(questions)))
        assert len(outputs) < 50
    bench.publish(request.run, outputs[-1].sealed)
    return outputs


def parts(count: int, seed: int = 1) -> list[DeltaRows]:
    return [upserts(names(20, f"p{number}-"), seed) for number in range(count)]


def test_a_merge_goes_on_over_as_many_turns_as_it_takes(bench):
    bench.compact(upserts(names(30), 1))
    outputs = finish(bench, bench.plan(*parts(3), deletes(*names(3))), questions=1)
    assert [output.parts_done for output in outputs] == [1, 2, 3, 4, 4]  # the last turn seals
    assert {output.parts_total for output in outputs} == {4}
    assert [output.sealed is None for output in outputs] == [True, True, True, True, False]
    assert len(bench.oracle) == 30 + 60 - 3
    bench.assert_content()


def test_a_turn_on_another_machine_continues_from_what_was_staged(bench, tmp_path):
    request = bench.plan(*parts(3))
    first = bench.turn(request, seconds_left=asked(1))
    bench.workspace = tmp_path / "another machine"
    last = bench.turn(request.model_copy(update={"work": first.work}))
    bench.publish(request.run, last.sealed)
    bench.assert_content()


def test_a_turn_run_twice_has_the_effect_of_once(bench):
    request = bench.plan(*parts(4))
    first = bench.turn(request, seconds_left=asked(1))
    continued = request.model_copy(update={"work": first.work})
    lost = bench.turn(continued, seconds_left=asked(2))  # its reply never arrived
    assert lost.parts_done == 3
    last = bench.turn(continued)
    bench.publish(request.run, last.sealed)
    bench.assert_content()


def test_a_turn_killed_in_the_middle_is_run_again(bench):
    bench.compact(upserts(names(30), 1))
    request = bench.plan(*parts(3))
    with pytest.raises(_Killed):
        bench.turn(request, open_store=killing(bench.open_store, after=2))
    assert list(bench.workspace.glob("private-*")) == []
    output = bench.turn(request)
    bench.publish(request.run, output.sealed)
    bench.assert_content()


def test_what_a_dead_process_left_on_the_disk_is_swept(bench):
    left = bench.workspace / "private-01HZZZZZZZZZZZZZZZZZZZZZZZ" / "files"
    left.mkdir(parents=True)
    (left / "chroma.sqlite3").write_bytes(b"half")
    bench.compact(*parts(1))
    assert not left.exists()


def test_warm_files_are_used_again_but_only_if_every_hash_matches(bench):
    bench.compact(upserts(names(30), 1))
    fetched = count_fetches(bench)
    request = bench.plan(*parts(2))
    first = bench.turn(request, seconds_left=asked(1))
    assert fetched  # the base
    fetched.clear()
    continued = request.model_copy(update={"work": first.work})
    second = bench.turn(continued, seconds_left=asked(1))
    assert not fetched  # warm
    warm = next(bench.workspace.glob("work-*"))
    largest = max((path for path in warm.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    flip(largest)
    last = bench.turn(request.model_copy(update={"work": second.work}))
    assert fetched  # not trusted
    bench.publish(request.run, last.sealed)
    bench.assert_content()


def test_the_base_on_the_disk_is_never_written_to(bench):
    manifest = bench.compact(upserts(names(30), 1))
    bench.turn(bench.plan(*parts(2)))
    kept = next(bench.workspace.glob("base-*")) / "files"
    assert differences(kept, manifest.files) == []


def test_kept_folders_do_not_add_up(bench):
    for number in range(5):
        bench.compact(upserts(names(5, f"v{number}-"), 1))
        request = bench.plan(*parts(2))
        bench.turn(request, seconds_left=asked(1))
        bench.stores.leases.release(lock.lock_id("lines"), request.run.owner, request.run.token, take=None, failures=0)
    assert len(list(bench.workspace.iterdir())) <= 4  # two from before this turn, its base, and what it staged


def test_staged_files_are_as_their_document_says(bench):
    request = bench.plan(*parts(2))
    output = bench.turn(request)
    work = read_document(bench.stores.snapshots, output.sealed, Work)
    folder = bench.download(work.files)
    assert differences(folder, work.files) == []
    prefix = keys.staging("lines", request.run.run_id, "Merge", "")[:-1]
    assert all(file.key.startswith(prefix) and file.key.endswith(f"/{file.path}") for file in work.files)
    assert not any(file.path.startswith(("store", "files")) for file in work.files)


def test_a_rebuild_goes_on_over_turns(bench, monkeypatch):
    monkeypatch.setattr("siltstone.compaction.rebuild.MAX_BATCH", 10)
    bench.compact(upserts(names(60), 1))
    outputs = finish(bench, bench.plan(deletes(*names(25))), questions=2)
    # A part and a batch; two batches; the last batch, and sealed.
    assert [output.parts_done for output in outputs] == [1, 1, 1]
    assert rebuilt_rows(bench, outputs[:-1]) == [10, 30]
    assert read_document(bench.stores.snapshots, outputs[-1].sealed, Work).dead_slots == 0
    bench.assert_content()


def test_no_progress_is_an_error_and_not_an_endless_loop(bench):
    request = bench.plan(*parts(2))
    with pytest.raises(NoProgress, match="shard"):
        bench.turn(request, seconds_left=lambda: 10.0)


def test_the_time_kept_back_grows_with_the_snapshot(tmp_path):
    bench = Bench(tmp_path, CollectionSettings(dimension=4_096), open_store=open_memory)
    vectors = np.ones((1_000, 4_096), np.float32)
    bench.compact(DeltaRows.upserts(names(1_000), vectors))  # 16 MB: 0.4 s of uploading
    request = bench.plan(DeltaRows.upserts(["a"], vectors[:1]))
    with pytest.raises(NoProgress):
        bench.turn(request, seconds_left=lambda: 15.3)
    assert bench.turn(request, seconds_left=lambda: 15.6).parts_done == 1


def test_a_slow_part_makes_the_next_ones_wait_for_another_turn(bench):
    """After a step of 100 s, 150 s more are kept free for the next: a turn of 300 s has time for two."""
    started = bench.clock.monotonic()

    def slow(folder: Path, spec: CollectionSpec) -> VectorStore:
        store = bench.open_store(folder, spec)
        insert = store.insert
        store.insert = lambda rows: (bench.clock.advance(100), insert(rows))
        return store

    output = bench.turn(
        bench.plan(*parts(4)),
        seconds_left=lambda: 300.0 - (bench.clock.monotonic() - started),
        open_store=slow,
    )
    assert (output.parts_done, output.sealed) == (2, None)


@pytest.mark.parametrize("change", ["cut", "flip", "delete"])
def test_a_damaged_base_is_found_before_anything_opens_it(bench, change):
    manifest = bench.compact(upserts(names(300), 1))
    request = bench.plan(*parts(1))
    for file in manifest.files:
        key = keys.version("lines", manifest.version) + file.path
        body = bench.stores.snapshots.get(key).body
        middle = len(body) // 2
        if change == "delete" or not body:
            bench.stores.snapshots.delete(key)
        elif change == "cut":
            bench.stores.snapshots.put(key, body[:middle])
        else:
            bench.stores.snapshots.put(key, body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :])
        for warm in bench.workspace.glob("base-*"):
            pytest.fail(f"{warm} was there before")
        with pytest.raises(SnapshotDamaged, match=file.path.rpartition("/")[2]):
            bench.turn(request, open_store=never_opened)
        assert not list(bench.workspace.glob("base-*/*"))
        for warm in bench.workspace.glob("base-*"):
            warm.rmdir()
        bench.stores.snapshots.put(key, body)
    assert bench.turn(request).sealed


def test_damaged_work_is_found_before_anything_opens_it(bench, tmp_path):
    request = bench.plan(*parts(2))
    first = bench.turn(request, seconds_left=asked(1))
    work = read_document(bench.stores.snapshots, first.work, Work)
    bench.stores.snapshots.put(work.files[-1].key, b"something else")
    bench.workspace = tmp_path / "another machine"
    with pytest.raises(SnapshotDamaged):
        bench.turn(request.model_copy(update={"work": first.work}), open_store=never_opened)


def test_a_base_that_counts_differently_from_its_manifest_is_refused(bench):
    bench.compact(upserts(names(10), 1))
    key = keys.manifest("lines", bench.base)
    body = bench.stores.snapshots.get(key).body
    bench.stores.snapshots.put(key, body.replace(b'"after":10', b'"after":11'))
    with pytest.raises(SnapshotDamaged, match="10 rows where 11"):
        bench.turn(bench.plan(*parts(1)))


def test_a_base_of_other_settings_is_refused_before_it_is_fetched(bench):
    bench.compact(upserts(names(10), 1))
    bench.settings = CollectionSettings(dimension=DIMENSION, space="l2")
    fetched = count_fetches(bench)
    with pytest.raises(SettingsMismatch):
        bench.turn(bench.plan(*parts(1)))
    assert not fetched


def test_a_part_that_changed_is_refused(bench):
    request = bench.plan(*parts(1))
    part = next(info for info in bench.stores.snapshots.list("staging/") if info.key.endswith("0.parquet"))
    bench.stores.snapshots.put(part.key, b"PAR1")
    with pytest.raises(ManifestDamaged, match="gone or changed"):
        bench.turn(request)


def test_another_runs_plan_is_refused(bench):
    mine = bench.plan(*parts(1))
    other = mine.run.model_copy(update={"collection": "words"})
    lock.acquire("words", other.execution, 0, bench.stores, bench.clock)
    with pytest.raises(ManifestDamaged, match="another run"):
        bench.turn(mine.model_copy(update={"run": other}))


def test_a_lost_lock_stops_the_turn_before_it_does_anything(bench):
    request = bench.plan(*parts(1))
    bench.clock.advance(lock.LEASE_SECONDS + 1)
    lock.acquire("lines", "somebody else", 0, bench.stores, bench.clock)
    with pytest.raises(LockLost):
        bench.turn(request, open_store=never_opened)


def test_a_lock_lost_between_parts_stops_the_turn_and_stages_nothing(bench):
    request = bench.plan(*parts(3))

    def usurp(folder: Path, spec: CollectionSpec) -> VectorStore:
        bench.clock.advance(lock.LEASE_SECONDS + 1)
        lock.acquire("lines", "somebody else", 0, bench.stores, bench.clock)
        return bench.open_store(folder, spec)

    with pytest.raises(LockLost):
        bench.turn(request, open_store=usurp)
    assert not [info for info in bench.stores.snapshots.list("staging/") if "/Merge/" in info.key]


def test_a_long_turn_keeps_its_lock(bench):
    """Parts of 10 minutes each: without a renewal in between, a lease of 20 would be anybody's."""
    request = bench.plan(*parts(4))

    def slow(folder: Path, spec: CollectionSpec) -> VectorStore:
        store = bench.open_store(folder, spec)
        insert = store.insert
        store.insert = lambda rows: (bench.clock.advance(600), insert(rows))
        return store

    assert bench.turn(request, open_store=slow, seconds_left=lambda: 10_000).sealed
    lease = bench.stores.leases.read(lock.lock_id("lines"))
    assert lease.expires > bench.clock.now()


def test_a_full_disk_is_named_and_leaves_nothing(bench):
    bench.compact(upserts(names(10), 1))
    request = bench.plan(*parts(1))
    get_file = bench.stores.snapshots.get_file

    def full(key: str, path: Path, *, if_match: str | None = None) -> None:
        get_file(key, path, if_match=if_match)
        raise OSError(28, "No space left on device", str(path))

    bench.stores.snapshots.get_file = full
    with pytest.raises(DiskFull, match="shard"):
        bench.turn(request)
    assert not [path for path in bench.workspace.rglob("*") if path.is_file()]


def test_a_row_that_the_store_refuses_is_named(bench):
    rows = upserts(["a", "b"], 1)
    twice = DeltaRows.upserts(["a", "a"], rows.embeddings)
    with pytest.raises(BadRecord):
        bench.turn(bench.plan(twice))


class _Killed(BaseException):
    """The process ends here."""


def killing(open_store, *, after: int):
    """Opens stores that die in their insertion number ``after``."""

    def opened(folder: Path, spec: CollectionSpec) -> VectorStore:
        store = open_store(folder, spec)
        insert, done = store.insert, []

        def dies(rows) -> None:
            done.append(rows)
            if len(done) == after:
                raise _Killed
            insert(rows)

        store.insert = dies
        return store

    return opened


def never_opened(folder: Path, spec: CollectionSpec) -> VectorStore:
    raise AssertionError(f"{folder} was opened")


def count_fetches(bench: Bench) -> list[str]:
    fetched: list[str] = []
    get_file = bench.stores.snapshots.get_file

    def counted(key: str, path: Path, *, if_match: str | None = None) -> None:
        fetched.append(key)
        get_file(key, path, if_match=if_match)

    bench.stores.snapshots.get_file = counted
    return fetched


def flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def rebuilt_rows(bench: Bench, outputs: list[MergeOutput]) -> list[int]:
    """How many rows each turn's work has in the new directory."""
    found: list[int] = []
    for output in outputs:
        folder = bench.download(read_document(bench.stores.snapshots, output.work, Work).files)
        with closing(bench.open_store(folder / "rebuild", bench.spec)) as store:
            found.append(store.count())
    return found
