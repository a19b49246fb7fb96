"""What is told of a simulated world: by the stores, by who asked for something, and by the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from siltstone.stores.leases import Lease

from tests.faults.facts import Asked, Content


@dataclass(frozen=True)
class Doer:
    """Who did it. ``state``: of the compaction machine, or "Rollback", "Pin", "Produce", "Read"."""

    state: str
    collection: str | None = None
    run: str | None = None  # run id
    version: str | None = None  # of the run
    token: int | None = None


@dataclass(frozen=True)
class Written:
    """An object changed. ``body`` is ``None`` for a delete, ``before`` the ETag that was there."""

    bucket: Literal["deltas", "snapshots"]
    key: str
    body: bytes | None
    etag: str
    before: str | None
    last_modified: int
    at: float  # true time
    doer: Doer


@dataclass(frozen=True)
class LeaseChanged:
    """A lease operation took effect. ``owner``, ``token``, ``now``: as the caller said."""

    operation: str
    lock_id: str
    owner: str
    token: int | None
    now: float | None
    before: Lease | None
    after: Lease | None


@dataclass(frozen=True)
class Answered:
    """A reader got an answer, or an error. ``expected_from``: what was known when it asked."""

    reader: str  # one process
    collection: str
    strong: bool
    asked: Asked
    version: str | None
    content: Content | None
    error: str | None


@dataclass(frozen=True)
class Acknowledged:
    """A producer was told that its delta is durable. ``etag`` is ``None`` if it had been before, and is retired."""

    key: str
    etag: str | None


@dataclass(frozen=True)
class Ended:
    """A run of the compaction machine failed in a state, or ended (``over``). ``failed_in``: the state to tell of."""

    collection: str
    version: str | None
    failed_in: str | None
    error: str | None
    over: bool


@dataclass(frozen=True)
class Pinned:
    """The operator was told that a version is pinned (or asked to unpin it)."""

    collection: str
    version: str
    pinned: bool


Event = Written | LeaseChanged | Answered | Acknowledged | Ended | Pinned
