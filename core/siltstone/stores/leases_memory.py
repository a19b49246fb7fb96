"""The lease store in memory: the same rule as DynamoDB's, under a mutex instead of conditional writes."""

from __future__ import annotations

import threading
from dataclasses import replace

from siltstone.errors import LockLost
from siltstone.stores.leases import Lease, claim


class MemoryLeases:
    """`siltstone.stores.leases.LeaseStore` in a dictionary. Safe for threads."""

    def __init__(self) -> None:
        self._items: dict[str, Lease] = {}
        self._lock = threading.Lock()

    def read(self, lock_id: str) -> Lease | None:
        with self._lock:
            return self._items.get(lock_id)

    def acquire(self, lock_id: str, owner: str, *, now: float, seconds: float, floor: int) -> Lease:
        with self._lock:
            lease = claim(self._items.get(lock_id), lock_id, owner, now=now, seconds=seconds, floor=floor)
            self._items[lock_id] = lease
            return lease

    def renew(
        self,
        lock_id: str,
        owner: str,
        token: int,
        *,
        now: float,
        seconds: float,
        taking: int | None = None,
        alone: str | None = None,
    ) -> Lease:
        with self._lock:
            found = self._items.get(lock_id)
            if found is None or (found.owner, found.token) != (owner, token):
                raise LockLost(f"{lock_id} is no longer held by {owner} with token {token}.")
            lease = replace(found, expires=now + seconds, heartbeat=now)
            if taking is not None:
                lease = replace(lease, taking=taking, alone=alone)
            self._items[lock_id] = lease
            return lease

    def release(
        self, lock_id: str, owner: str, token: int, *, take: int | None, failures: int, suspect: str | None = None
    ) -> bool:
        with self._lock:
            found = self._items.get(lock_id)
            if found is None or (found.owner, found.token) != (owner, token):
                return False
            free = replace(found, owner=None, expires=0.0, taking=None, alone=None)
            self._items[lock_id] = replace(free, take=take, failures=failures, suspect=suspect)
            return True
