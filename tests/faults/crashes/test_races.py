"""Several compactions of one collection at once: the lock keeps them apart, and where it does not, the pointer does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from siltstone.clock import SystemClock
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.rollback import rollback
from siltstone.errors import LockBusy

from tests.faults.crashes.checks import check_converged, check_history, check_readers, pointer_history
from tests.faults.crashes.house import Ended, House
from tests.faults.crashes.switchboard import Boundary
from tests.faults.crashes.waves import Truth

pytestmark = pytest.mark.faults

_LOST = ("LockLost", "PointerMoved")

# Where a run is when its lease expires: at work, with the lock just about to be looked at, with the lock just seen.
BEFORE_THE_COMMIT = [
    Boundary("download", "put staged plan.json", 1, "before"),
    Boundary("merge", "put staged file", 2, "before"),
    Boundary("merge", "put staged work.json", 1, "after"),
    Boundary("upload", "copy version file", 3, "after"),
    Boundary("upload", "put manifest", 1, "after"),
    Boundary("promote_pointer", "update lock", 1, "before"),
    Boundary("promote_pointer", "update lock", 2, "after"),
    Boundary("promote_pointer", "put pointer", 1, "before"),
]
AFTER_THE_COMMIT = [
    Boundary("promote_pointer", "put pointer", 1, "after"),
    Boundary("retire", "delete delta", 1, "before"),
    Boundary("retire", "delete delta", 2, "after"),
    Boundary("release_lock", "update lock", 1, "before"),
]


def _ids(boundaries: list[Boundary]) -> list[pytest.ParameterSet]:
    return [pytest.param(one, id=str(one)) for one in boundaries]


def _force(truth: Truth) -> dict[str, object]:
    return {"operation": "compact", "collections": [truth.collection], "force": True}


def _start(house: House, truth: Truth) -> str:
    return house.start("compaction", _force(truth))


def _lost(run: Ended) -> bool:
    return run.status == "FAILED" and any(f": {error}: " in run.cause for error in _LOST)


@pytest.mark.parametrize("number", [2, 8])
def test_of_runs_that_start_at_the_same_moment_one_promotes(house: House, truth: Truth, number: int) -> None:
    truth.many(12)
    before = pointer_history(house, truth.collection)
    with ThreadPoolExecutor(number) as pool:
        started = list(pool.map(lambda _: _start(house, truth), range(number)))
    runs = [house.wait(arn) for arn in started]
    results = [result["status"] for run in runs if run.status == "SUCCEEDED" for result in run.results]
    assert results.count("compacted") == 1, runs
    assert all(run.status == "SUCCEEDED" or _lost(run) for run in runs), runs
    assert set(results) <= {"compacted", "busy", "idle"}  # idle: it came when all was done
    assert len(pointer_history(house, truth.collection)) == len(before) + 1
    check_converged(house, truth)


def test_while_one_works_all_others_are_busy(house: House, truth: Truth) -> None:
    truth.many(12)
    with house.switch.block(Boundary("merge", "put staged file", 1, "before")) as block:
        first = _start(house, truth)
        block.wait_until_reached()
        with ThreadPoolExecutor(7) as pool:
            others = [house.wait(arn) for arn in pool.map(lambda _: _start(house, truth), range(7))]
        check_readers(house, truth)
    assert [result["status"] for run in others for result in run.results] == ["busy"] * 7
    assert [result["status"] for result in house.wait(first).results] == ["compacted"]
    check_converged(house, truth)


@pytest.mark.parametrize("boundary", _ids(BEFORE_THE_COMMIT))
def test_a_run_that_outlives_its_lease_loses_to_the_one_that_took_over(
    house: House, truth: Truth, boundary: Boundary
) -> None:
    truth.wave()
    house.switch.short("merge", 20.0)
    with house.switch.block(boundary) as block:
        first = _start(house, truth)
        block.wait_until_reached()
        house.let_time_pass()
        second = house.compact(truth.collection)
        assert [run.status for run in second] == ["SUCCEEDED"] * len(second)
        check_converged(house, truth)
        truth.wave()  # news that the loser knows nothing of
        promoted = pointer_history(house, truth.collection)
    assert _lost(run := house.wait(first)), run
    assert pointer_history(house, truth.collection) == promoted
    check_history(house, truth)
    check_readers(house, truth)
    house.compact(truth.collection)
    check_converged(house, truth)


@pytest.mark.parametrize("boundary", _ids(AFTER_THE_COMMIT))
def test_a_run_that_outlives_its_lease_after_its_commit_does_no_harm(
    house: House, truth: Truth, boundary: Boundary
) -> None:
    truth.wave()
    with house.switch.block(boundary) as block:
        first = _start(house, truth)
        block.wait_until_reached()
        house.let_time_pass()
        truth.wave()
        second = house.compact(truth.collection)
        assert [run.status for run in second] == ["SUCCEEDED"] * len(second)
        check_converged(house, truth)
    house.wait(first)
    check_converged(house, truth)


def test_the_pointer_decides_between_a_run_whose_lock_is_lost_and_its_successor(house: House, truth: Truth) -> None:
    """The one that comes first, be it the one without the lock: the other one has started from what is no more."""
    truth.wave()
    with house.switch.block(Boundary("promote_pointer", "put pointer", 1, "before")) as first_block:
        first = _start(house, truth)
        first_block.wait_until_reached()
        house.let_time_pass()
        with house.switch.block(Boundary("merge", "put staged file", 1, "before")) as second_block:
            second = _start(house, truth)
            second_block.wait_until_reached()
            before = pointer_history(house, truth.collection)
            first_block.release()
            house.wait(first)  # its commit got through; without the lock it can't tidy up
            assert len(pointer_history(house, truth.collection)) == len(before) + 1
            check_readers(house, truth)
    run = house.wait(second)
    assert run.status == "FAILED"
    assert "PromotePointer: PointerMoved" in run.cause
    assert len(pointer_history(house, truth.collection)) == len(before) + 1
    check_history(house, truth)
    house.compact(truth.collection)
    check_converged(house, truth)


@pytest.mark.parametrize("boundary", _ids([*BEFORE_THE_COMMIT, *AFTER_THE_COMMIT]))
def test_a_rollback_in_the_middle_of_a_run_waits_for_its_lease_and_then_wins(
    house: House, truth: Truth, boundary: Boundary
) -> None:
    older_rows, current_rows = truth.after_wave[-2:]
    current = read_pointer(house.stores.snapshots, truth.collection).version
    assert current is not None
    truth.wave()
    before_commit = boundary in BEFORE_THE_COMMIT
    house.switch.short("merge", 20.0)
    with house.switch.block(boundary) as block:
        first = _start(house, truth)
        block.wait_until_reached()
        # Before the commit the version before the current one is brought back, after it the one that was current.
        history = pointer_history(house, truth.collection)
        to, rows = (history[-2], older_rows) if before_commit else (current, current_rows)
        with pytest.raises(LockBusy):
            rollback(truth.collection, to, house.stores, SystemClock())
        house.let_time_pass()
        rollback(truth.collection, to, house.stores, SystemClock())
        truth.roll_back(rows, pending=before_commit)
        check_history(house, truth)
        check_readers(house, truth)
        promoted = pointer_history(house, truth.collection)
    run = house.wait(first)
    assert _lost(run) or not before_commit, run
    assert pointer_history(house, truth.collection) == promoted
    check_history(house, truth)
    check_readers(house, truth)
    house.compact(truth.collection)
    check_converged(house, truth)


@pytest.mark.parametrize("boundary", _ids([*BEFORE_THE_COMMIT, *AFTER_THE_COMMIT]))
def test_an_execution_that_is_stopped_by_hand_releases_nothing_and_heals_by_expiring(
    house: House, truth: Truth, boundary: Boundary
) -> None:
    """As on AWS: what runs at that moment runs to its end, and no state follows it."""
    truth.wave()
    house.switch.short("merge", 20.0)
    with house.switch.block(boundary) as block:
        first = _start(house, truth)
        block.wait_until_reached()
        house.deployment.client("stepfunctions").stop_execution(executionArn=first, error="by hand")
        house.switch.mute(boundary.state)  # the emulator would go on inside the Map
    assert house.wait(first).status == "ABORTED"
    if boundary.state == "release_lock":
        truth.wait_until_free()
    else:
        house.switch.wait_for("mute", "release_lock", times=3)  # all attempts of the last state that it went on to
    house.switch.clear()
    check_history(house, truth)
    check_readers(house, truth)
    if boundary.state != "release_lock":
        assert [result["status"] for run in house.compact(truth.collection) for result in run.results] == ["busy"]
        house.let_time_pass()
    runs = house.compact(truth.collection)
    assert [run.status for run in runs] == ["SUCCEEDED"] * len(runs)
    check_converged(house, truth)
