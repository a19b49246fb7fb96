"""The lease store: one item per lock, with an owner, an expiry and a fencing token that only grows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from siltstone.clock import iso
from siltstone.errors import LockBusy


@dataclass(frozen=True)
class Lease:
    """A lock item as stored. It is never deleted: the token would start again.

    ``expires``, ``acquired_at``, ``heartbeat``: epoch seconds. ``owner`` is ``None`` when free.
    ``take``: how many deltas the next run may take (``None``: no limit); halved after a failure that is not I/O.
    ``taking``: how many the present run took; ``alone``: which one, if it was a single one. ``failures``: how many runs
    failed on a single delta alone; ``suspect``: which one that was. (A name of the delta's identity, for comparing.)
    """

    lock_id: str
    token: int
    owner: str | None = None
    expires: float = 0.0
    acquired_at: float = 0.0
    heartbeat: float = 0.0
    take: int | None = None
    taking: int | None = None
    alone: str | None = None
    failures: int = 0
    suspect: str | None = None


class LeaseStore(Protocol):
    """Conditional updates of lock items. Every method may raise `StoreUnavailable`."""

    def read(self, lock_id: str) -> Lease | None:
        """The item, read consistently."""
        ...

    def acquire(self, lock_id: str, owner: str, *, now: float, seconds: float, floor: int) -> Lease:
        """Take the lock if it is free, expired (``expires < now``), or already this owner's.

        This owner again (a retry after a lost reply): the same token and ``acquired_at``, a new expiry.
        A new owner: token = max(token, ``floor``) + 1. Raises `LockBusy`, naming holder and expiry.
        """
        ...

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
        """Move the expiry if owner and token are mine, even after it passed (nobody took it). Raises `LockLost`.

        ``alone`` is stored with ``taking``; without ``taking`` both stay.
        """
        ...

    def release(
        self, lock_id: str, owner: str, token: int, *, take: int | None, failures: int, suspect: str | None = None
    ) -> bool:
        """Free the lock if owner and token are mine and store what the next run must know. ``False``: not mine."""
        ...


def claim(found: Lease | None, lock_id: str, owner: str, *, now: float, seconds: float, floor: int) -> Lease:
    """The item that `LeaseStore.acquire` writes over ``found``: the one rule that every lease store follows.

    Raises `LockBusy`. What the run before left for the next one is carried over.
    """
    if found is None:
        found = Lease(lock_id, token=0)
    if found.owner == owner:
        return replace(found, expires=now + seconds, heartbeat=now)
    if found.owner is not None and found.expires >= now:
        raise LockBusy(
            f"{lock_id} is held by {found.owner} (token {found.token}) until {iso(found.expires)}.",
            remedy="Its run does this run's work; if it was stopped by hand, the lease heals by expiring.",
        )
    return Lease(
        lock_id,
        token=max(found.token, floor) + 1,
        owner=owner,
        expires=now + seconds,
        acquired_at=now,
        heartbeat=now,
        take=found.take,
        failures=found.failures,
        suspect=found.suspect,
    )
