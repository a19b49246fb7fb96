"""What ``siltstone embed`` does that takes a while, each with its progress on the error stream."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from siltstone.embedding.embed_now import EmbedNowOutput, portions
from siltstone.embedding.follow import Followed, follow_batches, wait_for_execution
from siltstone.embedding.messages import PlanBatchesOutput
from siltstone.embedding.preview import Preview, preview_plan
from siltstone.errors import SiltstoneError
from siltstone.stores.ledger import BatchItem

from siltstone_cli.console import problems
from siltstone_cli.exits import INTERRUPTED
from siltstone_cli.target import Target

MACHINE = "Embedding"


def preview(
    target: Target,
    collections: Sequence[str] | None,
    *,
    source_ids: Sequence[str] | None = None,
    limit: int | None = None,
    enough: int | None = None,
    retry_failed: bool = False,
) -> Preview:
    """What is open, and what it would cost. Reads the body of every open source, or of ``enough`` of them."""
    with _bar("looking at sources") as bar:
        return preview_plan(
            target.stores,
            target.clock,
            collections=collections or None,
            source_ids=source_ids or None,
            limit=limit,
            enough=enough,
            retry_failed=retry_failed,
            progress=bar,
        )


def now(target: Target, found: Preview, collections: Sequence[str] | None, *, retry_failed: bool) -> EmbedNowOutput:
    """Embed all that the preview found, a few sources a call of the deployed function: it has the key."""
    total = EmbedNowOutput(sources=0, embedded=0, waiting=0, failed=0, delta_keys=[], tokens=0, cost_usd=0.0)
    event = {"collections": list(dict.fromkeys(collections)) if collections else None, "retry_failed": retry_failed}
    with _bar("embedding") as bar:
        for ids in portions(found.sizes):
            try:
                reply = target.invoke("EmbedNow", {**event, "source_ids": ids})
            except SiltstoneError:
                if total.embedded:
                    problems.print(f"{total.embedded:,} records were embedded before this; the same again goes on.")
                raise
            total = _sum(total, EmbedNowOutput.model_validate(reply))
            bar(total.sources, found.sources)
    return total


def follow_plan(target: Target, execution: str) -> PlanBatchesOutput:
    """Wait for a plan. Raises `ExecutionFailed`."""
    with _patiently(), problems.status("planning batches"):
        ended = wait_for_execution(execution, target.clock, target.machine(MACHINE))
    return PlanBatchesOutput.model_validate(ended.output)


def follow(target: Target, executions: Mapping[str, str]) -> Followed:
    """Wait until every batch is over, or nobody works on it any more."""
    with _patiently(), _bar("batches") as bar:

        def look(items: Mapping[str, BatchItem]) -> None:
            left = sorted(f"{item.batch_id} {item.status}" for item in items.values() if item.open)
            bar(len(items) - len(left), len(executions), ", ".join(left[:3]))

        return follow_batches(executions, target.stores, target.clock, target.machine(MACHINE), look=look)


class _Bar:
    """A bar on a terminal; elsewhere a line whenever something has changed, but not for every step of many."""

    def __init__(self, bars: Progress, title: str) -> None:
        self._bars = bars
        self._title = title
        self._task = bars.add_task(title, total=None, what="")
        self._said = (-1, "")

    def __call__(self, done: int, total: int, what: str = "") -> None:
        self._bars.update(self._task, completed=done, total=total or None, what=what)
        tenth = done * 10 // max(total, 1)
        if not problems.is_terminal and total > 1 and (tenth, what) != self._said:
            self._said = (tenth, what)
            problems.print(f"{self._title}: {done:,} of {total:,}{f'; {what}' if what else ''}", markup=False)


@contextmanager
def _bar(title: str) -> Generator[_Bar]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TextColumn("{task.fields[what]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=problems, transient=True, disable=not problems.is_terminal) as bars:
        yield _Bar(bars, title)


@contextmanager
def _patiently() -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        problems.print("Stopped waiting; the machine goes on. How far it is: siltstone embed status.")
        raise typer.Exit(INTERRUPTED) from error


def _sum(one: EmbedNowOutput, other: EmbedNowOutput) -> EmbedNowOutput:
    costs = (one.cost_usd, other.cost_usd)
    return EmbedNowOutput(
        sources=one.sources + other.sources,
        embedded=one.embedded + other.embedded,
        waiting=one.waiting + other.waiting,
        failed=one.failed + other.failed,
        delta_keys=[*one.delta_keys, *other.delta_keys],
        tokens=one.tokens + other.tokens,
        cost_usd=None if None in costs else round(sum(cost for cost in costs if cost is not None), 8),
    )
