"""The in-memory stores, telling every change that takes effect, and whose doing it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from siltstone.clock import ManualClock
from siltstone.stores.leases import Lease
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.objects_memory import MemoryObjects

from tests.faults.events import Doer, Event, LeaseChanged, Written
from tests.faults.simulation.gate import StoreClock

PAGE_SIZE = 3


class WatchedObjects(MemoryObjects):
    """A bucket whose listings have small pages."""

    def __init__(
        self,
        bucket: Literal["deltas", "snapshots"],
        true: ManualClock,
        clock: StoreClock,
        tell: Callable[[Event], None],
        doer: Callable[[], Doer],
    ) -> None:
        super().__init__(clock, page_size=PAGE_SIZE)
        self._bucket: Literal["deltas", "snapshots"] = bucket
        self._true = true
        self._tell = tell
        self._doer = doer
        self.writes = 0  # so far

    def first_body(self, key: str) -> bytes:
        """What was put under a key the first time."""
        return next(entry.body for entry in self._history[key] if entry.body is not None)

    def answer_in_large_pages(self) -> None:
        """From now on a listing is one page, as a rule."""
        self._page_size = 1_000

    def _append(self, key: str, body: bytes | None) -> Any:
        self.writes += 1
        before = self.head(key)
        entry = super()._append(key, body)
        self._tell(
            Written(
                bucket=self._bucket,
                key=key,
                body=body,
                etag=entry.etag,
                before=before.etag if before else None,
                last_modified=entry.last_modified,
                at=self._true.now(),
                doer=self._doer(),
            )
        )
        return entry


class WatchedLeases(MemoryLeases):
    """The lock table."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        super().__init__()
        self._tell = tell

    def acquire(self, lock_id: str, owner: str, *, now: float, seconds: float, floor: int) -> Lease:
        before = self.read(lock_id)
        lease = super().acquire(lock_id, owner, now=now, seconds=seconds, floor=floor)
        self._changed("acquire", lock_id, owner, None, now, before)
        return lease

    def renew(self, lock_id: str, owner: str, token: int, **named: Any) -> Lease:
        before = self.read(lock_id)
        lease = super().renew(lock_id, owner, token, **named)
        self._changed("renew", lock_id, owner, token, named["now"], before)
        return lease

    def release(self, lock_id: str, owner: str, token: int, **named: Any) -> bool:
        before = self.read(lock_id)
        released = super().release(lock_id, owner, token, **named)
        self._changed("release", lock_id, owner, token, None, before)
        return released

    def _changed(
        self, operation: str, lock_id: str, owner: str, token: int | None, now: float | None, before: Lease | None
    ) -> None:
        self._tell(LeaseChanged(operation, lock_id, owner, token, now, before, self.read(lock_id)))
