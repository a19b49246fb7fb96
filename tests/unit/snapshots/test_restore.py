"""Files come to the disk whole and as recorded, or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.compaction.documents import Manifest, RowCounts, VersionFile
from siltstone.errors import DiskFull, ManifestDamaged, SnapshotDamaged, StoreUnavailable, UnknownVersion
from siltstone.snapshots.files import copy_folder, differences
from siltstone.snapshots.restore import RemoteFile, restore_files, restore_version
from siltstone.stores.objects_memory import MemoryObjects

BODIES = {"chroma.sqlite3": b"database", "segment/data_level0.bin": b"vectors" * 100, "segment/length.bin": b""}
VERSION = "20260101_000000_00000001"


def remote(path: str, body: bytes, key: str | None = None, etag: str | None = None) -> RemoteFile:
    return RemoteFile(path, key or f"prefix/{path}", len(body), hashlib.sha256(body).hexdigest(), etag)


FILES = [remote(path, body) for path, body in BODIES.items()]


@pytest.fixture
def store() -> MemoryObjects:
    made = MemoryObjects(ManualClock())
    for path, body in BODIES.items():
        made.put(f"prefix/{path}", body)
    return made


@pytest.fixture
def version(store) -> Manifest:
    manifest = Manifest(
        collection="lines",
        version=VERSION,
        parent=None,
        token=1,
        run="run",
        started_at="",
        created_at="",
        libraries={},
        settings={},
        counts=RowCounts(),
        dead_slots=0,
        files=[VersionFile(path=file.path, size=file.size, sha256=file.sha256) for file in FILES],
        applied=[],
        checks=[],
    )
    for path, body in BODIES.items():
        store.put(keys.version("lines", VERSION) + path, body)
    store.put(keys.manifest("lines", VERSION), manifest.model_dump_json().encode())
    return manifest


def on_disk(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_version_comes_whole(store, version, tmp_path):
    restore_version(store, version, tmp_path / "here")
    assert on_disk(tmp_path) == {f"here/{path}": body for path, body in BODIES.items()}


def test_files_that_are_there_already_are_not_fetched_again(store, tmp_path):
    restore_files(store, FILES, tmp_path / "here")
    store.get_file = lambda *_, **__: pytest.fail("it was fetched again")
    restore_files(store, FILES, tmp_path / "here")


@pytest.mark.parametrize("change", ["flip", "cut", "grow", "remove", "link", "stranger"])
def test_files_that_changed_meanwhile_are_fetched_again(store, tmp_path, change):
    here = tmp_path / "here"
    restore_files(store, FILES, here)
    path = here / "segment/data_level0.bin"
    body = path.read_bytes()
    if change == "flip":
        path.write_bytes(body[:-1] + b"?")
    elif change == "cut":
        path.write_bytes(body[:10])
    elif change == "grow":
        path.write_bytes(body + b"more")
    elif change == "remove":
        path.unlink()
    elif change == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        (here / "chroma.sqlite3-journal").write_bytes(b"would be rolled back into the database")
    assert differences(here, FILES)
    restore_files(store, FILES, here)
    assert on_disk(here) == BODIES
    assert not path.is_symlink()


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("change", ["another body", "another size", "gone"])
def test_a_damaged_object_leaves_nothing_on_the_disk(store, tmp_path, path, change):
    if change == "gone":
        store.delete(f"prefix/{path}")
    else:
        store.put(f"prefix/{path}", b"x" * (len(BODIES[path]) + (change == "another size")) or b"x")
    with pytest.raises(SnapshotDamaged, match=path.rpartition("/")[2]):
        restore_files(store, FILES, tmp_path / "here")
    assert not list(tmp_path.iterdir())


def test_an_object_with_another_etag_is_not_taken(store, tmp_path):
    etag = store.head("prefix/chroma.sqlite3").etag
    named = [remote("chroma.sqlite3", BODIES["chroma.sqlite3"], etag=etag)]
    restore_files(store, named, tmp_path / "here")
    with pytest.raises(SnapshotDamaged):
        restore_files(store, [remote("chroma.sqlite3", BODIES["chroma.sqlite3"], etag="0" * 32)], tmp_path / "there")


def test_a_version_that_retention_removed_meanwhile_is_unknown_and_not_damaged(store, version, tmp_path):
    store.delete(keys.version("lines", VERSION) + "chroma.sqlite3")
    with pytest.raises(SnapshotDamaged):
        restore_version(store, version, tmp_path / "here")
    store.delete(keys.manifest("lines", VERSION))
    with pytest.raises(UnknownVersion):
        restore_version(store, version, tmp_path / "here")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "path", ["../out", "/etc/passwd", "a/../../out", "", ".", "a//b", "a/./b", "a\\b", "./a", "a/", "..", "a/.."]
)
def test_a_path_that_leaves_the_folder_is_refused_whoever_made_the_list(store, tmp_path, path):
    with pytest.raises(ManifestDamaged):
        restore_files(store, [remote(path, b"x", key="prefix/chroma.sqlite3")], tmp_path / "here")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("paths", [["a", "a"], ["a", "a/b"]])
def test_paths_that_clash_are_refused(store, tmp_path, paths):
    with pytest.raises(ManifestDamaged):
        restore_files(store, [remote(path, b"database", key="prefix/chroma.sqlite3") for path in paths], tmp_path / "h")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(OSError(28, "No space left on device"), DiskFull), (StoreUnavailable("x"), StoreUnavailable)],
)
def test_a_fetch_that_fails_leaves_nothing_on_the_disk(store, tmp_path, raised, expected):
    get_file = store.get_file

    def fails(key: str, path: Path, *, if_match: str | None = None) -> None:
        get_file(key, path, if_match=if_match)
        if key.endswith("length.bin"):
            raise raised

    store.get_file = fails
    with pytest.raises(expected):
        restore_files(store, FILES, tmp_path / "here")
    assert not list(tmp_path.iterdir())


def test_a_copy_shares_no_bytes_with_what_it_was_copied_from(store, tmp_path):
    restore_files(store, FILES, tmp_path / "pristine")
    copy_folder(tmp_path / "pristine", tmp_path / "work")
    for path in BODIES:
        assert (tmp_path / "pristine" / path).stat().st_ino != (tmp_path / "work" / path).stat().st_ino
        (tmp_path / "work" / path).write_bytes(b"merged")
    assert on_disk(tmp_path / "pristine") == BODIES
