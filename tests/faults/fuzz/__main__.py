"""``python -m tests.faults.fuzz --seconds N [--target NAME] [--first N]``: the long part. Exits with 1 over a flaw."""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.faults.fuzz.runner import fuzz_for
from tests.faults.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="altogether")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="may be given more than once")
    parser.add_argument("--first", type=int, help="number of the first input; default: a random one")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    first = secrets.randbelow(2**40) if options.first is None else options.first
    flaws = 0
    for name in names:
        found = fuzz_for(name, first, options.seconds / len(names), TARGETS[name].at_once)
        flaws += len(found.flaws)
        verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in found.verdicts.most_common())
        sys.stdout.write(f"{name}: {found.inputs:,} inputs, peak {found.peak / 2**20:.0f} MB; {verdicts}\n")
        for number, words in found.flaws[:20]:
            sys.stdout.write(f"  FLAW --target {name} --first {number}: {words}\n")
        sys.stdout.flush()
    return 1 if flaws else 0


if __name__ == "__main__":
    sys.exit(main())
