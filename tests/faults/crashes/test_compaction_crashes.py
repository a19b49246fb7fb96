"""The process behind each state of the compaction machine is killed before and after everything that it changes.

All of it happens to one collection: whatever a crash left behind is there when the next one comes.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from siltstone.compaction import lock

from tests.faults.crashes.checks import check_converged, check_history, check_readers
from tests.faults.crashes.effects import COMPACTION, boundaries
from tests.faults.crashes.house import House
from tests.faults.crashes.switchboard import Boundary
from tests.faults.crashes.waves import Truth

pytestmark = pytest.mark.faults

OF_THE_LOCK = ("acquire_lock", "renew_lock", "release_lock")  # they are tried again
ATTEMPTS = 3  # of each of them
# Here, if no attempt gets further, nobody is left who would release the lease.
HELD = [Boundary("acquire_lock", "put lock", 1, "after"), Boundary("release_lock", "update lock", 1, "before")]
REPRESENTATIVE = {
    Boundary("download", "put quarantined reason", 1, "after"),
    Boundary("merge", "put staged file", 3, "before"),
    Boundary("upload", "put manifest", 1, "after"),
    Boundary("promote_pointer", "put pointer", 1, "before"),
    Boundary("promote_pointer", "put pointer", 1, "after"),
    Boundary("retire", "delete delta", 2, "after"),
}


@pytest.fixture(scope="module")
def truth(standing: House) -> Truth:
    """The collection that has to bear it all."""
    standing.switch.clear()
    made = Truth("crash-compaction", standing.stores)
    for _ in range(3):
        made.wave()
        standing.compact(made.collection)
    return made


def _crash(house: House, truth: Truth, boundary: Boundary, times: int = 1) -> None:
    """A run whose process is killed at ``boundary``, and at the same one of the attempts that follow: it fails."""
    truth.wave()
    house.switch.short("merge", 20.0)  # it needs two turns
    for attempt in range(times):
        house.switch.kill(replace(boundary, number=boundary.number + attempt))
    runs = house.compact(truth.collection)
    assert house.switch.obeyed() == [boundary.state] * times
    assert [(run.status, run.error) for run in runs] == [("FAILED", "CollectionsFailed")]
    assert "Runtime.ExitError" in runs[0].cause
    house.switch.clear()
    check_history(house, truth)
    check_readers(house, truth)


@pytest.mark.parametrize(
    "boundary",
    [
        pytest.param(one, id=str(one), marks=[pytest.mark.e2e] if one in REPRESENTATIVE else [])
        for one in boundaries(COMPACTION)
        if one.state not in OF_THE_LOCK
    ],
)
def test_a_killed_compaction_is_made_good_by_the_next_without_help(
    house: House, truth: Truth, boundary: Boundary
) -> None:
    _crash(house, truth, boundary)
    runs = house.compact(truth.collection)
    assert [run.status for run in runs] == ["SUCCEEDED"] * len(runs)
    check_converged(house, truth)


@pytest.mark.parametrize(
    "boundary", [pytest.param(one, id=str(one)) for one in boundaries(COMPACTION) if one.state in OF_THE_LOCK]
)
def test_a_lock_whose_process_is_killed_once_is_taken_kept_and_released_all_the_same(
    house: House, truth: Truth, boundary: Boundary
) -> None:
    truth.wave()
    house.switch.short("merge", 20.0)
    house.switch.kill(boundary)
    runs = house.compact(truth.collection)
    assert house.switch.obeyed() == [boundary.state]
    assert [result["status"] for run in runs for result in run.results] == ["compacted"]
    check_converged(house, truth)


@pytest.mark.parametrize("boundary", [pytest.param(one, id=str(one), marks=pytest.mark.e2e) for one in HELD])
def test_a_lease_that_nobody_was_left_to_release_heals_by_expiring(
    house: House, truth: Truth, boundary: Boundary
) -> None:
    _crash(house, truth, boundary, times=ATTEMPTS)
    lease = house.stores.leases.read(lock.lock_id(truth.collection))
    assert lease is not None
    assert lease.owner is not None
    busy = house.compact(truth.collection)
    assert [result["status"] for run in busy for result in run.results] == ["busy"]
    check_readers(house, truth)
    house.let_time_pass()
    runs = house.compact(truth.collection)
    assert [run.status for run in runs] == ["SUCCEEDED"] * len(runs)
    check_converged(house, truth)
