"""The lock of a collection: it keeps two compactors from doing the same work.

It does not make a lost update impossible: that is the conditional write in :mod:`siltstone.compaction.pointer`,
whatever the lock does. Here: how long a lease is, where a token starts, and what a run is called.
"""

from __future__ import annotations

from siltstone.clock import Clock
from siltstone.compaction.manifests import version_folders
from siltstone.compaction.messages import Run, owner_of
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.version import Version
from siltstone.stores import Stores
from siltstone.stores.leases import Lease
from siltstone.stores.objects import ObjectStore

LEASE_SECONDS = 20 * 60  # longer than the longest state: a Lambda lives 15 minutes


def lock_id(collection: str) -> str:
    """Key of a collection's lock item: one lock for all who would move its pointer."""
    return f"compaction#{collection}"


def acquire(collection: str, execution: str, index: int, stores: Stores, clock: Clock) -> Run:
    """Take the lock and fix the run's version. Called again by the same execution, it returns the same run.

    Raises `LockBusy`, and `PointerMissing` before anything is taken.
    """
    lease = stores.leases.acquire(
        lock_id(collection),
        owner_of(execution, index),
        now=clock.now(),
        seconds=LEASE_SECONDS,
        floor=token_floor(stores.snapshots, collection),
    )
    return Run(
        collection=collection,
        execution=execution,
        index=index,
        token=lease.token,
        version=str(Version.at(lease.acquired_at, lease.token)),
        acquired_at=lease.acquired_at,
    )


def renew(run: Run, stores: Stores, clock: Clock, taking: int | None = None, alone: str | None = None) -> Lease:
    """Move the expiry: the first thing in every state. Raises `LockLost`.

    ``taking``: how many deltas this run took; ``alone``: which, if it was a single one.
    """
    return stores.leases.renew(
        lock_id(run.collection),
        run.owner,
        run.token,
        now=clock.now(),
        seconds=LEASE_SECONDS,
        taking=taking,
        alone=alone,
    )


def release(run: Run, stores: Stores, *, take: int | None, failures: int, suspect: str | None = None) -> bool:
    """Free the lock and leave what the next run must know. ``False``: it had passed to another owner."""
    return stores.leases.release(
        lock_id(run.collection), run.owner, run.token, take=take, failures=failures, suspect=suspect
    )


def token_floor(snapshots: ObjectStore, collection: str) -> int:
    """The greatest token that S3 has seen. A lock table restored from an old backup must not hand one out again."""
    pinned = read_pointer(snapshots, collection)
    token = 0 if pinned.version is None else Version.parse(pinned.version).token
    return max([token, *(folder.token for folder in version_folders(snapshots, collection))])
