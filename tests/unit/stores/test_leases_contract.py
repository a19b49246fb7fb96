"""What a lease store must do, of DynamoDB and of its twin in memory alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from siltstone.errors import LockBusy, LockLost
from siltstone.stores.leases import Lease, LeaseStore

LOCK = "compaction#lines"
NOW = 1_700_000_000.5


def acquire(leases: LeaseStore, owner: str, now: float = NOW, floor: int = 0) -> Lease:
    return leases.acquire(LOCK, owner, now=now, seconds=1200, floor=floor)


def test_a_lock_nobody_ever_took_is_not_there(leases: LeaseStore) -> None:
    assert leases.read(LOCK) is None


def test_the_first_owner_gets_token_one_and_all_is_stored(leases: LeaseStore) -> None:
    lease = acquire(leases, "a")
    assert lease == Lease(LOCK, 1, "a", expires=NOW + 1200, acquired_at=NOW, heartbeat=NOW)
    assert leases.read(LOCK) == lease


def test_another_owner_is_refused_with_the_holder_and_the_expiry(leases: LeaseStore) -> None:
    acquire(leases, "a")
    with pytest.raises(LockBusy, match=r"held by a \(token 1\) until 2023-11-14T22:33:20Z"):
        acquire(leases, "b", NOW + 1200)  # the lease's last moment still counts
    assert leases.read(LOCK) == Lease(LOCK, 1, "a", expires=NOW + 1200, acquired_at=NOW, heartbeat=NOW)


def test_an_expired_lock_goes_to_the_next_owner_with_the_next_token(leases: LeaseStore) -> None:
    acquire(leases, "a")
    lease = acquire(leases, "b", NOW + 1201)
    assert (lease.owner, lease.token, lease.acquired_at) == ("b", 2, NOW + 1201)


def test_the_same_owner_again_gets_the_same_token_and_time_and_a_new_expiry(leases: LeaseStore) -> None:
    first = acquire(leases, "a")
    again = acquire(leases, "a", NOW + 30, floor=99)
    assert (again.token, again.acquired_at, again.expires) == (first.token, first.acquired_at, NOW + 1230)


def test_the_same_owner_gets_its_expired_lock_back_if_nobody_took_it(leases: LeaseStore) -> None:
    acquire(leases, "a")
    assert acquire(leases, "a", NOW + 5000).token == 1


def test_a_token_is_raised_above_the_floor_where_the_table_is_behind(leases: LeaseStore) -> None:
    assert acquire(leases, "a", floor=41).token == 42
    leases.release(LOCK, "a", 42, take=None, failures=0)
    assert acquire(leases, "b", floor=7).token == 43


def test_a_released_lock_keeps_its_token_and_what_the_next_run_must_know(leases: LeaseStore) -> None:
    acquire(leases, "a")
    assert leases.release(LOCK, "a", 1, take=8, failures=2)
    free = leases.read(LOCK)
    assert free is not None
    assert (free.token, free.owner, free.take, free.failures) == (1, None, 8, 2)
    lease = acquire(leases, "b", NOW + 1)
    assert (lease.token, lease.take, lease.failures, lease.taking) == (2, 8, 2, None)
    assert leases.release(LOCK, "b", 2, take=None, failures=0)
    reset = leases.read(LOCK)
    assert reset is not None
    assert (reset.take, reset.failures) == (None, 0)


def test_which_delta_a_run_took_alone_is_forgotten_with_it_and_the_suspect_is_not(leases: LeaseStore) -> None:
    acquire(leases, "a")
    assert leases.renew(LOCK, "a", 1, now=NOW, seconds=1200, taking=1, alone="d1").alone == "d1"
    assert leases.renew(LOCK, "a", 1, now=NOW, seconds=1200).alone == "d1"
    assert leases.renew(LOCK, "a", 1, now=NOW, seconds=1200, taking=2).alone is None
    leases.renew(LOCK, "a", 1, now=NOW, seconds=1200, taking=1, alone="d2")
    assert leases.release(LOCK, "a", 1, take=1, failures=1, suspect="d2")
    lease = acquire(leases, "b", NOW + 1)
    assert (lease.alone, lease.taking, lease.suspect, lease.failures) == (None, None, "d2", 1)
    assert leases.release(LOCK, "b", 2, take=None, failures=0)
    free = leases.read(LOCK)
    assert free is not None
    assert free.suspect is None


def test_an_expired_run_leaves_its_suspect_to_the_next(leases: LeaseStore) -> None:
    acquire(leases, "a")
    leases.release(LOCK, "a", 1, take=1, failures=2, suspect="d1")
    acquire(leases, "b")
    leases.renew(LOCK, "b", 2, now=NOW, seconds=1200, taking=1, alone="d1")
    lease = acquire(leases, "c", NOW + 1201)
    assert (lease.suspect, lease.failures, lease.alone) == ("d1", 2, None)


def test_renewing_moves_the_expiry_and_keeps_what_the_run_takes(leases: LeaseStore) -> None:
    acquire(leases, "a")
    taken = leases.renew(LOCK, "a", 1, now=NOW + 10, seconds=1200, taking=5)
    assert (taken.expires, taken.heartbeat, taken.acquired_at, taken.taking) == (NOW + 1210, NOW + 10, NOW, 5)
    later = leases.renew(LOCK, "a", 1, now=NOW + 20, seconds=1200)
    assert (later.expires, later.taking) == (NOW + 1220, 5)
    assert leases.read(LOCK) == later


def test_renewing_succeeds_after_expiry_as_long_as_nobody_took_it(leases: LeaseStore) -> None:
    acquire(leases, "a")
    assert leases.renew(LOCK, "a", 1, now=NOW + 5000, seconds=1200).expires == NOW + 6200


@pytest.mark.parametrize(("owner", "token"), [("a", 1), ("b", 1), ("a", 2), ("nobody", 3)])
def test_renewal_and_release_touch_only_the_lock_of_the_same_owner_and_token(
    leases: LeaseStore, owner: str, token: int
) -> None:
    acquire(leases, "a")
    held = acquire(leases, "b", NOW + 1201)  # b holds token 2
    with pytest.raises(LockLost, match=f"{owner} with token {token}"):
        leases.renew(LOCK, owner, token, now=NOW + 1202, seconds=1200)
    assert not leases.release(LOCK, owner, token, take=1, failures=9)
    assert leases.read(LOCK) == held


def test_an_owner_whose_name_came_back_with_a_new_token_is_not_its_former_self(leases: LeaseStore) -> None:
    acquire(leases, "a")
    acquire(leases, "b", NOW + 1201)
    leases.release(LOCK, "b", 2, take=None, failures=0)
    held = acquire(leases, "a", NOW + 1300)
    assert held.token == 3
    with pytest.raises(LockLost):
        leases.renew(LOCK, "a", 1, now=NOW + 1301, seconds=1200)
    assert not leases.release(LOCK, "a", 1, take=None, failures=0)
    assert leases.read(LOCK) == held


def test_a_lock_that_never_was_can_be_neither_renewed_nor_released_into_being(leases: LeaseStore) -> None:
    with pytest.raises(LockLost):
        leases.renew(LOCK, "a", 1, now=NOW, seconds=1200)
    assert not leases.release(LOCK, "a", 1, take=None, failures=0)
    assert leases.read(LOCK) is None


def test_releasing_twice_frees_nothing_twice(leases: LeaseStore) -> None:
    acquire(leases, "a")
    assert leases.release(LOCK, "a", 1, take=4, failures=1)
    assert not leases.release(LOCK, "a", 1, take=2, failures=2)
    free = leases.read(LOCK)
    assert free is not None
    assert (free.take, free.failures) == (4, 1)


@pytest.mark.parametrize("start", ["new", "released", "expired"])
def test_of_many_threads_that_race_for_the_lock_exactly_one_wins(leases: LeaseStore, start: str) -> None:
    for turn in range(3):
        lock, now = f"{LOCK}-{turn}", NOW
        if start != "new":
            leases.acquire(lock, "before", now=NOW, seconds=1200, floor=0)
            now += 1201
        if start == "released":
            leases.release(lock, "before", 1, take=None, failures=0)

        def race(number: int, lock: str = lock, now: float = now) -> Lease | None:
            try:
                return leases.acquire(lock, f"run-{number}", now=now, seconds=1200, floor=0)
            except LockBusy:
                return None

        with ThreadPoolExecutor(12) as pool:
            won = [lease for lease in pool.map(race, range(12)) if lease is not None]
        assert len(won) == 1
        assert leases.read(lock) == won[0]
        assert won[0].token == (1 if start == "new" else 2)


def test_a_renewal_that_comes_first_is_never_overrun_by_who_read_the_old_expiry(leases: LeaseStore) -> None:
    """Renewals race with takeovers at the moment of expiry: whoever wins, the other one knows."""
    for turn in range(10):
        lock = f"{LOCK}-{turn}"
        leases.acquire(lock, "a", now=NOW, seconds=1200, floor=0)

        def renew(lock: str = lock) -> bool:
            try:
                leases.renew(lock, "a", 1, now=NOW + 1201, seconds=1200)
            except LockLost:
                return False
            return True

        def take(lock: str = lock) -> bool:
            try:
                leases.acquire(lock, "b", now=NOW + 1201, seconds=1200, floor=0)
            except LockBusy:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            renewed, taken = pool.submit(renew), pool.submit(take)
        assert renewed.result() != taken.result()
