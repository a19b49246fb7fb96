"""Who holds the locks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from siltstone.clock import Clock, iso
from siltstone.compaction import lock
from siltstone.compaction.messages import Message
from siltstone.parallel import in_parallel
from siltstone.stores import Stores


class LockInfo(Message):
    """A collection's lock. ``expired``: its holder died or was stopped by hand; the next run takes it over.

    ``take``: how many deltas the next run may take, ``None`` for no limit; ``failures``: of a single delta, alone.
    """

    collection: str
    lock_id: str
    state: Literal["never taken", "free", "held", "expired"]
    token: int = 0
    owner: str | None = None
    acquired_at: str | None = None
    heartbeat: str | None = None
    expires: str | None = None
    seconds_left: float | None = None
    taking: int | None = None
    take: int | None = None
    failures: int = 0


def list_locks(collections: Sequence[str], stores: Stores, clock: Clock) -> list[LockInfo]:
    """In the order of ``collections``; ``expired`` by ``clock``. Raises `StoreUnavailable`."""
    return in_parallel(lambda collection: _info(collection, stores, clock), collections)


def _info(collection: str, stores: Stores, clock: Clock) -> LockInfo:
    lock_id = lock.lock_id(collection)
    lease = stores.leases.read(lock_id)
    if lease is None:
        return LockInfo(collection=collection, lock_id=lock_id, state="never taken")
    left = lease.expires - clock.now()
    held = lease.owner is not None
    return LockInfo(
        collection=collection,
        lock_id=lock_id,
        state=("held" if left >= 0 else "expired") if held else "free",
        token=lease.token,
        owner=lease.owner,
        acquired_at=iso(lease.acquired_at) if held else None,
        heartbeat=iso(lease.heartbeat) if held else None,
        expires=iso(lease.expires) if held else None,
        seconds_left=round(left, 1) if held else None,
        taking=lease.taking,
        take=lease.take,
        failures=lease.failures,
    )
