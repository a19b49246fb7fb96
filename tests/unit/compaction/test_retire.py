"""Retire: only what a promoted version contains is deleted, only versions beyond retention, and twice is once."""

from __future__ import annotations

import pytest
from siltstone import keys
from siltstone.compaction import retention
from siltstone.compaction.lock import LEASE_SECONDS
from siltstone.compaction.messages import RetireInput, RetireOutput, Run
from siltstone.compaction.promote_pointer import promote_pointer
from siltstone.compaction.retire import retire
from siltstone.compaction.version import Version
from siltstone.errors import InvalidInput, LockLost, PointerMissing, PointerMoved, StoreUnavailable, UnknownVersion
from siltstone.settings import RetentionSettings

from tests.unit.compaction.commit_path import House, Mishap
from tests.unit.embedding.faults import Hooked, key_ends

DAY = 86_400
SHORT = RetentionSettings(keep_seconds=2 * DAY, keep_at_least=1, grace_seconds=3_600)


@pytest.fixture
def house() -> House:
    return House(SHORT)


def promoted(house: House, execution: str, *names: str) -> tuple[Run, str]:
    run = house.acquire(execution)
    request = house.publish(run, *[house.delta(name) for name in names])
    return run, promote_pointer(request, house.stores, house.clock).version


def retired(house: House, run: Run, version: str | None) -> RetireOutput:
    return retire(RetireInput(run=run, version=version), house.stores, house.clock)


def test_the_deltas_of_the_promoted_version_go_and_the_others_stay(house: House) -> None:
    run, version = promoted(house, "a", "d1", "d2")
    house.delta("d3")
    assert retired(house, run, version).deltas_deleted == 2
    assert house.pending() == ["d3"]


def test_before_the_promotion_nothing_is_deleted(house: House) -> None:
    run = house.acquire("a")
    house.publish(run, house.delta("d1"))
    with pytest.raises(PointerMoved):
        retired(house, run, run.version)
    assert house.pending() == ["d1"]


def test_what_was_retired_can_be_brought_back_from_the_versioned_bucket(house: House) -> None:
    run, version = promoted(house, "a", "d1")
    retired(house, run, version)
    key = keys.delta("lines", "d1")
    written = next(entry for entry in house.deltas.list_versions(key) if not entry.is_delete_marker)
    house.deltas.restore(key, written.version_id)
    assert house.pending() == ["d1"]


def test_running_again_changes_nothing(house: House) -> None:
    run, version = promoted(house, "a", "d1")
    retired(house, run, version)
    writes = [list(house.deltas.list_versions("")), list(house.snapshots.list_versions(""))]
    retired(house, run, version)
    assert writes == [list(house.deltas.list_versions("")), list(house.snapshots.list_versions(""))]


