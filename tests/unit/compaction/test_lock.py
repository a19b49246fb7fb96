"""The lock of a collection: one run at a time, and a token that S3 has never seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from siltstone import keys
from siltstone.compaction import lock
from siltstone.compaction.acquire_lock import acquire_lock
from siltstone.compaction.messages import AcquireLockInput, RunInput
from siltstone.compaction.renew_lock import renew_lock
from siltstone.compaction.version import Version
from siltstone.errors import LockBusy, LockLost, PointerMissing, UnknownCollection
from siltstone.stores.leases_memory import MemoryLeases

from tests.unit.compaction.commit_path import House

LONGEST_STATE = 15 * 60  # what Lambda allows


@pytest.fixture
def house() -> House:
    return House()


def test_a_run_is_named_by_its_execution_and_its_version_by_the_time_and_token_of_the_lock(house: House) -> None:
    run = acquire_lock(AcquireLockInput(collection="lines", execution="hourly", index=3), house.stores, house.clock)
    assert (run.owner, run.token, run.version) == ("hourly-3", 1, "20231114_221320_00000001")
    held = house.leases.read("compaction#lines")
    assert held is not None
    assert held.owner == "hourly-3"


def test_a_collection_without_settings_takes_no_lock(house: House) -> None:
    with pytest.raises(UnknownCollection, match="nobodys"):
        acquire_lock(AcquireLockInput(collection="nobodys", execution="e", index=0), house.stores, house.clock)
    assert house.leases.read("compaction#nobodys") is None


def test_acquiring_again_after_a_lost_reply_is_the_same_run(house: House) -> None:
    first = house.acquire("a")
    house.clock.advance(30)
    assert house.acquire("a") == first


def test_another_execution_finds_the_lock_busy(house: House) -> None:
    house.acquire("a")
    with pytest.raises(LockBusy, match="a-0"):
        house.acquire("b")


def test_a_lease_outlives_the_longest_state(house: House) -> None:
    house.acquire("a")
    house.clock.advance(LONGEST_STATE + 60)
    with pytest.raises(LockBusy):
        house.acquire("b")


def test_an_execution_that_was_stopped_by_hand_heals_by_expiry(house: House) -> None:
    first = house.acquire("a")
    house.clock.advance(lock.LEASE_SECONDS + 1)
    assert house.acquire("b").token == first.token + 1
    with pytest.raises(LockLost):
        renew_lock(RunInput(run=first), house.stores, house.clock)


def test_renewing_tells_the_new_expiry(house: House) -> None:
    run = house.acquire("a")
    house.clock.advance(100)
    renewed = renew_lock(RunInput(run=run), house.stores, house.clock)
    assert renewed.expires == house.clock.now() + lock.LEASE_SECONDS


def test_what_a_run_takes_is_kept_by_later_renewals(house: House) -> None:
    run = house.acquire("a")
    lock.renew(run, house.stores, house.clock, taking=5)
    assert lock.renew(run, house.stores, house.clock).taking == 5


def test_a_lock_table_that_was_lost_never_hands_out_a_token_of_the_pointer_again(house: House) -> None:
    for execution in ("a", "b", "c"):
        house.compact(execution)
    house.stores = replace(house.stores, leases=MemoryLeases())
    assert house.acquire("d").token == 4


def test_a_lock_table_that_was_restored_from_an_old_backup_goes_on_above_the_pointer(house: House) -> None:
    house.compact("a")
    old = MemoryLeases()
    old.acquire("compaction#lines", "a-0", now=house.clock.now(), seconds=1200, floor=0)
    old.release("compaction#lines", "a-0", 1, take=None, failures=0)
    house.compact("b")
    house.compact("c")
    house.stores = replace(house.stores, leases=old)
    assert house.acquire("d").token == 4


def test_a_token_under_which_an_upload_failed_is_never_used_again(house: House) -> None:
    house.compact("a")
    lost = Version.at(house.clock.now(), 17)  # died before its manifest
    house.snapshots.put(keys.version("lines", str(lost)) + "chroma.sqlite3", b"")
    house.stores = replace(house.stores, leases=MemoryLeases())
    assert house.acquire("b").token == 18


def test_what_is_no_version_among_the_folders_is_no_token(house: House) -> None:
    house.compact("a")
    house.snapshots.put(f"{keys.pins('lines')}{house.pin().version}", b"")
    house.snapshots.put("snapshots/lines/99999999_999999/strange", b"")
    assert lock.token_floor(house.snapshots, "lines") == 1


def test_a_pointer_that_is_gone_stops_a_run_before_it_holds_anything(house: House) -> None:
    house.compact("a")
    house.snapshots.delete(keys.pointer("lines"))
    with pytest.raises(PointerMissing):
        house.acquire("b")
    free = house.leases.read("compaction#lines")
    assert free is not None
    assert free.owner is None


def test_the_pointers_own_token_counts_even_where_its_version_is_gone(house: House) -> None:
    version = house.compact("a")
    prefix = keys.version("lines", version)
    house.snapshots.delete_many([found.key for found in house.snapshots.list(prefix)])
    assert lock.token_floor(house.snapshots, "lines") == 1
