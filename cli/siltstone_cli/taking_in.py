"""What `receipts load` and `texts load` have in common: a bar, the problems as they are met, and a summary."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.markup import escape
from rich.progress import TaskID
from rich.table import Table
from siltstone.sources.files import Input
from siltstone.sources.intake import Estimate, Intake, take_in
from siltstone.sources.problem import SourceProblem
from siltstone.sources.source import Source

from siltstone_cli.console import output, print_json, problems
from siltstone_cli.exits import FAILED, BadUsage
from siltstone_cli.progress import bar
from siltstone_cli.target import Target

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Load nothing: only say what would be, and what it would cost.")
]
Rejected = Annotated[
    Path | None,
    typer.Option("--rejected", metavar="FILE", help="Write every item that is left out to this file, as JSONL."),
]

_SHOWN = 100  # problems
_EVERY_TERMINAL, _EVERY_LOG = 0.1, 10.0  # seconds between two looks at it


@dataclass
class Watch:
    """How far a reading is, in bytes of ``total`` (``None`` if that is not known)."""

    total: int | None = None
    read: int = 0

    def __call__(self, amount: int) -> None:
        self.read += amount


def opened(file: str) -> tuple[Watch, Input]:
    """A file, or the standard input for ``-``, and who watches how far it is read."""
    watch = Watch()
    if file == "-":
        return watch, Input("standard input", stream=sys.stdin.buffer, watch=watch)
    source = Input.of(file, watch)
    watch.total = Path(file).stat().st_size
    return watch, source


def load_all(
    target: Target,
    items: Iterable[Source | SourceProblem],
    *,
    title: str,
    kind: str,
    watch: Watch,
    dry_run: bool,
    rejected: Path | None,
    as_json: bool,
) -> None:
    """Load, and end with exit code 1 if something was rejected. ``kind``: what is counted, in the plural."""
    intake = Intake()
    try:
        with _shown(title, kind, intake, watch, target) as step, _rejects(rejected) as reject:
            take_in(_stepped(items, step), target.stores, target.clock, intake=intake, dry_run=dry_run, reject=reject)
    except BaseException:  # also an interruption: what was loaded stays
        if not dry_run and intake.report.new + intake.report.changed + intake.report.unchanged:
            problems.print(f"Before it stopped: {_counts(intake, kind)}. It stays.", soft_wrap=True)
            problems.print("The same command goes on from there.")
        raise
    estimates = intake.estimates(target.stores.settings)
    if as_json:
        print_json(_json(intake, estimates, dry_run=dry_run))
    else:
        _summary(intake, estimates, kind, target, dry_run=dry_run, rejected=rejected)
    if intake.rejected:
        raise typer.Exit(FAILED)


def _stepped(items: Iterable[Any], step: Callable[[], None]) -> Iterator[Any]:
    for item in items:
        step()
        yield item


@contextmanager
def _shown(title: str, kind: str, intake: Intake, watch: Watch, target: Target) -> Generator[Callable[[], None]]:
    """A bar on a terminal, a line now and then elsewhere; both on the error stream."""
    with bar() as bars:
        task: TaskID = bars.add_task(escape(title), total=watch.total or None, done="")
        shown = target.clock.monotonic()
        pause = _EVERY_TERMINAL if problems.is_terminal else _EVERY_LOG

        def step() -> None:
            nonlocal shown
            if target.clock.monotonic() - shown < pause:
                return
            shown = target.clock.monotonic()
            done = f"{intake.read:,} {kind}" + (f", {intake.rejected:,} rejected" if intake.rejected else "")
            if problems.is_terminal:
                bars.update(task, completed=watch.read, done=done)
            else:
                problems.print(f"{title}: {done}", markup=False, soft_wrap=True)

        yield step


@contextmanager
def _rejects(path: Path | None) -> Generator[Callable[[SourceProblem], None]]:
    shown = 0

    def reject(problem: SourceProblem) -> None:
        nonlocal shown
        shown += 1
        if shown <= _SHOWN:
            label = "repeated" if problem.duplicate else "[red]rejected[/]"
            problems.print(f"{label} {escape(str(problem))}", soft_wrap=True)
        elif shown == _SHOWN + 1:
            problems.print("More are left out and not shown; --rejected FILE writes them all.")
        if file is not None:
            file.write(json.dumps(asdict(problem), ensure_ascii=False) + "\n")

    file: TextIO | None = None
    if path is None:
        yield reject
        return
    try:
        file = path.open("w", encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadUsage(f"--rejected {path} can't be written ({error}).", remedy="Name another file.") from error
    with file:
        yield reject


def _counts(intake: Intake, kind: str) -> str:
    report = intake.report
    parts = [f"{report.new:,} new", f"{report.changed:,} changed", f"{report.unchanged:,} unchanged"]
    parts += [f"{intake.repeated:,} repeated"] if intake.repeated else []
    return f"{kind}: {', '.join(parts)}, {intake.rejected:,} rejected"


def _summary(
    intake: Intake, estimates: list[Estimate], kind: str, target: Target, *, dry_run: bool, rejected: Path | None
) -> None:
    report = intake.report
    mark = "[yellow]![/]" if intake.rejected else "[green]✓[/]"
    output.print(f"{mark} {_counts(intake, kind)}.", soft_wrap=True)
    if rejected is not None and intake.rejected + intake.repeated:
        output.print(f"What is left out is in {escape(str(rejected))}.", soft_wrap=True)
    if any(each.records or each.deletes for each in estimates):
        table = Table("collection", "still to embed", "tokens at most", "in a batch", "now", "to delete")
        for each in estimates:
            table.add_row(
                escape(each.collection),
                f"{each.records:,}",
                f"{each.tokens:,}",
                _dollars(each.batch_usd),
                _dollars(each.now_usd),
                f"{each.deletes:,}",
            )
        output.print(table)
    if dry_run:
        output.print("Nothing was loaded: --dry-run.")
    elif not report.new and not report.changed and report.unchanged:
        output.print(f"Nothing changed: {target.name} has all of it already.", soft_wrap=True)


def _dollars(amount: float | None) -> str:
    """Four digits, since a thousand receipts cost a few cents; an unknown price is not nothing."""
    if amount is None:
        return "unknown price"
    return "$0" if amount == 0 else "< $0.0001" if amount < 0.0001 else f"${amount:,.4f}"


def _json(intake: Intake, estimates: list[Estimate], *, dry_run: bool) -> dict[str, Any]:
    report = intake.report
    return {
        "dry_run": dry_run,
        "new": report.new,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "rejected": intake.rejected,
        "repeated": intake.repeated,
        "problems": [asdict(problem) for problem in intake.problems],
        "estimates": [asdict(each) for each in estimates],
        "deltas": report.delta_keys,
    }
