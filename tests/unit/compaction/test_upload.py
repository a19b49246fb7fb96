"""Upload: the sealed files become a version that nobody reads yet, whatever is lost on the way."""

from __future__ import annotations

import hashlib

import pytest
from siltstone import keys
from siltstone.compaction import publish
from siltstone.compaction.documents import Check, Manifest, StagedFile, Work
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.messages import UploadInput
from siltstone.compaction.staging import read_document, write_document
from siltstone.compaction.upload import upload
from siltstone.errors import LockLost, ManifestDamaged, SnapshotDamaged, SnapshotTooLarge, StoreUnavailable

from tests.unit.compaction.commit_path import FILES, GOOD, House, Mishap


@pytest.fixture
def house() -> House:
    return House()


def resealed(house: House, request: UploadInput, **changes: object) -> UploadInput:
    work = read_document(house.snapshots, request.sealed, Work).model_copy(update=changes)
    return request.model_copy(update={"sealed": write_document(house.snapshots, request.sealed.key + ".2", work)})


def test_the_version_holds_the_staged_files_and_a_manifest_that_names_them_all(house: House) -> None:
    run, delta = house.acquire("a"), house.delta("d1")
    out = upload(house.stage(run, delta), house.stores, house.clock)
    assert {path: house.read(run.version, path) for path in FILES} == FILES
    manifest = read_document(house.snapshots, out.manifest, Manifest)
    assert manifest == read_manifest(house.snapshots, "lines", run.version)
    assert {(file.path, file.size, file.sha256) for file in manifest.files} == {
        (path, len(body), hashlib.sha256(body).hexdigest()) for path, body in FILES.items()
    }
    assert (manifest.token, manifest.parent, manifest.run, manifest.reason) == (1, None, "a-0", "compaction")
    assert (manifest.counts.after, manifest.settings, manifest.checks) == (7, house.settings, list(GOOD))
    assert manifest.libraries["chromadb"]
    assert (out.files, out.bytes) == (2, sum(map(len, FILES.values())))


def test_nothing_is_current_yet(house: House) -> None:
    upload(house.stage(house.acquire("a")), house.stores, house.clock)
    assert house.pin().version is None


def test_applied_names_this_runs_deltas_and_those_that_the_base_had_but_did_not_retire(house: House) -> None:
    old, new = house.delta("d1"), house.delta("d2")
    house.compact("a", old, and_retire=False)
    run = house.acquire("b")
    out = upload(house.stage(run, new, still_listed=(old,)), house.stores, house.clock)
    manifest = read_document(house.snapshots, out.manifest, Manifest)
    assert manifest.applied == [old, new]
    assert manifest.parent == house.pin().version


def test_run_again_hours_later_it_writes_the_same_manifest(house: House) -> None:
    request = house.stage(house.acquire("a"))
    first = upload(request, house.stores, house.clock)
    house.clock.advance(7_000)
    assert upload(request, house.stores, house.clock) == first


