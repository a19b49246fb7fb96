"""The scratch disk of a state is full: the run fails by that name and changes nothing; with room the next one goes on.

The disk is a real one, a small file system in memory mounted over the function's folder.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.crashes.checks import check_converged, check_history, check_readers, pointer_history
from tests.faults.crashes.house import House
from tests.faults.crashes.waves import Truth

pytestmark = pytest.mark.faults


@contextmanager
def _disk_of(house: House, state: str, kilobytes: int) -> Iterator[None]:
    """All processes of ``state`` have their folders on a disk of this size."""
    function = house.deployment.function(state).name
    house.emulator.kill_function_processes(function)
    folder = house.emulator.scratch / function
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        house.emulator.kill_function_processes(function)
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


# From "no folder can be made" to "only the last step lacks room" (640 KB are enough).
@pytest.mark.parametrize(
    ("state", "kilobytes"), [("download", 8), ("download", 16), *(("merge", size) for size in range(32, 500, 39))]
)
def test_a_full_disk_fails_the_run_by_name_and_costs_nothing(
    house: House, truth: Truth, state: str, kilobytes: int
) -> None:
    truth.wave()
    before = pointer_history(house, truth.collection)
    with _disk_of(house, state, kilobytes):
        [run] = house.compact(truth.collection)
    assert run.status == "FAILED", f"{kilobytes} KB were enough"
    assert f"{state.title()}: DiskFull" in run.cause
    assert pointer_history(house, truth.collection) == before
    check_history(house, truth)
    check_readers(house, truth)
    truth.wait_until_free()
    runs = house.compact(truth.collection)
    assert [each.status for each in runs] == ["SUCCEEDED"] * len(runs)
    check_converged(house, truth)
