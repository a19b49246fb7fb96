"""What an invariant raises, and words for what differs."""

from __future__ import annotations

from typing import NoReturn

from tests.faults.facts import Content, Row


class Violation(AssertionError):
    """An invariant does not hold. The message begins with its name."""


def difference(found: Content, expected: Content) -> str:
    """What differs, by id: short enough to read."""
    said: list[str] = []
    for row_id in sorted({*found, *expected}):
        if found.get(row_id) != expected.get(row_id):
            said.append(f"{row_id} is {words(found.get(row_id))} instead of {words(expected.get(row_id))}")
    return "; ".join(said[:4])


def words(row: Row | None) -> str:
    """A row, or that there is none."""
    return "nothing" if row is None else f"{row[1]!r} {row[2]}"


def fail(name: str, what: str) -> NoReturn:
    """``name``: of the invariant."""
    raise Violation(f"{name}: {what}")
