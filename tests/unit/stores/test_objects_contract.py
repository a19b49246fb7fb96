"""What an object store must do, of S3 and of its twin in memory alike."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from siltstone.errors import InvalidInput, ObjectNotFound, PreconditionFailed
from siltstone.stores.objects import ObjectStore

from tests.unit.stores.conftest import PART_BYTES


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_what_was_put_is_read_with_its_etag_size_and_whole_second(objects: ObjectStore) -> None:
    before = int(time.time())
    etag = objects.put("a/b", b"hello")
    found = objects.get("a/b")
    assert found.body == b"hello"
    assert (found.info.key, found.info.etag, found.info.size) == ("a/b", etag, 5)
    assert isinstance(found.info.last_modified, int)
    assert before - 1 <= found.info.last_modified <= time.time()
    assert objects.head("a/b") == found.info
    assert list(objects.list("a/")) == [found.info]


def test_an_etag_is_the_md5_of_the_body_so_the_same_body_has_the_same_etag(objects: ObjectStore) -> None:
    etag = objects.put("k", b"body")
    assert etag == hashlib.md5(b"body").hexdigest()  # noqa: S324
    objects.put("k", b"other")
    assert objects.put("k", b"body") == etag


def test_a_missing_object_is_not_found(objects: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound, match="nowhere"):
        objects.get("nowhere")
    with pytest.raises(ObjectNotFound):
        objects.get_if_changed("nowhere", "0" * 32)
    assert objects.head("nowhere") is None


def test_get_with_another_etag_is_refused(objects: ObjectStore) -> None:
    etag = objects.put("k", b"1")
    assert objects.get("k", if_match=etag).body == b"1"
    objects.put("k", b"2")
    with pytest.raises(PreconditionFailed):
        objects.get("k", if_match=etag)


def test_get_if_changed_reads_only_what_changed(objects: ObjectStore) -> None:
    etag = objects.put("k", b"1")
    assert objects.get_if_changed("k", etag) is None
    first = objects.get_if_changed("k", None)
    assert first is not None
    assert first.body == b"1"
    objects.put("k", b"2")
    second = objects.get_if_changed("k", etag)
    assert second is not None
    assert second.body == b"2"


def test_create_only_refuses_an_object_that_exists(objects: ObjectStore) -> None:
    objects.put("k", b"first", create_only=True)
    with pytest.raises(PreconditionFailed):
        objects.put("k", b"second", create_only=True)
    assert objects.get("k").body == b"first"


def test_create_only_succeeds_over_a_delete_marker(objects: ObjectStore) -> None:
    objects.put("k", b"first", create_only=True)
    objects.delete("k")
    objects.put("k", b"second", create_only=True)
    assert objects.get("k").body == b"second"


def test_put_with_if_match_needs_that_very_object(objects: ObjectStore) -> None:
    etag = objects.put("k", b"1")
    second = objects.put("k", b"2", if_match=etag)
    with pytest.raises(PreconditionFailed):
        objects.put("k", b"3", if_match=etag)
    objects.delete("k")
    with pytest.raises(PreconditionFailed):
        objects.put("k", b"3", if_match=second)
    with pytest.raises(PreconditionFailed):
        objects.put("never", b"3", if_match=second)


def test_of_many_threads_that_write_from_one_etag_exactly_one_wins(objects: ObjectStore) -> None:
    etag = objects.put("k", b"0")

    def write(number: int) -> bool:
        try:
            objects.put("k", f"{number + 1}".encode(), if_match=etag)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(16))) == 1


def test_delete_with_if_match_spares_another_body(objects: ObjectStore) -> None:
    etag = objects.put("k", b"1")
    objects.put("k", b"2")
    with pytest.raises(PreconditionFailed):
        objects.delete("k", if_match=etag)
    assert objects.get("k").body == b"2"
    objects.delete("k", if_match=objects.get("k").info.etag)
    assert objects.head("k") is None


def test_deleting_what_is_gone_is_no_error(objects: ObjectStore) -> None:
    etag = objects.put("k", b"1")
    objects.delete("k")
    objects.delete("k")
    objects.delete("k", if_match=etag)
    objects.delete("never", if_match=etag)
    objects.delete_many(["k", "never"])
    objects.delete_many([])


def test_delete_many_takes_more_than_one_request_holds(strict_objects: ObjectStore) -> None:
    names = [f"d/{number:04d}" for number in range(1_005)]
    for name in names:
        strict_objects.put(name, b"")
    assert len(list(strict_objects.list("d/"))) == 1_005
    strict_objects.delete_many(names)
    assert list(strict_objects.list("d/")) == []


def test_a_listing_is_in_key_order_over_all_pages_and_knows_the_stores_clock(objects: ObjectStore) -> None:
    for name in ("p/b", "p/a", "p/a/b", "q/x", "p-/x"):
        objects.put(name, name.encode())
    assert [found.key for found in objects.list("p/")] == ["p/a", "p/a/b", "p/b"]
    page = objects.list_page("p/")
    assert abs(page.date - time.time()) < 3
    assert page.next_token is None


def test_prefixes_are_listed_once_and_files_beside_them_are_not(objects: ObjectStore) -> None:
    for name in ("v/1/a", "v/1/b", "v/10/a", "v/2/deep/er", "v/file", "w/3/a"):
        objects.put(name, b"")
    assert list(objects.list_prefixes("v/")) == ["v/1/", "v/10/", "v/2/"]


def test_history_keeps_versions_and_delete_markers_newest_first(objects: ObjectStore) -> None:
    objects.put("h/k", b"1")
    objects.put("h/k", b"2")
    objects.put("h/other", b"")
    objects.delete("h/k")
    history = list(objects.list_versions("h/k"))
    assert [entry.key for entry in history] == ["h/k"] * 3
    assert [(entry.is_latest, entry.is_delete_marker) for entry in history] == [
        (True, True),
        (False, False),
        (False, False),
    ]
    assert len({entry.version_id for entry in history}) == 3
    assert list(objects.list_versions("h/never")) == []


def test_history_can_be_bounded_by_its_first_and_last_key(strict_objects: ObjectStore) -> None:
    for name in ("b/1", "b/2", "b/20", "b/3", "b/4"):
        strict_objects.put(name, b"")
    strict_objects.delete("b/2")
    found = [entry.key for entry in strict_objects.list_versions("b/", first="b/2", last="b/3")]
    assert found == ["b/2", "b/2", "b/20", "b/3"]


def test_a_copy_is_bound_to_the_sources_etag_and_hashed_by_the_store(
    two_buckets: tuple[ObjectStore, ObjectStore],
) -> None:
    objects, other_bucket = two_buckets
    body = os.urandom(1_000)
    etag = objects.put("from", body)
    within = objects.copy("from", "to", if_match=etag)
    across = other_bucket.copy("from", "elsewhere", if_match=etag, source=objects)
    assert within.sha256 == across.sha256 == sha256(body)
    assert objects.get("to", if_match=within.etag).body == body
    assert other_bucket.get("elsewhere", if_match=across.etag).body == body


def test_a_copy_of_what_changed_or_vanished_is_refused(strict_objects: ObjectStore) -> None:
    etag = strict_objects.put("from", b"1")
    strict_objects.put("from", b"2")
    with pytest.raises(PreconditionFailed):
        strict_objects.copy("from", "to", if_match=etag)
    with pytest.raises((ObjectNotFound, PreconditionFailed)):
        strict_objects.copy("never", "to", if_match=etag)
    assert strict_objects.head("to") is None


@pytest.mark.parametrize("size", [0, 1_000, PART_BYTES, 2 * PART_BYTES + 17])
def test_files_go_up_and_come_down_whole(objects: ObjectStore, tmp_path: Path, size: int) -> None:
    body = os.urandom(size)
    (tmp_path / "up").write_bytes(body)
    (tmp_path / "down").write_bytes(b"replaced" * 10)
    etag = objects.put_file("file", tmp_path / "up", sha256=sha256(body))
    assert objects.head("file").etag == etag  # type: ignore[union-attr]
    objects.get_file("file", tmp_path / "down", if_match=etag)
    assert (tmp_path / "down").read_bytes() == body
    assert objects.copy("file", "copy", if_match=etag).sha256 == sha256(body)


@pytest.mark.parametrize("size", [1_000, PART_BYTES + 1])
def test_a_file_with_another_hash_is_refused_and_nothing_is_written(
    objects: ObjectStore, tmp_path: Path, size: int
) -> None:
    (tmp_path / "up").write_bytes(os.urandom(size))
    with pytest.raises(InvalidInput, match="SHA-256"):
        objects.put_file("file", tmp_path / "up", sha256=sha256(b"recorded earlier"))
    assert objects.head("file") is None


@pytest.mark.parametrize("size", [1_000, PART_BYTES + 1])
def test_a_file_that_changed_in_the_store_is_not_downloaded(objects: ObjectStore, tmp_path: Path, size: int) -> None:
    etag = objects.put("file", os.urandom(size))
    objects.put("file", os.urandom(size))
    with pytest.raises(PreconditionFailed):
        objects.get_file("file", tmp_path / "down", if_match=etag)
    with pytest.raises(ObjectNotFound):
        objects.get_file("never", tmp_path / "down")


def test_an_older_body_is_read_by_its_place_in_the_history(objects: ObjectStore) -> None:
    etags = [objects.put("k", body) for body in (b"first", b"the second")]
    objects.delete("k")
    marker, second, first = objects.list_versions("k")
    assert [(entry.etag, entry.size) for entry in (marker, second, first)] == [("", 0), (etags[1], 10), (etags[0], 5)]
    found = objects.get_version("k", first.version_id)
    assert found.body == b"first"
    assert (found.info.key, found.info.etag, found.info.size) == ("k", etags[0], 5)
    for version_id in (marker.version_id, "neverwas"):
        with pytest.raises(ObjectNotFound):
            objects.get_version("k", version_id)


@pytest.mark.parametrize("size", [0, 1_000, 2 * PART_BYTES + 17])
def test_a_large_object_is_streamed_whole(objects: ObjectStore, size: int) -> None:
    body = os.urandom(size)
    etag = objects.put("file", body)
    assert b"".join(objects.stream("file")) == b"".join(objects.stream("file", if_match=etag)) == body


def test_another_body_is_not_streamed(objects: ObjectStore) -> None:
    etag = objects.put("file", os.urandom(1_000))
    objects.put("file", os.urandom(1_000))
    with pytest.raises(PreconditionFailed):
        list(objects.stream("file", if_match=etag))
    with pytest.raises(ObjectNotFound):
        list(objects.stream("never"))


def test_an_entry_of_the_history_goes_for_good(objects: ObjectStore) -> None:
    for body in (b"first", b"second"):
        objects.put("h/k", body)
    objects.put("h/other", b"")
    objects.delete("h/k")
    marker, second, first = objects.list_versions("h/k")
    objects.delete_versions([first])
    assert [entry.version_id for entry in objects.list_versions("h/k")] == [marker.version_id, second.version_id]
    with pytest.raises(ObjectNotFound):
        objects.get_version("h/k", first.version_id)
    objects.delete_versions([first, marker])  # one of them is gone already
    assert objects.get("h/k").body == b"second"
    objects.delete_versions([second])
    objects.delete_versions([])
    assert [entry.key for entry in objects.list_versions("h/")] == ["h/other"]
    assert objects.head("h/k") is None


def test_more_entries_go_than_one_request_holds(strict_objects: ObjectStore) -> None:
    for number in range(505):
        strict_objects.put(f"d/{number:04d}", b"")
        strict_objects.delete(f"d/{number:04d}")
    history = list(strict_objects.list_versions("d/"))
    assert len(history) == 1_010
    strict_objects.delete_versions(history)
    assert list(strict_objects.list_versions("d/")) == []
