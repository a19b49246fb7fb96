"""Check the model: the protocol holds in every state, and every variant breaks as it must. `make model` runs this.

Each search is one model with some switches. The protocol's have to be exhaustive, without an error, and to come across
every situation that they name. A variant's have to end at the property that it names. Anything else is a failure:
another property, a search that was cut off, a situation that never came up.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
MEMORY_MB = 1_900  # of one search; two run at a time
DEPTH = 100_000
ERROR = re.compile(r"pan:\d+: (.*?)(?: \(at depth \d+\))?$", re.MULTILINE)
STEP = re.compile(r"proc .*\[(?!\.\(goto\)|else|IF|DO|\(1\)| static)")  # a replayed step that says something


@dataclass(frozen=True)
class Search:
    """``breaks``: the property that has to fail; ``None``: none may. ``sees``: what has to come up on the way."""

    model: str
    switches: tuple[str, ...] = ()
    breaks: str | None = None
    sees: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As it is printed, and as ``--trail`` takes it."""
        return " ".join((self.model, *self.switches))


@dataclass
class Found:
    """What a search came to. ``error``: the first thing that was wrong, in spin's words; ``trail``: its steps."""

    search: Search
    error: str | None = None
    complete: bool = False
    seen: set[str] = field(default_factory=set[str])
    states: int = 0
    depth: int = 0
    megabytes: float = 0.0
    seconds: float = 0.0  # of the processor: the machine may be busy
    trail: str = ""

    @property
    def wrong(self) -> str | None:
        """Why the search is not as expected, or ``None``."""
        if self.search.breaks is not None:
            if self.error == f"assertion violated !({self.search.breaks})":
                return None
            return f"{self.search.breaks} had to break; found: {self.error or 'nothing'}"
        if self.error is not None:
            return self.error
        if not self.complete:
            return "the search was cut off"
        missing = sorted(set(self.search.sees) - self.seen)
        return f"never came up: {', '.join(missing)}" if missing else None


COMMIT_SITUATIONS = (
    "backlog_split",
    "compaction_over_a_rollback",
    "lock_lost_before_the_commit",
    "lost_reply_resolved",
    "lost_reply_resolved_by_a_descendant",
    "promotion_after_the_lock_was_lost",
    "promotion_refused",
    "release_of_a_lock_that_passed_on",
    "retirement_for_an_ancestor",
    "rollback_that_undoes_something",
    "rollback_to_a_version_that_never_was_current",
    "second_life_retired_again",
    "takeover_of_a_lease_that_expired",
)
READ_SITUATIONS = (
    "acknowledged_but_rolled_back",
    "pending_laid_over_a_version",
    "reader_leaves_a_second_life_out",
    "retired_before_the_reader_looked_at_the_history",
    "strong_read_starts_over",
    "version_could_not_be_opened",
)

PROTOCOL = (
    Search("commit", sees=COMMIT_SITUATIONS),
    Search(
        "commit",
        ("READER", "LOCK_USELESS", "REPLIES_ARRIVE", "DELTAS=2", "RUNS=3"),
        sees=(*READ_SITUATIONS, "promotion_refused", "retirement_for_an_ancestor", "second_life_retired_again"),
    ),
    Search("read", sees=(*READ_SITUATIONS, "rollback", "version_that_never_was_current")),
    Search(
        "attempts",
        sees=(
            "promotion_after_the_lock_was_lost",
            "promotion_refused",
            "run_that_was_given_up_promotes_after_all",
            "second_attempt_finds_it_done",
            "the_two_attempts_planned_differently",
        ),
    ),
    Search(
        "settle",
        sees=(
            "all_deltas_merged",
            "delta_waits_until_it_settled",
            "other_producer_merged_in_between",
            "two_deltas_of_one_second",
        ),
    ),
    Search("commit", ("LOCK_USELESS", "DELTAS=2"), sees=("promotion_refused", "rollback_that_undoes_something")),
    Search("commit", ("LOCK_LOST", "DELTAS=2", "RUNS=3"), sees=("lock_item_deleted", "promotion_after_the_loss")),
    Search("commit", ("LOCK_LOST", "NO_FLOOR", "DELTAS=2", "RUNS=3"), sees=("lock_item_deleted",)),
)

