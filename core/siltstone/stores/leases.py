"""The lease store: one item per lock, with an owner, an expiry and a fencing token that only grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Lease:
    """A lock item as stored. It is never deleted: the token would start again.

    ``expires``, ``acquired_at``, ``heartbeat``: epoch seconds. ``owner`` is ``None`` when free.
    ``take``: how many deltas the next run may take (``None``: no limit); halved after a failure that is not I/O.
    ``taking``: how many the present run took. ``failures``: how often a single delta failed alone.
    """

    lock_id: str
    token: int
    owner: str | None = None
    expires: float = 0.0
    acquired_at: float = 0.0
    heartbeat: float = 0.0
    take: int | None = None
    taking: int | None = None
    failures: int = 0


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
        self, lock_id: str, owner: str, token: int, *, now: float, seconds: float, taking: int | None = None
    ) -> Lease:
        """Move the expiry if owner and token are mine, even after it passed (nobody took it). Raises `LockLost`."""
        ...

    def release(self, lock_id: str, owner: str, token: int, *, take: int | None, failures: int) -> bool:
        """Free the lock if owner and token are mine and store what the next run must know. ``False``: not mine."""
        ...
