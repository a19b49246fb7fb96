"""One process reads whole versions that only get newer, whatever happens to the pointer and to what it names."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from siltstone import keys
from siltstone.compaction.retention import ATTEMPT_SECONDS
from siltstone.compaction.rollback import rollback
from siltstone.errors import InvalidInput, ManifestDamaged, PointerMissing, SnapshotDamaged, UnknownVersion
from siltstone.query.reader import SnapshotReader
from siltstone.settings import RetentionSettings

from tests.unit.query.house import CHROMA, MEMORY, House, names

NOTHING_KEPT = RetentionSettings(keep_seconds=0, keep_at_least=1, grace_seconds=0)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, MEMORY, collections=("texts", "others"), retention=NOTHING_KEPT)
    made.upsert("a", seed=1)
    made.compact()
    yield made
    made.close()


def spoil(house: House, version: str) -> bytes:
    """Damage a file of a version; what it was."""
    key = keys.version("texts", version) + "rows.json"
    body = house.snapshots.get(key).body
    house.snapshots.put(key, body[:-1] + b" ")
    return body


def next_version(house: House, row: str, collection: str = "texts") -> str:
    house.upsert(row, collection=collection)
    return house.compact(collection)


# Refreshing -------------------------------------------------------------------------------------------
def test_a_new_version_is_served_once_the_pointer_was_asked_again(house: House) -> None:
    first = house.ask("count").version
    house.upsert("b")
    house.clock.advance(61)
    second = house.finish(house.prepare())
    assert house.ask("count").version == second  # a minute has passed
    house.upsert("c")
    house.clock.advance(61)
    prepared = house.prepare()
    assert house.ask("count").version == second
    third = house.finish(prepared)
    assert house.ask("count").version == second  # asked a moment ago
    house.clock.advance(2)
    assert house.ask("count").version == third
    assert first is not None and first < second < third


def test_the_pointer_is_asked_at_most_once_in_an_interval(house: House) -> None:
    house.ask("count")
    house.snapshots.forget()
    for _ in range(20):
        house.ask("count")
        house.clock.advance(0.5)
    asked = [name for name, key in house.snapshots.keys if "pointer" in key]
    assert asked == ["get_if_changed"] * 4
    assert len(house.snapshots.keys) == 4  # and nothing else is


def test_a_collection_without_a_version_is_not_asked_for_by_every_query(house: House) -> None:
    house.upsert("a", collection="others")
    house.snapshots.forget()
    for _ in range(20):
        with house.readers.snapshots.reading("others") as reading:
            assert reading is None
        house.clock.advance(0.5)
    assert house.snapshots.calls["read"] == 5
    house.compact("others")
    assert house.ask("count", collection_name="others").count == 1


def test_a_strong_read_asks_every_time(house: House) -> None:
    house.ask("count")
    house.snapshots.forget()
    house.ask("count", consistency="strong")
    house.ask("count", consistency="strong")
    assert house.snapshots.calls == {"get_if_changed": 2}


# Failing to refresh -----------------------------------------------------------------------------------
def test_a_refresh_that_fails_keeps_serving_and_says_so_until_it_succeeds(house: House) -> None:
    first = house.ask("count").version
    second = next_version(house, "b")
    body = spoil(house, second)
    for _ in range(3):
        answer = house.ask("count")
        assert (answer.version, answer.count) == (first, 1)
        assert answer.stale is not None and "SnapshotDamaged" in answer.stale
        house.clock.advance(3)
    with pytest.raises(SnapshotDamaged):  # its deltas are retired: the version before lacks them
        house.ask("count", consistency="strong")
    house.snapshots.put(keys.version("texts", second) + "rows.json", body)
    answer = house.ask("count")
    assert (answer.version, answer.count, answer.stale) == (second, 2, None)
    assert house.ask("count").stale is None  # also while nothing is asked
    assert len(house.folders()) == 1


def test_it_is_not_tried_again_by_every_query(house: House) -> None:
    house.ask("count")
    spoil(house, next_version(house, "b"))
    house.ask("count")
    house.snapshots.forget()
    assert house.ask("count").stale
    assert not house.snapshots.keys


def test_whatever_keeps_the_new_version_from_opening_the_old_one_is_served(house: House) -> None:
    house.ask("count")
    next_version(house, "b")

    def break_() -> None:
        raise OSError(5, "Input/output error")

    house.snapshots.before("read", break_)
    answer = house.ask("count")
    assert answer.count == 1 and answer.stale is not None and "Input/output" in answer.stale
    house.clock.advance(3)
    assert house.ask("count").count == 2


def test_a_pointer_that_is_gone_is_told_and_never_taken_for_an_empty_collection(house: House) -> None:
    house.ask("count")
    house.snapshots.delete(keys.pointer("texts"))
    house.clock.advance(3)
    answer = house.ask("count")
    assert answer.count == 1 and answer.stale is not None and answer.stale.startswith("PointerMissing")
    with pytest.raises(PointerMissing):
        house.ask("count", consistency="strong")
    with pytest.raises(PointerMissing):
        house.ask("count", readers=house.new_readers())


def test_a_pointer_that_names_no_version_is_told(house: House) -> None:
    house.ask("count")
    house.snapshots.put(keys.pointer("texts"), b"snapshots/texts/nonsense/")
    house.clock.advance(3)
    assert "ManifestDamaged" in (house.ask("count").stale or "")
    with pytest.raises(ManifestDamaged):
        house.ask("count", readers=house.new_readers())


def test_a_current_version_without_a_manifest_is_damage_and_not_unknown(house: House) -> None:
    version = next_version(house, "b")
    house.snapshots.delete(keys.manifest("texts", version))
    with pytest.raises(SnapshotDamaged, match="has no manifest"):
        house.ask("count")


# Order ------------------------------------------------------------------------------------------------
def test_a_reader_never_goes_back(house: House) -> None:
    first = house.ask("count").version
    old_pointer = house.snapshots.get(keys.pointer("texts")).body
    second = next_version(house, "b")
    assert house.ask("count").version == second
    house.snapshots.put(keys.pointer("texts"), old_pointer)
    for consistency in ("snapshot", "strong", "snapshot"):
        house.clock.advance(3)
        assert house.ask("count", consistency=consistency).version == second
    assert house.ask("count", readers=house.new_readers()).version == first  # another process has seen nothing yet


def test_a_rollback_is_followed_like_any_other_version(house: House) -> None:
    first = house.ask("count").version
    next_version(house, "b")
    assert house.ids("snapshot") == ["a", "b"]
    assert first is not None
    promoted = rollback("texts", first, house.stores, house.clock)
    house.readers_may_refresh()
    answer = house.ask("get")
    assert answer.results is not None and answer.results.ids == ["a"]
    assert answer.version == promoted.version
    assert house.ids() == ["a"]  # what was undone does not come back as a pending delta


def test_a_version_that_retention_removes_while_it_is_fetched_is_not_waited_for(house: House) -> None:
    house.ask("count")
    next_version(house, "b")

    def two_more() -> None:
        next_version(house, "c")
        next_version(house, "d")
        next_version(house, "e")

    house.snapshots.before("read", two_more)
    assert house.ids("snapshot") == ["a", "b", "c", "d", "e"]
    house.snapshots.before("read", two_more, keys.MANIFEST_FILE)
    assert house.ids("snapshot", readers=house.new_readers()) == ["a", "b", "c", "d", "e"]
    assert house.snapshots.all_ran


# Old versions -----------------------------------------------------------------------------------------
def test_an_old_version_is_read_as_it_was(house: House) -> None:
    first = house.ask("count").version
    second = next_version(house, "b")
    assert house.ids("snapshot", version=first) == ["a"]
    assert house.ids("snapshot", version=second) == house.ids("snapshot") == ["a", "b"]
    assert house.ask("count", version=first).version == first


def test_one_that_is_past_retention_or_never_was_is_unknown(house: House) -> None:
    first = house.ask("count").version
    for row in "bcd":
        house.clock.advance(ATTEMPT_SECONDS)
        next_version(house, row)
    fresh = house.new_readers()
    for version in (first, "20260131_235959_00000042"):
        with pytest.raises(UnknownVersion, match="siltstone versions"):
            house.ask("count", version=version, readers=fresh)
    assert len(house.folders()) == 1  # that of the first reader: nothing is left of what was not there


# Files ------------------------------------------------------------------------------------------------
def test_who_still_reads_a_version_that_was_replaced_finishes_first(house: House) -> None:
    with house.readers.snapshots.reading("texts") as before:
        assert before is not None
        next_version(house, "b")
        assert house.ask("count").count == 2
        assert before.index.count() == 1
        assert len(house.folders()) == 2
    assert len(house.folders()) == 1
    with pytest.raises(ValueError, match="closed"):
        before.index.count()


def test_closing_lets_readers_finish_and_leaves_nothing(house: House) -> None:
    with house.readers.snapshots.reading("texts") as reading:
        house.readers.snapshots.close()
        assert reading is not None and reading.index.count() == 1
        with pytest.raises(InvalidInput, match="closed"):
            house.ask("count")
    assert not list(house.scratch.iterdir())
    house.readers.snapshots.close()


def test_what_a_killed_reader_left_is_removed_by_the_next(house: House) -> None:
    house.ask("count")
    dead = house.scratch / "private-dead"
    shutil.copytree(house.folders()[0], dead / "version")
    reader = SnapshotReader(house.snapshots, house.clock, house.scratch, MEMORY.index)
    assert not dead.exists()
    assert house.ask("count").count == 1  # the living one keeps its files
    assert len(house.folders()) == 1
    reader.close()


def test_disk_and_memory_are_bounded_over_many_collections(tmp_path: Path) -> None:
    house = House(tmp_path, MEMORY, collections=names(6, "texts"), keep_bytes=1)
    for name in names(6, "texts"):
        house.upsert("a", "b", collection=name)
        house.compact(name)
        assert house.ask("count", collection_name=name).count == 2
    assert len(house.folders()) == 1
    for name in names(6, "texts"):
        assert house.ask("count", collection_name=name).count == 2
        assert house.ask("count", collection_name=name, consistency="strong").count == 2
    assert len(house.folders()) == 1
    house.close()


def test_a_version_that_made_room_and_was_removed_meanwhile_is_not_missed(tmp_path: Path) -> None:
    house = House(tmp_path, MEMORY, collections=("texts", "others"), keep_bytes=1, retention=NOTHING_KEPT)
    for name in ("texts", "others"):
        house.upsert("a", collection=name)
        house.compact(name)
    house.ask("count")
    house.ask("count", collection_name="others")
    for row in "bcd":
        house.upsert(row)
        house.clock.advance(ATTEMPT_SECONDS)
        house.finish(house.prepare())
    house.ask("count", collection_name="others")
    house.readers.snapshots._collections["texts"].asked = house.clock.monotonic()  # asked a moment ago
    assert house.ids("snapshot") == ["a", "b", "c", "d"]
    house.close()


# Threads ----------------------------------------------------------------------------------------------
def test_others_go_on_with_the_old_version_while_one_fetches_the_new_one(house: House) -> None:
    house.ask("count")
    next_version(house, "b")
    fetching, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        fetching.set()
        assert go_on.wait(10)

    house.snapshots.before("read", wait)
    one = threading.Thread(target=lambda: house.ask("count"))
    one.start()
    assert fetching.wait(10)
    assert house.ask("count").count == 1
    go_on.set()
    one.join(10)
    assert house.ask("count").count == 2


@pytest.mark.parametrize("named", [True, False])
def test_several_threads_that_want_a_version_fetch_it_once(house: House, named: bool) -> None:
    version = house.ask("count", readers=house.new_readers()).version if named else None
    counts: list[int | None] = []
    barrier = threading.Barrier(6)

    def ask() -> None:
        barrier.wait()
        counts.append(house.ask("count", version=version).count)

    house.snapshots.before("read", lambda: time.sleep(0.05))
    house.snapshots.forget()
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert counts == [1] * 6
    fetched = [key for name, key in house.snapshots.keys if name == "read"]
    assert len(fetched) == len(set(fetched))


def open_files(folder: Path) -> list[str]:
    found: list[str] = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if str(folder) in target and "chroma.sqlite3" in target:
            found.append(target)
    return found


def test_threads_query_while_versions_move_and_see_whole_ones_in_order(tmp_path: Path) -> None:
    house = House(tmp_path, CHROMA)
    known: dict[str | None, list[str]] = {}
    house.upsert(*names(20), seed=1)
    known[house.compact()] = names(20)
    problems: list[object] = []
    stop = threading.Event()

    def read(consistency: str) -> None:
        last = ""
        while not stop.is_set():
            try:
                answer = house.ask("get", consistency=consistency, limit=1_000)
                found = house.ask(consistency=consistency, query_text="x", n_results=1_000).results
                assert answer.results is not None and found is not None
                if consistency == "snapshot":
                    assert answer.results.ids == known[answer.version]
                assert len(set(found.ids)) == len(found.ids)
                assert answer.version is not None and answer.version >= last
                last = answer.version
            except Exception as error:
                problems.append(error)
                return

    threads = [threading.Thread(target=read, args=[kind]) for kind in ("snapshot", "snapshot", "snapshot", "strong")]
    for thread in threads:
        thread.start()
    rows = names(20)
    for step in range(4):
        house.upsert(f"new{step}")
        rows = sorted([*rows, f"new{step}"])
        house.clock.advance(61)
        prepared = house.prepare()
        assert prepared is not None
        known[prepared[0].version] = rows
        house.finish(prepared)
        house.readers_may_refresh()
        time.sleep(0.15)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not problems, problems[0]
    assert house.ids("snapshot") == rows
    assert len(house.folders()) == 1
    house.readers.snapshots.close()
    assert not list(house.scratch.iterdir())
    deadline = time.monotonic() + 5
    while open_files(house.scratch) and time.monotonic() < deadline:
        time.sleep(0.05)  # sqlite's own thread lets go a moment after close()
    assert not open_files(house.scratch)
    house.close()