VARIANTS = (
    Search("commit", ("NO_IF_MATCH",), "inv1_one_promotion_per_etag"),
    Search("commit", ("NO_IF_MATCH",), "inv1_tokens_grow"),
    Search("commit", ("NO_IF_MATCH",), "inv4_nothing_is_lost"),
    Search("commit", ("RETIRE_FIRST",), "inv4_deleted_only_when_contained"),
    Search("commit", ("RETIRE_FIRST",), "inv4_nothing_is_lost"),
    Search("read", ("POINTER_FIRST",), "inv6_strong_read_sees_all_acknowledged"),
    Search("commit", ("ROLLBACK_TO_OLD_BODY",), "inv1_tokens_grow"),
    Search("commit", ("ROLLBACK_TO_OLD_BODY",), "inv1_one_promotion_per_etag"),
    Search("commit", ("ROLLBACK_TO_OLD_BODY",), "inv4_nothing_is_lost"),
    Search("commit", ("LOCK_LOST", "NO_FLOOR", "NO_GUARD"), "inv1_tokens_grow"),
    Search("commit", ("LOCK_USELESS", "NO_GUARD"), "inv1_tokens_grow"),
    Search("commit", ("NO_EARLIER_LIFE",), "inv5_applied_once"),
    Search("commit", ("NO_EARLIER_LIFE",), "inv3_content_in_order"),
    Search("read", ("NO_HISTORY",), "inv3_strong_answer_in_order"),
    Search("commit", ("RELEASE_ANY",), "inv7_only_ones_own_lock"),
    Search("commit", ("REFUSAL_BELIEVED",), "inv9_refused_run_changed_nothing"),
    Search("commit", ("NEWEST_FIRST",), "inv3_no_delta_left_out"),
    Search("attempts", ("BY_LISTING",), "inv3_content_in_order"),
    Search("attempts", ("SHARED_PREFIX",), "inv2_files_of_one_attempt"),
    Search("attempts", ("SHARED_PREFIX",), "inv2_published_files_stay"),
    Search("settle", ("NO_MARGIN",), "inv3_runs_take_a_prefix_of_the_order"),
    Search("settle", ("NOT_STRICTLY_OLDER",), "inv3_runs_take_a_prefix_of_the_order"),
    Search("settle", ("DATE_OF_LAST_REPLY",), "inv3_runs_take_a_prefix_of_the_order"),
    Search("settle", ("PRODUCER_CLOCK",), "inv3_runs_take_a_prefix_of_the_order"),
    Search("commit", ("ROLLBACK_APPLIED_OF_OLD",), "inv5_applied_once"),
    Search("commit", ("ROLLBACK_APPLIED_OF_CURRENT",), "inv5_applied_once"),
    Search("commit", ("ROLLBACK_APPLIED_OF_CURRENT",), "inv3_content_in_order"),
    Search("read", ("LIST_ONCE",), "inv6_strong_read_sees_all_acknowledged"),
    Search("read", ("ETAG_BEFORE_OPEN",), "inv6_strong_read_sees_all_acknowledged"),
    Search("read", ("FOREIGN_POINTER", "OLDER_TOKEN_TOO"), "inv6_never_back"),
)


