"""Ids of deltas: ULIDs that only grow within a process, so that a producer's own writes keep their order."""

from __future__ import annotations

import os
import re
import threading

from ulid import ULID

from siltstone.clock import Clock
from siltstone.errors import InvalidInput

_DERIVED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")


class GrowingIds:
    """Each ULID is greater than the one before, within a millisecond and when the clock goes back."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def next(self, clock: Clock) -> str:
        """The next id, of ``clock``'s time or just behind the last one."""
        random = int.from_bytes(os.urandom(10), "big")
        with self._lock:
            self._last = max(self._last + 1, (int(clock.now() * 1_000) << 80) | random)
            return str(ULID.from_int(self._last))


delta_ids = GrowingIds()


def check_delta_id(delta_id: str) -> str:
    """A derived id becomes part of a key. Raises `InvalidInput`."""
    if not _DERIVED.match(delta_id) or ".." in delta_id:
        raise InvalidInput(
            f"The delta id {delta_id[:80]!r} is not usable.", remedy="Use up to 200 of a-z, A-Z, 0-9, '.', '_', '-'."
        )
    return delta_id
