"""What is remembered of two stores that run beside each other: counters, and a log that keeps to its bound."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

MAX_BYTES = 16 * 2**20


class Counters:
    """Numbers by name. Safe for threads.

    Reading: ``asked``, of these ``same``, ``different``, ``other_failed``, ``other_slow``, ``not_asked`` (too many were
    on their way), ``chosen_failed``. Writing: ``written``, of these ``other_write_failed``; ``first_write_failed``;
    ``healed`` and ``heal_failed`` ids; ``journal_failed``. ``log_failed``: lines that could not be written.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: Counter[str] = Counter()

    def add(self, name: str, number: int = 1) -> None:
        """Count."""
        with self._lock:
            self._numbers[name] += number

    def as_dict(self) -> dict[str, int]:
        """All that are not zero, sorted by name."""
        with self._lock:
            return dict(sorted(self._numbers.items()))


class Log(Protocol):
    """Takes records. It never raises: a full disk must not harm an answer."""

    def write(self, record: dict[str, Any]) -> bool:
        """Whether it was written."""
        ...


class JsonLines:
    """One JSON object a line in ``path``; at ``max_bytes`` it becomes ``path.1`` and the one before that is dropped."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def write(self, record: dict[str, Any]) -> bool:
        line = json.dumps(record, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"
        try:
            with self._lock:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                if self._path.exists() and self._path.stat().st_size + len(line) > self._max_bytes:
                    self._path.replace(self._path.with_name(self._path.name + ".1"))
                with self._path.open("ab") as file:
                    file.write(line)
        except OSError:
            return False
        return True
