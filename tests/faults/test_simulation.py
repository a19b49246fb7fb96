"""Seeded histories with faults: what was acknowledged is there, what a reader sees is whole, and it can be replayed.

A short part of what `make faults` does a million steps of. The seeds here are of all kinds; those that meet every fault
are in `test_simulation_faults.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import simulate
from tests.faults.mutations import MUTATIONS
from tests.faults.simulation.recording import replay, run, shrink

STEPS = 2_000


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_every_invariant_holds_after_every_step_and_everything_heals_at_the_end(seed: int) -> None:
    outcome = run(seed, STEPS)
    assert outcome.failure is None, f"seed {seed}: {outcome.failure}\nAgain: {outcome.again}"
    assert outcome.steps >= STEPS
    assert outcome.counts["versions promoted"] and outcome.counts["strong reads"]


def test_a_seed_is_the_same_history_every_time() -> None:
    first: list[str] = []
    again: list[str] = []
    outcome = run(11, 800, first.append)
    assert run(11, 800, again.append).actions == outcome.actions
    assert again == first
    again.clear()
    assert replay(11, outcome.actions, again.append).steps == outcome.steps
    assert again == first


def test_a_seed_is_the_same_history_in_another_process_with_other_hashes() -> None:
    lines: list[str] = []
    run(11, 800, lines.append)
    other = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    told = subprocess.run(
        [sys.executable, "-m", "tests.faults.simulate", "--seed", "11", "--each", "800", "--trace", "--all"],
        env={**os.environ, "PYTHONHASHSEED": other},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines()[: len(lines)] == lines


def test_a_failing_seed_is_told_with_the_least_that_fails_and_the_command_that_shows_it_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate, "SHRINK_SECONDS", 1.0)
    with MUTATIONS["retire before promote"].broken():
        status = simulate.main(["--seed", "3", "--each", "1000", "--processes", "1"])
    told = capsys.readouterr().out
    assert status == 1
    assert "Seed 3 FAILED" in told and "deltas_leave_only_merged: " in told
    assert told.rstrip().endswith("Again: python -m tests.faults.simulate --seed 3 --each 1000 --trace")


def test_the_least_that_fails_breaks_the_same_invariant_with_fewer_actions() -> None:
    with MUTATIONS["retire before promote"].broken():
        failed = run(3, 1_000)
        least = shrink(failed, seconds=5.0)
    assert least.broken == failed.broken == "deltas_leave_only_merged"
    assert len(least.actions) < len(failed.actions)


def test_many_seeds_are_counted_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--seed", "6", "--steps", "250", "--each", "200", "--processes", "1"]) == 0
    told = capsys.readouterr().out
    assert "versions promoted" in told and "Every invariant held after every step." in told
