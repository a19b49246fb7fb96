"""The commit point: whatever happens to clocks, leases and replies, one promotion for each pinned ETag."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from siltstone import keys
from siltstone.compaction.documents import Pin
from siltstone.compaction.pointer import promote, read_pointer
from siltstone.compaction.version import Version
from siltstone.errors import ManifestDamaged, PointerMissing, PointerMoved, StoreUnavailable

from tests.unit.compaction.commit_path import FaultyObjects, House, Mishap

NEVER = Pin(version=None, etag=None)
POINTER = keys.pointer("lines")


def version(token: int) -> str:
    return str(Version.at(1_700_000_000 + token, token))


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def store(house: House) -> FaultyObjects:
    return house.snapshots


def history(store: FaultyObjects) -> list[int]:
    """Tokens of all bodies that the pointer ever had, oldest first."""
    bodies = [entry.body for entry in store._history.get(POINTER, []) if entry.body is not None]
    return [Version.parse(body.decode().split("/")[-2]).token for body in bodies]


def test_a_pointer_that_never_existed_is_no_version_and_no_error(store: FaultyObjects) -> None:
    assert read_pointer(store, "lines") == NEVER


def test_the_first_promotion_creates_and_the_next_matches_what_was_pinned(store: FaultyObjects) -> None:
    first = promote(store, "lines", pinned=NEVER, version=version(1))
    assert store.get(POINTER).body == f"snapshots/lines/{version(1)}/".encode()
    pinned = read_pointer(store, "lines")
    assert pinned == Pin(version=version(1), etag=first)
    second = promote(store, "lines", pinned=pinned, version=version(2))
    assert read_pointer(store, "lines") == Pin(version=version(2), etag=second)


def test_every_write_of_the_pointer_carries_a_condition(house: House) -> None:
    for execution in ("a", "b", "c"):
        house.compact(execution)
    written = [conditional for operation, key, conditional in house.snapshots.writes if key == POINTER]
    assert written == [True, True, True]


def test_of_two_runs_from_one_pin_the_second_is_refused_even_with_the_greater_token(store: FaultyObjects) -> None:
    promote(store, "lines", pinned=NEVER, version=version(1))
    pinned = read_pointer(store, "lines")
    promote(store, "lines", pinned=pinned, version=version(2))
    with pytest.raises(PointerMoved, match=version(2)):
        promote(store, "lines", pinned=pinned, version=version(3))
    assert history(store) == [1, 2]


def test_of_two_first_runs_one_is_refused(store: FaultyObjects) -> None:
    promote(store, "lines", pinned=NEVER, version=version(1))
    with pytest.raises(PointerMoved):
        promote(store, "lines", pinned=NEVER, version=version(2))
    assert history(store) == [1]


@pytest.mark.parametrize("start", ["new", "existing"])
def test_of_many_threads_from_one_pin_exactly_one_promotes(store: FaultyObjects, start: str) -> None:
    if start == "existing":
        promote(store, "lines", pinned=NEVER, version=version(1))
    pinned = read_pointer(store, "lines")

    def race(token: int) -> bool:
        try:
            promote(store, "lines", pinned=pinned, version=version(token))
        except PointerMoved:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(2, 18))) == 1
    assert len(history(store)) == (1 if start == "new" else 2)


@pytest.mark.parametrize("mishap", ["request lost", "reply lost"])
@pytest.mark.parametrize("start", ["new", "existing"])
def test_a_promotion_of_unknown_outcome_is_resolved_by_calling_again(
    store: FaultyObjects, mishap: Mishap, start: str
) -> None:
    if start == "existing":
        promote(store, "lines", pinned=NEVER, version=version(1))
    pinned = read_pointer(store, "lines")
    store.fail(1, mishap)
    with pytest.raises(StoreUnavailable):
        promote(store, "lines", pinned=pinned, version=version(2))
    etag = promote(store, "lines", pinned=pinned, version=version(2))
    assert read_pointer(store, "lines") == Pin(version=version(2), etag=etag)
    assert history(store) == ([2] if start == "new" else [1, 2])


def test_a_lost_reply_is_known_to_have_happened_when_a_descendant_is_current_by_now(house: House) -> None:
    house.compact("a")
    run = house.acquire("b")
    request = house.publish(run)
    pinned = house.pin()
    promote(house.snapshots, "lines", pinned=pinned, version=run.version)  # the reply is lost here
    house.release(run)
    house.compact("c")
    house.compact("d")
    assert promote(house.snapshots, "lines", pinned=pinned, version=request.run.version) == house.pin().etag
    assert history(house.snapshots) == [1, 2, 3, 4]


def test_a_version_that_was_published_but_overtaken_did_not_happen(house: House) -> None:
    house.compact("a")
    stale = house.acquire("b")
    house.publish(stale)
    pinned = house.pin()
    house.release(stale)
    house.compact("c")
    with pytest.raises(PointerMoved, match="its deltas are pending"):
        promote(house.snapshots, "lines", pinned=pinned, version=stale.version)
    assert history(house.snapshots) == [1, 3]


@pytest.mark.parametrize("token", [4, 5])
def test_tokens_only_grow_even_for_whoever_pinned_right(store: FaultyObjects, token: int) -> None:
    promote(store, "lines", pinned=NEVER, version=version(5))
    with pytest.raises(PointerMoved, match="not newer"):
        promote(store, "lines", pinned=read_pointer(store, "lines"), version=version(token))
    assert history(store) == [5]


def test_a_pointer_that_was_deleted_is_missing_never_new(store: FaultyObjects) -> None:
    promote(store, "lines", pinned=NEVER, version=version(1))
    pinned = read_pointer(store, "lines")
    store.delete(POINTER)
    with pytest.raises(PointerMissing, match="delete marker"):
        read_pointer(store, "lines")
    with pytest.raises(PointerMissing):
        promote(store, "lines", pinned=NEVER, version=version(2))
    with pytest.raises(PointerMissing):
        promote(store, "lines", pinned=pinned, version=version(2))
    assert history(store) == [1]


def test_a_stray_delete_marker_alone_is_a_history(store: FaultyObjects) -> None:
    store.delete(POINTER)
    with pytest.raises(PointerMissing):
        promote(store, "lines", pinned=NEVER, version=version(1))
    assert history(store) == []


def test_a_deleted_pointer_that_was_brought_back_goes_on_where_it_was(store: FaultyObjects) -> None:
    promote(store, "lines", pinned=NEVER, version=version(1))
    pinned = read_pointer(store, "lines")
    store.delete(POINTER)
    store.restore(POINTER, next(each.version_id for each in store.list_versions(POINTER) if not each.is_delete_marker))
    assert read_pointer(store, "lines") == pinned
    promote(store, "lines", pinned=pinned, version=version(2))


def test_a_first_promotion_between_the_reading_and_the_look_at_the_history_is_read_not_missed(house: House) -> None:
    class Overtaken(FaultyObjects):
        def list_versions(self, prefix: str, *, first: str = "", last: str | None = None):  # type: ignore[no-untyped-def]
            if self.head(POINTER) is None:
                self.put(POINTER, keys.version("lines", version(1)).encode(), create_only=True)
            return super().list_versions(prefix, first=first, last=last)

    assert read_pointer(Overtaken(house.clock), "lines").version == version(1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"snapshots/lines/",
        b"snapshots/lines//",
        b"snapshots/words/20260101_000000_00000001/",
        b"snapshots/lines/20260101_000000_00000001",
        b"snapshots/lines/20260101_000000_00000001/\n",
        b"snapshots/lines/20260101_000000_00000001\n/",
        b"snapshots/lines/20260101_000000_000000001/",
        b"snapshots/lines/latest/",
        b"snapshots/lines/../lines/20260101_000000_00000001/",
        b"\xff\xfe\x00",
        b"x" * 5_000_000,
    ],
)
def test_a_body_that_is_no_version_of_the_collection_is_damage_and_is_not_overwritten(
    store: FaultyObjects, body: bytes
) -> None:
    etag = store.put(POINTER, body)
    with pytest.raises(ManifestDamaged, match=re.escape(POINTER)):
        read_pointer(store, "lines")
    with pytest.raises(ManifestDamaged):
        promote(store, "lines", pinned=Pin(version=version(1), etag="0" * 32), version=version(2))
    assert store.get(POINTER).info.etag == etag


def test_pointers_of_collections_with_like_names_do_not_touch_each_other(store: FaultyObjects) -> None:
    promote(store, "line", pinned=NEVER, version=version(9))
    assert read_pointer(store, "lines") == NEVER
    promote(store, "lines", pinned=NEVER, version=version(1))
    assert read_pointer(store, "line").version == version(9)
