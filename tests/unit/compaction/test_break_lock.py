"""A lock that is broken by hand: only the one that was shown, and safety does not notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from siltstone.compaction import lock
from siltstone.compaction.break_lock import break_lock
from siltstone.compaction.messages import Run, RunInput
from siltstone.compaction.renew_lock import renew_lock
from siltstone.errors import LockBusy, LockLost
from siltstone.stores.leases import Lease

from tests.unit.scrub.house import COLLECTION, House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def lease(house: House) -> Lease:
    found = house.leases.read(lock.lock_id(COLLECTION))
    assert found is not None
    return found


def test_the_run_that_held_it_stops_and_the_next_one_begins_with_a_greater_token(house: House) -> None:
    held = house.acquire()
    assert break_lock(COLLECTION, held.owner, held.token, house.stores)
    assert lease(house).owner is None
    with pytest.raises(LockLost):
        renew_lock(RunInput(run=held), house.stores, house.clock)
    assert house.acquire().token == held.token + 1


def test_breaking_it_twice_is_no_error(house: House) -> None:
    held = house.acquire()
    assert break_lock(COLLECTION, held.owner, held.token, house.stores)
    assert not break_lock(COLLECTION, held.owner, held.token, house.stores)
    assert not break_lock("words", "nobody-0", 1, house.stores)


def test_another_runs_lock_stays(house: House) -> None:
    shown = house.acquire()
    break_lock(COLLECTION, shown.owner, shown.token, house.stores)
    other = house.acquire()
    with pytest.raises(LockBusy, match=other.owner):
        break_lock(COLLECTION, shown.owner, shown.token, house.stores)
    with pytest.raises(LockBusy):
        break_lock(COLLECTION, other.owner, shown.token, house.stores)
    assert (lease(house).owner, lease(house).token) == (other.owner, other.token)


def test_what_the_next_run_must_know_is_kept(house: House) -> None:
    run = house.acquire()
    lock.release(run, house.stores, take=4, failures=2, suspect="d")
    held = house.acquire()
    break_lock(COLLECTION, held.owner, held.token, house.stores)
    assert (lease(house).take, lease(house).failures, lease(house).suspect) == (4, 2, "d")


@pytest.mark.parametrize("taken_again", [False, True])
def test_a_lock_that_changes_between_the_look_and_the_release(house: House, taken_again: bool) -> None:
    shown = house.acquire()
    release = house.leases.release

    def too_late(*arguments: Any, **keep: Any) -> bool:
        release(lock.lock_id(COLLECTION), shown.owner, shown.token, take=None, failures=0)
        if taken_again:
            others.append(house.acquire())
        return release(*arguments, **keep)

    others: list[Run] = []
    house.leases.release = too_late  # type: ignore[method-assign]
    if not taken_again:
        assert not break_lock(COLLECTION, shown.owner, shown.token, house.stores)
        return
    with pytest.raises(LockBusy):
        break_lock(COLLECTION, shown.owner, shown.token, house.stores)
    assert lease(house).owner == others[0].owner
