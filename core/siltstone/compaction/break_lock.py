"""Freeing a lock that somebody else holds, by an operator's hand.

It is never needed for safety and never endangers it: the run that held the lock stops with `LockLost` at its next
state, and if it should be at its last one, of two promotions over one pointer the conditional write lets one through.
What is lost is that run's work so far, and what it would have told the next run about how much to take.
"""

from __future__ import annotations

from siltstone.compaction import lock
from siltstone.errors import LockBusy
from siltstone.stores import Stores


def break_lock(collection: str, owner: str, token: int, stores: Stores) -> bool:
    """Free the lock of a physical collection if it is still held by ``owner`` with ``token``.

    ``False``: nobody holds it any more; running it again is no error. Raises `LockBusy` if another run has it by now,
    `StoreUnavailable`. What the run before left for the next one is kept.
    """
    lock_id = lock.lock_id(collection)
    lease = stores.leases.read(lock_id)
    if lease is None or lease.owner is None:
        return False
    if (lease.owner, lease.token) == (owner, token) and stores.leases.release(
        lock_id, owner, token, take=lease.take, failures=lease.failures, suspect=lease.suspect
    ):
        return True
    now = stores.leases.read(lock_id)
    if now is None or now.owner is None:
        return False
    raise LockBusy(
        f"{lock_id} is held by {now.owner} with token {now.token} by now, not by {owner} with {token}.",
        remedy="Look again: `siltstone lock show`.",
    )