@pytest.mark.parametrize("mishap", ["request lost", "reply lost"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_whichever_write_fails_there_is_no_version_before_the_last_and_a_retry_completes_it(
    house: House, nth: int, mishap: Mishap
) -> None:
    request = house.stage(house.acquire("a"))
    house.snapshots.fail(nth, mishap)
    with pytest.raises(StoreUnavailable):
        upload(request, house.stores, house.clock)
    exists = house.snapshots.head(keys.manifest("lines", request.run.version)) is not None
    assert exists == (nth == 3 and mishap == "reply lost")
    out = upload(request, house.stores, house.clock)
    manifest = read_document(house.snapshots, out.manifest, Manifest)
    assert {file.path: house.read(request.run.version, file.path) for file in manifest.files} == FILES


def test_the_manifest_is_the_last_write_and_every_write_is_conditional(house: House) -> None:
    request = house.stage(house.acquire("a"))
    house.snapshots.writes.clear()
    upload(request, house.stores, house.clock)
    assert house.snapshots.writes[-1] == ("put", keys.manifest("lines", request.run.version), True)
    assert all(conditional for _, _, conditional in house.snapshots.writes)


def test_a_staged_file_that_changed_or_vanished_is_not_published(house: House) -> None:
    request = house.stage(house.acquire("a"))
    staged = read_document(house.snapshots, request.sealed, Work).files[0]
    house.snapshots.put(staged.key, b"somebody else's")
    with pytest.raises(SnapshotDamaged, match="gone or changed"):
        upload(request, house.stores, house.clock)
    house.snapshots.delete(staged.key)
    with pytest.raises(SnapshotDamaged, match="gone or changed"):
        upload(request, house.stores, house.clock)
    assert house.snapshots.head(keys.manifest("lines", request.run.version)) is None


def test_a_copy_with_another_hash_than_was_recorded_is_not_published(house: House) -> None:
    request = house.stage(house.acquire("a"))
    work = read_document(house.snapshots, request.sealed, Work)
    wrong = work.files[0].model_copy(update={"sha256": hashlib.sha256(b"recorded").hexdigest()})
    with pytest.raises(SnapshotDamaged, match="another SHA-256"):
        upload(resealed(house, request, files=[wrong, *work.files[1:]]), house.stores, house.clock)
    assert house.snapshots.head(keys.manifest("lines", request.run.version)) is None


def test_a_snapshot_over_the_limit_is_refused_before_anything_is_copied(house: House) -> None:
    request = house.stage(house.acquire("a"))
    work = read_document(house.snapshots, request.sealed, Work)
    huge = work.files[0].model_copy(update={"size": publish.MAX_SNAPSHOT_BYTES})
    request = resealed(house, request, files=[huge, *work.files[1:]])
    house.snapshots.writes.clear()
    with pytest.raises(SnapshotTooLarge, match="shards"):
        upload(request, house.stores, house.clock)
    assert house.snapshots.writes == []


@pytest.mark.parametrize("changes", [{"checks": ()}, {"parts_done": 0}])
def test_work_that_is_not_sealed_is_not_published(house: House, changes: dict[str, object]) -> None:
    request = resealed(house, house.stage(house.acquire("a")), **changes)
    with pytest.raises(ManifestDamaged, match="not sealed"):
        upload(request, house.stores, house.clock)


def test_another_runs_plan_is_refused(house: House) -> None:
    first = house.acquire("a")
    foreign = house.stage(first)
    house.release(first)
    mine = house.stage(house.acquire("b"))
    with pytest.raises(ManifestDamaged, match="not this run's plan"):
        upload(mine.model_copy(update={"plan": foreign.plan}), house.stores, house.clock)


@pytest.mark.parametrize("path", ["manifest.json", "chroma.sqlite3"])
def test_two_files_with_one_path_or_one_called_manifest_are_refused(house: House, path: str) -> None:
    request = house.stage(house.acquire("a"))
    work = read_document(house.snapshots, request.sealed, Work)
    twin: StagedFile = work.files[1].model_copy(update={"path": path})
    with pytest.raises(ManifestDamaged):
        upload(resealed(house, request, files=[work.files[0], twin]), house.stores, house.clock)


def test_a_run_that_lost_its_lock_writes_nothing(house: House) -> None:
    request = house.stage(house.acquire("a"))
    house.clock.advance(3_600)
    house.acquire("b")
    house.snapshots.writes.clear()
    with pytest.raises(LockLost):
        upload(request, house.stores, house.clock)
    assert house.snapshots.writes == []


def test_a_failed_check_is_recorded_as_it_is(house: House) -> None:
    failed = (*GOOD, Check(name="self_search", passed=False, detail="3 of 64"))
    out = upload(house.stage(house.acquire("a"), checks=failed), house.stores, house.clock)
    assert read_document(house.snapshots, out.manifest, Manifest).checks == list(failed)
