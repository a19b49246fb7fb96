"""Times as a person writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from siltstone.errors import InvalidInput

_LENGTH = re.compile(r"(\d{1,6}) ?(s|min|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def epoch_seconds(text: str) -> float:
    """``2026-02-01T06:00``, in UTC unless it names a zone, as epoch seconds. Raises `ValueError`."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def parse_time(text: str, now: float, *, ago: bool) -> float:
    """Epoch seconds of a time, or of a length (``90s``, ``10min``, ``6h``, ``3d``) before (``ago``) or after ``now``.

    Raises `InvalidInput`.
    """
    length = _LENGTH.fullmatch(text.strip())
    try:
        if length is None:
            return epoch_seconds(text.strip())
        seconds = int(length[1]) * _SECONDS[length[2]]
        return now - seconds if ago else now + seconds
    except (ValueError, OverflowError):
        remedy = "Write 2026-02-01T06:00 (UTC unless it names a zone), or a length: 90s, 10min, 6h, 3d."
        raise InvalidInput(f"{text[:80]!r} is no time.", remedy=remedy) from None
