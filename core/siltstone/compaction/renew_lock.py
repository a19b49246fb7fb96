"""State ``RenewLock``: keep the lease between two turns of ``Merge``."""

from __future__ import annotations

from siltstone.clock import Clock
from siltstone.compaction import lock
from siltstone.compaction.messages import RenewLockOutput, RunInput
from siltstone.stores import Stores


def renew_lock(request: RunInput, stores: Stores, clock: Clock) -> RenewLockOutput:
    """Raises `LockLost`, `StoreUnavailable`."""
    return RenewLockOutput(expires=lock.renew(request.run, stores, clock).expires)
