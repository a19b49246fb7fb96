"""The process that one target's inputs go through: ``python -m tests.faults.fuzz.child TARGET FIRST COUNT FOLDER``.

The number of the input at hand is always in ``FOLDER/at``, so that whoever started this process knows what ended it.
The last line printed is a summary.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.fuzz.targets import TARGETS, Target
from tests.faults.fuzz.watch import Endless, Fence, Strayed, forget_peak, peak, time_limit


@dataclass
class Summary:
    """``peak``: the most memory that one input took, bytes. ``flaws``: ``[input, what]``."""

    inputs: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    flaws: list[tuple[int, str]] = field(default_factory=list)


def run(target: Target, first: int, count: int, folder: Path) -> Summary:
    """Read ``count`` inputs. ``folder`` gets a working folder and, around it, what nobody may touch."""
    around = folder / "around"
    work = around / "work"
    work.mkdir(parents=True, exist_ok=True)
    for name in ("canary.txt", "passwd", "data_level0.bin", "chroma.sqlite3"):
        (around / name).write_text("a canary")
    at = os.open(folder / "at", os.O_RDWR | os.O_CREAT)
    os.pwrite(at, b" " * 20, 0)
    with _empty(work) as inside:
        _read(target, target.make(random.Random(first)), inside)  # what is loaded at the first use is nobody's memory
    fence = Fence(work, around)
    summary = Summary()
    for number in range(first, first + count):
        os.pwrite(at, f"{number:<20}".encode(), 0)
        body = target.make(random.Random(number))
        before = forget_peak()
        with time_limit(), _empty(work) as inside, fence.up():
            verdict, flaw = _read(target, body, inside)
        taken = peak() - before
        summary.inputs += 1
        summary.verdicts[verdict] += 1
        summary.peak = max(summary.peak, taken)
        if taken > target.fixed + target.factor * len(body):
            flaw = flaw or f"{len(body)} bytes took {taken} bytes of memory"
        if flaw:
            summary.flaws.append((number, flaw))
    os.pwrite(at, b" " * 20, 0)
    fence.check()
    return summary


@contextmanager
def _empty(work: Path) -> Generator[Path]:
    folder = work / "input"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _read(target: Target, body: bytes, folder: Path) -> tuple[str, str]:
    """The verdict over one input, and what is wrong with it."""
    try:
        return target.read(body, folder), ""
    except target.verdicts as error:
        return type(error).__name__, "" if str(error) and len(str(error)) < 3_000 else "no readable verdict"
    except (Endless, Strayed, Exception) as error:
        return "flaw", f"{type(error).__name__}: {str(error)[:300]}"


def main(name: str, first: str, count: str, folder: str) -> None:
    summary = run(TARGETS[name], int(first), int(count), Path(folder))
    sys.stdout.write(json.dumps(vars(summary)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
