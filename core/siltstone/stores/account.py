"""What an account says of a deployed stage: facts, no verdicts. Reads only, and never a secret's value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from siltstone.errors import NotFound, Refused


class NotAllowed(Refused):
    """The caller's credentials may not ask. The message names the action."""


class NotThere(NotFound):
    """What the stack's outputs name does not exist any more."""


@dataclass(frozen=True)
class Concurrency:
    """How many functions may run at once: in the account and region, and of these not reserved for one function."""

    total: int
    unreserved: int


@dataclass(frozen=True)
class LifecycleRule:
    """One of a bucket's. ``expires``: what is current is deleted by age."""

    rule_id: str
    prefix: str
    enabled: bool
    expires: bool


@dataclass(frozen=True)
class Bucket:
    """``rules``: ``None`` where the bucket has no lifecycle at all."""

    versioned: bool
    rules: tuple[LifecycleRule, ...] | None


@dataclass(frozen=True)
class Table:
    """``recoverable``: point-in-time recovery is on."""

    status: str
    recoverable: bool


@dataclass(frozen=True)
class Queue:
    """Messages that can be received, and those that somebody works on; both are approximate."""

    waiting: int
    in_flight: int


@dataclass(frozen=True)
class Secret:
    """``filled``: it has a current value; ``untouched``: the one that the stack made, a random word."""

    filled: bool
    untouched: bool


class Account(Protocol):
    """Every method may raise `NotAllowed`, `NotThere` and `StoreUnavailable`."""

    @property
    def region(self) -> str: ...

    def caller(self) -> str:
        """ARN of whoever asks."""
        ...

    def stack_status(self, stack: str) -> str:
        """``UPDATE_COMPLETE`` and the like."""
        ...

    def concurrency(self) -> Concurrency: ...

    def memory_mb(self, function: str) -> int: ...

    def bucket(self, name: str) -> Bucket: ...

    def table(self, name: str) -> Table: ...

    def queue(self, url: str) -> Queue: ...

    def secret(self, secret: str) -> Secret: ...

    def schedule(self, name: str) -> str:
        """``ENABLED`` or ``DISABLED``."""
        ...

    def event_source(self, function: str) -> str:
        """State of the queue's mapping to a function: ``Enabled`` and the like."""
        ...
