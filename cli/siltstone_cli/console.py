"""Where output goes: results to the standard output, everything else to the error stream."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_LOG_WIDTH = 160  # a pipe or a log file has no width, and 80 columns cut the tables

# What stands in a stored text must not command the terminal of whoever looks at it.
_VISIBLE = {code: 0x2400 + code for code in range(0x20) if code != 0x0A} | dict.fromkeys(range(0x7F, 0xA0), 0xFFFD)

_COLOURS = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "ABORTED": "red",
    "RUNNING": "cyan",
    "compacted": "green",
    "failed": "red",
    "busy": "yellow",
}


class _Console(Console):
    """Shows control characters instead of obeying them; Rich's own come as segments of their own kind."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            shown = segment.text if segment.is_control else segment.text.translate(_VISIBLE)
            yield segment if shown == segment.text else Segment(shown, segment.style)


def _console(*, stderr: bool) -> Console:
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return _Console(stderr=stderr, width=None if terminal else _LOG_WIDTH, highlight=False)


output = _console(stderr=False)
problems = _console(stderr=True)


def print_json(value: BaseModel | dict[str, Any] | list[Any]) -> None:
    """One JSON document on the standard output, indented, in UTF-8."""
    found = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    written = json.dumps(found, indent=2, ensure_ascii=False)
    # JSON leaves these control characters as they are.
    sys.stdout.write(re.sub("[\x7f-\x9f]", lambda each: f"\\u{ord(each[0]):04x}", written) + "\n")


def coloured(word: str) -> str:
    """An outcome's own word, in Rich's markup."""
    return f"[{_COLOURS[word]}]{word}[/]" if word in _COLOURS else word


def human_bytes(size: float | None) -> str:
    """``1.5 GB``; empty for ``None``."""
    if size is None:
        return ""
    for unit in ("B", "KB", "MB"):
        if size < 1_000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1_000
    return f"{size:.1f} GB"


def human_age(seconds: float | None) -> str:
    """``3 h``; empty for ``None``."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def human_seconds(seconds: float | None) -> str:
    """How long something took: ``0.5 s``, ``59 s``, ``12 min``; empty for ``None``."""
    return f"{seconds:.1f} s" if seconds is not None and seconds < 10 else human_age(seconds)


def human_count(number: int | None) -> str:
    """``1,234``; empty for ``None``."""
    return "" if number is None else f"{number:,}"
