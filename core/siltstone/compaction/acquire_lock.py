"""State ``AcquireLock``: take the collection's lease and fix the run's token and version."""

from __future__ import annotations

from siltstone.clock import Clock
from siltstone.compaction import lock
from siltstone.compaction.messages import AcquireLockInput, Run
from siltstone.stores import Stores


def acquire_lock(request: AcquireLockInput, stores: Stores, clock: Clock) -> Run:
    """Run again by the same execution, it returns the same run, also after a lost reply.

    Raises `UnknownCollection` for a name without settings, `LockBusy`, `PointerMissing`, `StoreUnavailable`.
    """
    stores.settings.resolve(request.collection)
    return lock.acquire(request.collection, request.execution, request.index, stores, clock)