@pytest.mark.parametrize("mishap", ["request lost", "reply lost"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_retirement_that_was_broken_off_is_completed_by_running_again(house: House, nth: int, mishap: Mishap) -> None:
    run, version = promoted(house, "a", "d1", "d2", "d3")
    house.deltas.fail(nth, mishap)
    with pytest.raises(StoreUnavailable):
        retired(house, run, version)
    house.deltas.countdown = None
    retired(house, run, version)
    assert house.pending() == []


def test_another_body_under_a_deltas_key_is_left(house: House) -> None:
    run, version = promoted(house, "a", "d1", "d2")
    house.deltas.put(keys.delta("lines", "d1"), b"another")
    assert retired(house, run, version).deltas_deleted == 1
    assert house.pending() == ["d1"]


def test_every_delete_of_a_delta_is_bound_to_its_etag(house: House) -> None:
    run, version = promoted(house, "a", "d1", "d2")
    house.deltas.writes.clear()
    retired(house, run, version)
    assert [(operation, conditional) for operation, _, conditional in house.deltas.writes] == [("delete", True)] * 2


def test_an_ancestor_of_the_current_version_may_still_retire(house: House) -> None:
    run, version = promoted(house, "a", "d1")
    house.release(run)
    later, _ = promoted(house, "b", "d2")
    assert retired(house, later, version).deltas_deleted == 1
    assert house.pending() == ["d2"]


def test_a_version_that_was_never_promoted_retires_nothing(house: House) -> None:
    house.compact("a")
    stale = house.acquire("b")
    house.publish(stale, house.delta("d1"))
    house.release(stale)
    current, _ = promoted(house, "c")
    with pytest.raises(PointerMoved, match="pending again"):
        retired(house, current, stale.version)
    assert house.pending() == ["d1"]


def test_a_run_that_lost_its_lock_deletes_nothing(house: House) -> None:
    run, version = promoted(house, "a", "d1")
    house.clock.advance(3_600)
    house.acquire("b")
    with pytest.raises(LockLost):
        retired(house, run, version)
    assert house.pending() == ["d1"]


def test_a_pointer_that_is_gone_stops_it(house: House) -> None:
    run, version = promoted(house, "a", "d1")
    house.snapshots.delete(keys.pointer("lines"))
    with pytest.raises(PointerMissing):
        retired(house, run, version)
    assert house.pending() == ["d1"]


def test_where_no_version_exists_there_is_nothing_to_do(house: House) -> None:
    run = house.acquire("a")
    assert retired(house, run, None) == RetireOutput(deltas_deleted=0, versions_deleted=0)


# Versions -----------------------------------------------------------------------------------------
def compact_daily(house: House, days: int) -> list[str]:
    """One version a day; the last one is promoted a moment ago."""
    made: list[str] = []
    for day in range(days):
        if day:
            house.clock.advance(DAY)
        made.append(house.compact(f"day-{day}", and_retire=False))
    return made


def sweep(house: House) -> int:
    run = house.acquire("sweep")
    try:
        return retired(house, run, house.pin().version).versions_deleted
    finally:
        house.release(run)


def test_versions_that_were_superseded_long_enough_ago_go(house: House) -> None:
    made = compact_daily(house, 6)
    # made[i] was superseded on day i + 1, of which its successor's own successor, made on day i + 2, is the witness.
    assert sweep(house) == 2
    assert house.versions() == made[2:]


def test_a_version_that_was_current_until_a_moment_ago_stays_however_old_it_is(house: House) -> None:
    made = compact_daily(house, 2)
    house.clock.advance(300 * DAY)
    made += [house.compact("late", and_retire=False), house.compact("later", and_retire=False)]
    sweep(house)
    assert house.versions() == made[1:]
    house.clock.advance(2 * DAY)
    sweep(house)
    assert house.versions() == made[2:]


def test_grace_holds_even_where_nothing_else_is_to_be_kept() -> None:
    house = House(RetentionSettings(keep_seconds=0, keep_at_least=1, grace_seconds=3_600))
    made = [house.compact(name, and_retire=False) for name in ("a", "b", "c", "d")]
    assert sweep(house) == 0
    house.clock.advance(3_599)
    assert sweep(house) == 0
    house.clock.advance(1)
    assert sweep(house) == 2
    assert house.versions() == made[2:]


def test_a_version_stays_as_long_as_an_attempt_of_upload_that_was_given_up_may_still_write_its_manifest() -> None:
    house = House(RetentionSettings(keep_seconds=0, keep_at_least=1, grace_seconds=0))
    overtaken = house.acquire("overtaken")
    house.publish(overtaken, house.delta("d1"))
    house.clock.advance(LEASE_SECONDS + 1)
    house.compact("winner", and_retire=False)
    house.clock.advance(retention.ATTEMPT_SECONDS - 1)
    assert sweep(house) == 0
    assert overtaken.version in house.versions()
    house.clock.advance(1)
    assert sweep(house) == 1
    assert overtaken.version not in house.versions()


def test_at_least_so_many_stay_however_old_they_are() -> None:
    house = House(RetentionSettings(keep_seconds=0, keep_at_least=3, grace_seconds=0))
    made = compact_daily(house, 6)
    house.clock.advance(1_000 * DAY)
    sweep(house)
    assert house.versions() == made[2:]


def test_the_current_version_stays_however_old_it_is(house: House) -> None:
    made = compact_daily(house, 1)
    house.clock.advance(1_000 * DAY)
    assert sweep(house) == 0
    assert house.versions() == made


def test_a_pinned_version_stays_until_it_is_unpinned(house: House) -> None:
    made = compact_daily(house, 6)
    retention.pin(house.snapshots, "lines", made[0])
    assert sweep(house) == 1
    assert house.versions() == [made[0], *made[2:]]
    retention.unpin(house.snapshots, "lines", made[0])
    assert sweep(house) == 1
    assert house.versions() == made[2:]


def test_only_a_version_that_exists_can_be_pinned(house: House) -> None:
    house.compact("a")
    with pytest.raises(UnknownVersion):
        retention.pin(house.snapshots, "lines", "20200101_000000_00000077")
    with pytest.raises(InvalidInput):
        retention.pin(house.snapshots, "lines", "latest")
    assert retention.pinned(house.snapshots, "lines") == set()


MOMENTS = {
    "put mark": ("put", "removing"),
    "look for pins": ("head", "pins"),
    "delete manifest": ("delete", "manifest.json"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_version_whose_pin_succeeded_is_there_whenever_retention_was_on_its_way(house: House, moment: str) -> None:
    made = compact_daily(house, 6)
    pinned: list[bool] = []

    def pin() -> None:
        try:
            retention.pin(house.snapshots, "lines", made[0])
        except UnknownVersion:
            pinned.append(False)
        else:
            pinned.append(True)

    method, key = MOMENTS[moment]
    store = Hooked(house.snapshots, method, pin, when=key_ends(f"{key}/{made[0]}", f"{made[0]}/{key}"))
    current = house.pin().version
    assert current is not None
    retention.remove_expired(store, "lines", current, SHORT)
    assert pinned == [moment == "put mark"]
    assert (made[0] in house.versions()) == (moment == "put mark")
    assert retention.pinned(house.snapshots, "lines") == ({made[0]} if pinned == [True] else set())


def test_the_mark_of_a_removal_goes_with_its_version(house: House) -> None:
    made = compact_daily(house, 6)
    house.snapshots.put(f"snapshots/lines/removing/{made[0]}", b"")  # one that stopped before anything was deleted
    house.snapshots.put("snapshots/lines/removing/20200101_000000_00000001", b"")  # one that stopped at its end
    assert sweep(house) == 2
    assert list(house.snapshots.list("snapshots/lines/removing/")) == []


def test_a_version_loses_its_manifest_first_so_a_half_deleted_one_does_not_exist(house: House) -> None:
    made = compact_daily(house, 5)
    house.snapshots.writes.clear()
    house.snapshots.fail(3, "request lost")  # the first is the mark, the second the manifest's delete
    with pytest.raises(StoreUnavailable):
        sweep(house)
    deleted = [key for operation, key, _ in house.snapshots.writes if operation == "delete"]
    assert deleted[0] == keys.manifest("lines", made[0])
    assert house.snapshots.head(keys.manifest("lines", made[0])) is None
    house.snapshots.countdown = None
    house.clock.advance(2 * DAY)
    sweep(house)
    assert made[0] not in house.versions()


def test_the_remains_of_a_failed_upload_go_after_a_day_and_only_below_the_current_token(house: House) -> None:
    below = keys.version("lines", str(Version.at(house.clock.now(), 1))) + "chroma.sqlite3"
    house.snapshots.put(below, b"")
    house.compact("a")  # takes token 2
    above = keys.version("lines", str(Version.at(house.clock.now(), 3))) + "chroma.sqlite3"
    house.snapshots.put(above, b"")
    house.clock.advance(DAY - 1)
    assert sweep(house) == 0
    assert house.snapshots.head(below) is not None
    house.clock.advance(1)
    sweep(house)
    assert house.snapshots.head(below) is None
    assert house.snapshots.head(above) is not None


def test_an_upload_that_was_never_promoted_goes_like_the_version_that_overtook_it(house: House) -> None:
    house.compact("a")
    stale = house.acquire("b")
    house.publish(stale)
    house.release(stale)
    house.compact("c")
    assert sweep(house) == 0
    house.clock.advance(2 * DAY)
    sweep(house)
    assert stale.version not in house.versions()


def test_the_pointer_the_pins_and_other_collections_are_never_touched(house: House) -> None:
    made = compact_daily(house, 6)
    retention.pin(house.snapshots, "lines", made[-1])
    other = keys.version("lines-2", made[0]) + "chroma.sqlite3"
    house.snapshots.put(other, b"")
    house.clock.advance(100 * DAY)
    sweep(house)
    assert house.snapshots.head(other) is not None
    assert house.pin().version == made[-1]
    assert retention.pinned(house.snapshots, "lines") == {made[-1]}
