"""A progress bar for a verification, on a terminal only."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rich.progress import Progress, TaskID
from siltstone.verify import progress as verification

from siltstone_cli.console import human_bytes
from siltstone_cli.progress import bar


@contextmanager
def watched(title: str) -> Generator[verification.Progress]:
    """What `siltstone.verify` tells, as one line that goes away at the end."""
    with bar() as bars:
        yield _Bar(bars, title)


class _Bar:
    """Rich's own lock makes it safe for threads."""

    def __init__(self, bars: Progress, title: str) -> None:
        self._bars = bars
        self._title = title
        self._unit = ""
        self._task: TaskID = bars.add_task(title, total=None, done="")

    def begin(self, step: str, total: int, unit: str) -> None:
        self._unit = unit
        self._bars.reset(
            self._task, description=f"{self._title}: {step}", total=total or None, completed=0, done=self._figure(0)
        )

    def advance(self, amount: int) -> None:
        self._bars.advance(self._task, amount)
        self._bars.update(self._task, done=self._figure(self._bars.tasks[0].completed))

    def _figure(self, amount: float) -> str:
        return human_bytes(amount) if self._unit == "bytes" else f"{amount:,.0f} {self._unit}"
