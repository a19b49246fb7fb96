"""A bar over a known number of things on a terminal, and a line now and then elsewhere; both on the error stream."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from siltstone_cli.console import problems
from siltstone_cli.target import Target

_EVERY = 10.0  # seconds between two lines


def bar() -> Progress:
    """What every bar looks like; a task's field ``done`` is the figure beside it. It goes away at the end."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=problems, transient=True, disable=not problems.is_terminal)


@contextmanager
def counted(title: str, total: int, kind: str, target: Target) -> Generator[Callable[[int], None]]:
    """``kind``: what is counted, in the plural. Call what is yielded with how many are done."""
    with bar() as bars:
        task = bars.add_task(escape(title), total=total or None, done="")
        shown = target.clock.monotonic()

        def step(done: int) -> None:
            nonlocal shown
            if problems.is_terminal:
                bars.update(task, completed=done, done=f"{done:,} {kind}")
            elif target.clock.monotonic() - shown >= _EVERY:
                shown = target.clock.monotonic()
                problems.print(f"{title}: {done:,} of {total:,} {kind}", markup=False, soft_wrap=True)

        yield step
