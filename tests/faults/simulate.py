"""Many seeds of the simulation: ``python -m tests.faults.simulate --steps 1000000``.

A step is one store call that was decided: done, refused, lost, delayed, or ended with its process. A seed that fails
is printed with the least that still fails; ``--seed N --trace`` shows it again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import count

from tests.faults.simulation.recording import STEPS, Outcome, replay, run, shrink

SHRINK_SECONDS = 120.0
PROCESSES = 2
REPORT_SECONDS = 30.0

_SECTIONS = {
    "faults": (
        "fault: ",
        "functions ended",
        "attempts given up",
        "executions stopped",
        "lose",
        "skew",
        "delivered twice",
        "states tried again",
        "clock that is off",
        "leases that ran out",
        "pages of a listing",
        "same second",
    ),
    "what happened": ("versions", "rollbacks", "deltas", "runs", "reads", "quarantined", "strong", "snapshot", "pin"),
    "errors": ("error: ",),
}


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 if every invariant held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000, help="store calls, over all seeds")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long, whatever was reached")
    parser.add_argument("--seed", type=int, default=0, help="the first seed, or with --trace the only one")
    parser.add_argument("--each", type=int, default=STEPS, help="store calls of a seed before its faults end")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--trace", action="store_true", help="run one seed; if it fails, show the least that fails")
    parser.add_argument("--all", action="store_true", help="with --trace: every action, and no shrinking")
    options = parser.parse_args(arguments)
    if options.trace:
        return _trace(options.seed, options.each, everything=options.all)
    return _many(options.seed, options.each, options.steps, options.seconds, options.processes)


def _many(first: int, each: int, steps: int, seconds: float, processes: int) -> int:
    started = told = time.monotonic()
    total, counts, seeds = 0, Counter[str](), 0
    for outcome in _outcomes(first, each, processes):
        total, seeds = total + outcome.steps, seeds + 1
        counts.update(outcome.counts)
        elapsed = time.monotonic() - started
        if outcome.failure is not None:
            _report(total, seeds, elapsed, counts)
            _tell_failure(outcome)
            return 1
        if time.monotonic() - told > REPORT_SECONDS:
            told = time.monotonic()
            _say(f"{total:>12,} steps, {seeds} seeds, {total / elapsed:,.0f} steps/s, {_promoted(counts)}")
        if total >= steps or elapsed >= seconds:
            break
    _report(total, seeds, time.monotonic() - started, counts)
    _say("Every invariant held after every step.")
    return 0


def _outcomes(first: int, each: int, processes: int) -> Iterator[Outcome]:
    """Outcomes as they come, without their actions unless they failed."""
    if processes == 1:
        yield from (_one(seed, each) for seed in count(first))
    with ProcessPoolExecutor(processes) as pool:
        seeds = count(first)
        running: set[Future[Outcome]] = {pool.submit(_one, next(seeds), each) for _ in range(processes)}
        try:
            while True:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(_one, next(seeds), each) for _ in done}
                yield from (future.result() for future in done)
        finally:
            for future in running:
                future.cancel()


def _one(seed: int, each: int) -> Outcome:
    outcome = run(seed, each)
    if outcome.failure is None:
        outcome.actions.clear()
    else:
        outcome.failure = AssertionError(str(outcome.failure))  # without what can't go to another process
    return outcome


def _trace(seed: int, each: int, *, everything: bool) -> int:
    outcome = run(seed, each, _say if everything else None)
    if outcome.failure is None:
        _report(outcome.steps, 1, 0.0, outcome.counts)
        _say(f"Seed {seed}: every invariant held after every step.")
        return 0
    if not everything:
        _tell_failure(outcome)
    return 1


def _tell_failure(outcome: Outcome) -> None:
    _say(f"\nSeed {outcome.seed} FAILED after {outcome.steps:,} steps and {len(outcome.actions):,} actions:")
    _say(f"  {outcome.failure}\n")
    _say(f"Looking for the least that fails, for at most {SHRINK_SECONDS:.0f} s ...")
    least = shrink(outcome, SHRINK_SECONDS)
    _say(f"{len(least.actions)} actions:\n")
    replay(outcome.seed, least.actions, _say)
    _say(f"\n  {least.failure}\n")
    _say(f"Again: {outcome.again}")


def _report(steps: int, seeds: int, elapsed: float, counts: Counter[str]) -> None:
    speed = f" in {elapsed:,.0f} s ({steps / elapsed:,.0f} steps/s)" if elapsed else ""
    _say(f"\n{steps:,} steps of {seeds} seeds{speed}: {_promoted(counts)}")
    for title, beginnings in _SECTIONS.items():
        _say(f"\n  {title}")
        for name in sorted(counts):
            if any(beginning in name for beginning in beginnings) and (title == "errors") == name.startswith("error: "):
                _say(f"    {counts[name]:>9,}  {name.removeprefix('fault: ').removeprefix('error: ')}")
    _say("")


def _promoted(counts: Counter[str]) -> str:
    names = ("versions promoted", "rollbacks promoted", "runs that failed", "strong reads")
    return ", ".join(f"{counts[name]:,} {name}" for name in names)


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main())
