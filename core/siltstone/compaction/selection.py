"""Which of the pending deltas a run takes: not applied yet, of a first life, the oldest first, within its limits."""

from __future__ import annotations

import logging

from siltstone.compaction.documents import AppliedDelta
from siltstone.deltas.listing import PendingDelta
from siltstone.deltas.retire import retire_delta, with_earlier_life
from siltstone.settings import RunLimits
from siltstone.stores.leases import Lease
from siltstone.stores.objects import ObjectStore

POISON_FAILURES = 3  # runs that a single delta may fail alone before it goes to quarantine

_log = logging.getLogger(__name__)


def identity(delta: PendingDelta) -> AppliedDelta:
    """The delta as plans and manifests name it."""
    return AppliedDelta(key=delta.key, etag=delta.etag)


def without_second_lives(store: ObjectStore, deltas: list[PendingDelta]) -> list[PendingDelta]:
    """Leave out keys that were deleted before, and delete them again: applied twice, an old row could hide a newer one.

    The bucket is versioned: what a foreign writer put there stays recoverable.
    """
    again = with_earlier_life(store, deltas)
    for delta in again:
        retired = retire_delta(store, delta.key, delta.etag)
        _log.warning("%s was deleted before and came back: %s", delta.key, "retired again" if retired else "left alone")
    gone = {delta.key for delta in again}
    return [delta for delta in deltas if delta.key not in gone]


def select(deltas: list[PendingDelta], lease: Lease, limits: RunLimits) -> list[PendingDelta]:
    """The oldest, as many as the lease's ``take`` and the run's bytes allow; at least one where there is any."""
    taken: list[PendingDelta] = []
    size = 0
    for delta in deltas[: lease.take]:
        size += delta.size
        if taken and size > limits.max_bytes:
            break
        taken.append(delta)
    return taken


def is_poison(delta: PendingDelta, lease: Lease) -> bool:
    """Whether this delta failed alone so often that it must be looked at by a person.

    The failures are counted of one delta, by its identity: however the run ends that moves it aside (a retry after a
    lost reply, a crash, an execution stopped by hand), they convict none that comes after it.
    """
    return lease.suspect == suspect_name(identity(delta)) and lease.failures >= POISON_FAILURES


def suspect_name(delta: AppliedDelta) -> str:
    """The delta as a lease names it."""
    return f"{delta.key} {delta.etag}"
