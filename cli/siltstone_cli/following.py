"""Watching something that goes on elsewhere: a line that changes on a terminal, a line for each change otherwise."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from siltstone.clock import Clock

from siltstone_cli.console import human_seconds, problems

_PAUSE_FIRST, _PAUSE_LAST = 0.2, 2.0  # seconds between two looks


@contextmanager
def waited(text: str) -> Generator[None]:
    """Say on the error stream what is waited for."""
    if not problems.is_terminal:
        problems.print(text, markup=False, soft_wrap=True)
        yield
        return
    with problems.status(escape(text)):
        yield


def follow(title: str, running: Callable[[], bool], states: Callable[[], dict[str, str]], clock: Clock) -> None:
    """Ask again and again until ``running`` says no, and show ``states`` (name to what it does) meanwhile."""
    began, pause, shown = clock.monotonic(), _PAUSE_FIRST, ""
    spinner = Spinner("dots")
    with Live(spinner, console=problems, transient=True, refresh_per_second=8) as live:
        live.auto_refresh = problems.is_terminal
        while running():
            now = "; ".join(f"{name}: {state}" for name, state in states().items()) or "beginning"
            if problems.is_terminal:
                took = human_seconds(clock.monotonic() - began)
                spinner.update(text=escape(f"{title} {took}  {now}"))
            elif now != shown:
                problems.print(f"{title}  {now}", markup=False, soft_wrap=True)
            shown = now
            clock.sleep(pause)
            pause = min(pause * 1.3, _PAUSE_LAST)
