"""Progress as a person sees it: one line for each phase, alive while it runs, with its time when it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

Say = Callable[[str], None]


class Phases:
    """``seconds``: wall time of each phase by its short name."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str, title: str) -> Generator[Say]:
        """A phase; what is said inside replaces what was said before, or is logged where there is no terminal."""
        began, last = time.monotonic(), ""
        with self._console.status(title) as status:

            def say(text: str) -> None:
                nonlocal last
                status.update(f"{title}: {escape(text)}")
                # A log file is no place for every change: one line now and then.
                if not self._console.is_terminal and text != last and time.monotonic() - said_at[0] > 5:
                    self._console.print(f"  {escape(text)}")
                    said_at[0] = time.monotonic()
                last = text

            said_at = [began]
            yield say
        self.seconds[name] = round(time.monotonic() - began, 2)
        self._console.print(f"[green]✓[/] {title} [dim]{self.seconds[name]:.1f} s[/]")