def run(search: Search, *, trail: bool = False) -> Found:
    """Translate, compile, search. Raises `CalledProcessError` if the model can't be translated or compiled."""
    found = Found(search)
    switches = [f"-D{switch}" for switch in search.switches]
    if search.breaks is not None:
        switches.append(f"-DONLY=ID_{search.breaks}")  # a variant that breaks several shows each of them
    with tempfile.TemporaryDirectory(prefix="siltstone-model-") as name:
        folder = Path(name)
        for source in HERE.glob("*.pml"):
            shutil.copy(source, folder)
        _tool(folder, "spin", "-a", *switches, f"{search.model}.pml")
        options = [
            "-O2" if search.breaks is None else "-O1",
            "-w",
            "-DSAFETY",
            "-DCOLLAPSE",
            "-DVECTORSZ=1024",
            f"-DMEMLIM={MEMORY_MB}",
        ]
        if trail:
            options.append("-DBFS")  # slower, and the shortest way to the error
        _tool(folder, "gcc", *options, "-o", "pan", "pan.c")
        # -E: a process that waits for ever is no error here, it has stopped.
        command = ["./pan", "-E", f"-m{DEPTH}", "-w22"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        found.seconds = usage.ru_utime + usage.ru_stime
        _read(output, process.returncode, found)
        if trail and (folder / f"{search.model}.pml.trail").exists():
            replay = _tool(folder, "spin", "-t", "-p", *switches, f"{search.model}.pml", check=False)
            found.trail = "\n".join(line for line in replay.splitlines() if STEP.search(line))
    return found


def _read(output: str, code: int, found: Found) -> None:
    errors = [" ".join(words.split()) for words in ERROR.findall(output)]
    found.error = errors[0] if errors else None if code == 0 else f"pan ended with {code}: {output[-300:]}"
    found.complete = (
        "Full statespace search for" in output
        and "errors: 0" in output
        and "Search not completed" not in output
        and "depth too small" not in output
    )
    found.seen = set(re.findall(r"^seen: (\w+)$", output, re.MULTILINE))
    found.states = int(float(_number(output, r"([\d.e+]+) states, stored")))
    found.depth = int(_number(output, r"depth reached (\d+)"))
    found.megabytes = float(_number(output, r"([\d.]+)\s+total actual memory usage"))


def _number(output: str, pattern: str) -> str:
    match = re.search(pattern, output)
    return match[1] if match else "0"


def _tool(folder: Path, *command: str, check: bool = True) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if check and done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def _line(found: Found) -> str:
    search = found.search
    expected = "holds" if search.breaks is None else f"breaks {search.breaks}"
    result = "as expected" if found.wrong is None else f"NOT AS EXPECTED: {found.wrong}"
    return (
        f"{search.name:<62} {expected:<46} {found.states:>11,} {found.depth:>6} "
        f"{found.megabytes:>6.0f} {found.seconds:>6.1f}  {result}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all searches, or with ``--trail`` one and print how it comes to its error. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help=f"searches at a time, each of up to {MEMORY_MB} MB")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the searches whose name contains this")
    parser.add_argument("--trail", action="store_true", help="print the steps of every counterexample")
    options = parser.parse_args(arguments)
    missing = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
    if missing:
        print(
            f"{' and '.join(missing)} not found. On Debian: apt-get install spin gcc; on macOS: brew install spin gcc.",
            file=sys.stderr,
        )
        return 2
    searches = [search for search in (*PROTOCOL, *VARIANTS) if options.only in f"{search.name} {search.breaks}"]
    if not searches:
        print(f"No search has {options.only!r} in its name.", file=sys.stderr)
        return 2
    started = time.monotonic()
    heads = ("search", "expected", "states", "depth", "MB", "cpu s")
    print(f"{heads[0]:<62} {heads[1]:<46} {heads[2]:>11} {heads[3]:>6} {heads[4]:>6} {heads[5]:>6}  found", flush=True)
    wrong = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for found in pool.map(partial(run, trail=options.trail), searches):
            print(_line(found), flush=True)
            if found.trail:
                print(found.trail)
            wrong += found.wrong is not None
    print(f"{len(searches)} searches, {wrong} not as expected, {time.monotonic() - started:.0f} s.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
