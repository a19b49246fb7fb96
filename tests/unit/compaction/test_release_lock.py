"""ReleaseLock: on every path, only one's own lock, and the next run knows what this one failed of."""

from __future__ import annotations

import pytest
from siltstone import errors
from siltstone.compaction import lock
from siltstone.compaction.messages import ReleaseLockInput, Run, StateError
from siltstone.compaction.release_lock import release_lock
from siltstone.stores.leases import Lease

from tests.unit.compaction.commit_path import House


@pytest.fixture
def house() -> House:
    return House()


def ended(house: House, run: Run, state: str = "", error: str = "") -> bool:
    failure = StateError(state=state, error=error) if error else None
    return release_lock(ReleaseLockInput(run=run, failure=failure), house.stores, house.clock).released


def item(house: House) -> Lease:
    lease = house.leases.read("compaction#lines")
    assert lease is not None
    return lease


def run_taking(house: House, execution: str, taking: int, delta: str = "d1") -> Run:
    run = house.acquire(execution)
    lock.renew(run, house.stores, house.clock, taking=taking, alone=delta if taking == 1 else None)
    return run


def test_a_released_lock_is_free_for_the_next_run(house: House) -> None:
    run = house.acquire("a")
    assert ended(house, run)
    assert house.acquire("b").token == run.token + 1


def test_releasing_again_after_a_lost_reply_says_released_and_changes_nothing(house: House) -> None:
    run = run_taking(house, "a", 10)
    assert ended(house, run, "Merge", "CheckFailed")
    before = item(house)
    assert ended(house, run, "Merge", "CheckFailed")
    assert item(house) == before
    assert before.take == 5


def test_a_lock_that_passed_to_another_run_is_left_alone(house: House) -> None:
    run = run_taking(house, "a", 10)
    house.clock.advance(lock.LEASE_SECONDS + 1)
    house.acquire("b")
    before = item(house)
    assert not ended(house, run, "Merge", "States.Timeout")
    assert item(house) == before


def test_a_lock_that_the_same_execution_took_anew_is_not_its_former_ones_to_release(house: House) -> None:
    first = house.acquire("a")
    assert ended(house, first)
    house.acquire("a")
    assert not ended(house, first)
    assert item(house).owner == "a-0"


def test_success_resets_what_failures_left(house: House) -> None:
    ended(house, run_taking(house, "a", 1), "Merge", "CheckFailed")
    assert (item(house).take, item(house).failures) == (1, 1)
    ended(house, run_taking(house, "b", 1))
    assert (item(house).take, item(house).failures) == (None, 0)


BLAMED = ["CheckFailed", "BadRecord", "ValueError", "MemoryError", "InternalError", "Lambda.Unknown"]
BLAMED += ["Runtime.ExitError", "Sandbox.Timedout", "States.Timeout"]


@pytest.mark.parametrize("state", ["Download", "Merge"])
@pytest.mark.parametrize("error", BLAMED)
def test_a_failure_that_a_deltas_content_may_cause_halves_what_the_next_run_takes(
    house: House, state: str, error: str
) -> None:
    ended(house, run_taking(house, "a", 9), state, error)
    assert (item(house).take, item(house).failures) == (4, 0)


@pytest.mark.parametrize("error", BLAMED)
def test_a_single_delta_that_fails_alone_is_counted(house: House, error: str) -> None:
    for number in (1, 2, 3):
        ended(house, run_taking(house, f"run-{number}", 1), "Merge", error)
        assert (item(house).take, item(house).failures) == (1, number)


def test_from_a_hundred_deltas_it_takes_nine_runs_to_convict_one(house: House) -> None:
    taking, runs = 100, 0
    while runs == 0 or item(house).failures < 3:
        runs += 1
        ended(house, run_taking(house, f"run-{runs}", taking), "Merge", "Runtime.ExitError")
        taking = item(house).take or 0
    assert runs == 9  # 100, 50, 25, 12, 6, 3, then three times alone


FAMILY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SiltstoneError)]


@pytest.mark.parametrize("kind", [kind for kind in FAMILY if issubclass(kind, errors.Transient | errors.Contention)])
def test_io_and_races_change_nothing(house: House, kind: type[errors.SiltstoneError]) -> None:
    ended(house, run_taking(house, "a", 9), "Merge", kind.__name__)
    assert (item(house).take, item(house).failures) == (None, 0)


INNOCENT = ["PointerMissing", "SnapshotDamaged", "ManifestDamaged", "SettingsMismatch", "SchemaTooNew", "BadSettings"]
INNOCENT += ["BadEvent", "UnknownCollection", "Lambda.TooManyRequestsException", "Lambda.ServiceException"]
INNOCENT += [
    "Runtime.ImportModuleError",
    "Runtime.Unknown",
    "ModuleNotFoundError",
    "ClientError",
    "States.QueryEvaluationError",
]


@pytest.mark.parametrize("error", INNOCENT)
def test_what_no_delta_can_be_blamed_for_never_brings_one_into_quarantine(house: House, error: str) -> None:
    ended(house, run_taking(house, "a", 1), "Merge", "CheckFailed")
    for number in range(3):
        ended(house, run_taking(house, f"run-{number}", 1), "Merge", error)
    assert (item(house).take, item(house).failures) == (1, 1)


@pytest.mark.parametrize("error", ["NoProgress", "DiskFull"])
def test_too_much_at_once_takes_less_but_convicts_no_delta(house: House, error: str) -> None:
    ended(house, run_taking(house, "a", 8), "Merge", error)
    assert item(house).take == 4
    ended(house, run_taking(house, "b", 1), "Merge", error)
    assert (item(house).take, item(house).failures) == (1, 0)


@pytest.mark.parametrize("state", ["RenewLock", "Upload", "PromotePointer", "Retire"])
def test_states_that_read_no_delta_blame_none(house: House, state: str) -> None:
    ended(house, run_taking(house, "a", 9), state, "Runtime.ExitError")
    assert (item(house).take, item(house).failures) == (None, 0)


def test_a_run_that_died_before_it_said_what_it_takes_changes_nothing(house: House) -> None:
    ended(house, house.acquire("a"), "Download", "Runtime.ExitError")
    assert (item(house).take, item(house).failures) == (None, 0)


def test_a_run_that_took_nothing_blames_nothing(house: House) -> None:
    ended(house, run_taking(house, "a", 0), "Download", "Runtime.ExitError")
    assert (item(house).take, item(house).failures) == (None, 0)


def test_failures_are_counted_of_one_delta_and_never_of_the_one_behind_it(house: House) -> None:
    for execution in ("a", "b"):
        ended(house, run_taking(house, execution, 1, "d1"), "Merge", "Runtime.ExitError")
    assert (item(house).failures, item(house).suspect) == (2, "d1")
    ended(house, run_taking(house, "c", 1, "d2"), "Merge", "Runtime.ExitError")
    assert (item(house).take, item(house).failures, item(house).suspect) == (1, 1, "d2")


def test_a_failure_that_blames_none_keeps_what_is_known_of_the_suspect(house: House) -> None:
    ended(house, run_taking(house, "a", 1, "d1"), "Merge", "CheckFailed")
    ended(house, run_taking(house, "b", 1, "d2"), "Merge", "StoreUnavailable")
    assert (item(house).take, item(house).failures, item(house).suspect) == (1, 1, "d1")
    ended(house, run_taking(house, "c", 1, "d1"), "Merge", "CheckFailed")
    assert item(house).failures == 2
