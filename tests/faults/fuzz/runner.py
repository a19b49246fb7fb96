"""Sends inputs through child processes: one that dies is a flaw with its input, and the next goes on behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.fuzz.child import Summary

ADDRESS_SPACE = 8 * 2**30  # an input that wants more ends its process here, and not the machine


def fuzz(target: str, first: int, count: int) -> Summary:
    """Read the inputs ``first`` to ``first + count`` of a target."""
    total = Summary(verdicts=Counter())
    end = first + count
    while first < end:
        with tempfile.TemporaryDirectory(prefix="siltstone-fuzz-") as name:
            folder = Path(name)
            command = [sys.executable, "-m", "tests.faults.fuzz.child", target, str(first), str(end - first), name]
            limited = ["prlimit", f"--as={ADDRESS_SPACE}", *command]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            done = subprocess.run(limited, capture_output=True, text=True, env=environment, check=False)
            if done.returncode == 0:
                return _sum(total, Summary(**json.loads(done.stdout.splitlines()[-1])))
            at = (folder / "at").read_text().strip() if (folder / "at").exists() else ""
        words = f"the process ended with {done.returncode}: {done.stderr[-600:]}"
        if not at:  # not one input's doing
            total.flaws.append((-1, words))
            return total
        total.flaws.append((int(at), words))
        total.inputs += int(at) - first + 1
        first = int(at) + 1
    return total


def fuzz_for(target: str, first: int, seconds: float, count: int) -> Summary:
    """Read inputs from ``first`` on, ``count`` at a time, until ``seconds`` have passed."""
    total, deadline = Summary(verdicts=Counter()), time.monotonic() + seconds
    while time.monotonic() < deadline:
        total = _sum(total, fuzz(target, first + total.inputs, count))
    return total


def _sum(one: Summary, other: Summary) -> Summary:
    return Summary(
        inputs=one.inputs + other.inputs,
        verdicts=Counter(one.verdicts) + Counter(other.verdicts),
        peak=max(one.peak, other.peak),
        flaws=[*one.flaws, *other.flaws],
    )
