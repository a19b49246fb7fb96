"""The batch ledger: one item per OpenAI batch, with its attempts and what became of every record.

```
PLANNED ─> SUBMITTING ─> SUBMITTED ─> EMBEDDED ─┬> COMPLETE
   ^           ^             │                  │
   │           └─ full queue ┘                  │            any of the open ones ─> FAILED
   └────────────── rows to retry: next attempt ─┘            any of the open ones ─> CANCELLED, on request
```
Every write is conditional on the version that was read, so two executions of one batch can't both move it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, Protocol
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from siltstone.errors import IllegalTransition
from siltstone.stores.migrations import MigrationItem

BatchState = Literal["PLANNED", "SUBMITTING", "SUBMITTED", "EMBEDDED", "COMPLETE", "FAILED", "CANCELLED"]

CLOSED: frozenset[BatchState] = frozenset({"COMPLETE", "FAILED", "CANCELLED"})

_MOVES: dict[BatchState, frozenset[BatchState]] = {
    # SUBMITTED at once: an adopted batch.
    "PLANNED": frozenset({"PLANNED", "SUBMITTING", "SUBMITTED", "FAILED", "CANCELLED"}),
    # SUBMITTING again: the provider does not have the one before.
    "SUBMITTING": frozenset({"SUBMITTING", "SUBMITTED", "FAILED", "CANCELLED"}),
    "SUBMITTED": frozenset({"SUBMITTING", "EMBEDDED", "FAILED", "CANCELLED"}),  # back: its queue was full
    "EMBEDDED": frozenset({"PLANNED", "COMPLETE", "FAILED", "CANCELLED"}),
    "COMPLETE": frozenset(),
    "FAILED": frozenset(),
    "CANCELLED": frozenset(),
}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Counts(_Model):
    """What became of records. ``submitted = embedded + to_retry + rejected + outdated``, or `LedgerImbalance`."""

    submitted: int = 0
    embedded: int = 0
    to_retry: int = 0
    rejected: int = 0
    outdated: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every submitted record ended as exactly one thing."""
        return self.submitted == self.embedded + self.to_retry + self.rejected + self.outdated


class Attempt(_Model):
    """What was sent once, and what came of it. ``cost_usd`` is ``None`` where the model's price is unknown."""

    attempt: int = Field(ge=1)
    openai_batch_id: str | None = None
    counts: Counts = Counts()
    tokens: int = 0
    cost_usd: float | None = None
    delta_keys: tuple[str, ...] = ()
    unknown_rows: int = 0  # rows that came back under an id that was never sent: counted, never written
    cause: str | None = None
    recorded_at: float | None = None  # by ``RecordOutcome``; ``None``: still open


class BatchItem(_Model):
    """A batch as stored. Times are epoch seconds. ``version`` is 0 before the first write."""

    batch_id: str  # a ULID: grows with time
    collection: str
    plan: str  # the planning execution's name
    model: str
    status: BatchState = "PLANNED"
    version: int = 0
    write_id: str = ""  # of the latest write
    generation: int = 1  # of the execution's name
    records: int = 0  # of the first attempt
    sources: int = 0
    attempt: int = 1
    submission: int = 0  # how often the present attempt was bought, or may have been
    submitting_at: float | None = None  # just before the latest call that buys
    input_file_id: str | None = None
    openai_batch_id: str | None = None  # of the present attempt
    attempts: tuple[Attempt, ...] = ()
    quarantined: dict[str, int] = {}  # delta key -> records
    cause: str | None = None
    cancel_requested_at: float | None = None  # a person wants it to end: the next state that sees it obeys
    created_at: float = 0.0
    updated_at: float = 0.0
    seen_at: float = 0.0  # when an execution last worked on it: a sign of life, nothing rests on it for safety

    @property
    def open(self) -> bool:
        """Whether something is left to do."""
        return self.status not in CLOSED

    @property
    def counts(self) -> Counts:
        """Over all attempts: a record that was sent again counts once."""
        done = [attempt.counts for attempt in self.attempts]
        return Counts(
            submitted=self.records,
            embedded=sum(one.embedded for one in done),
            rejected=sum(one.rejected for one in done),
            outdated=sum(one.outdated for one in done),
            to_retry=self.records - sum(one.embedded + one.rejected + one.outdated for one in done),
        )

    @property
    def tokens(self) -> int:
        """Billed input tokens of all attempts."""
        return sum(attempt.tokens for attempt in self.attempts)

    @property
    def cost_usd(self) -> float | None:
        """US dollars of all attempts; ``None`` where a price is unknown."""
        costs = [attempt.cost_usd for attempt in self.attempts]
        return None if None in costs else round(sum(cost for cost in costs if cost is not None), 8)

    @property
    def delta_keys(self) -> tuple[str, ...]:
        """Every delta that was written for this batch."""
        return tuple(key for attempt in self.attempts for key in attempt.delta_keys)

    def outcome(self, attempt: int) -> Attempt | None:
        """What is known of ``attempt``."""
        return next((one for one in self.attempts if one.attempt == attempt), None)

    def with_outcome(self, outcome: Attempt) -> tuple[Attempt, ...]:
        """``attempts`` with this one put in its place."""
        return (*(one for one in self.attempts if one.attempt != outcome.attempt), outcome)

    def moved(self, status: BatchState, **changes: Any) -> BatchItem:
        """The item in another status, not yet saved. Raises `IllegalTransition`."""
        if status not in _MOVES[self.status]:
            raise IllegalTransition(
                f"Batch {self.batch_id} is {self.status} and can't become {status}.",
                remedy="Plan again: sources that are not embedded get a new batch." if not self.open else "",
            )
        return BatchItem.model_validate({**dict(self), "status": status, **changes})


def stored(item: BatchItem, *, now: float) -> BatchItem:
    """``item`` as the next write stores it, with a mark by which a write that is sent twice knows itself."""
    times = {"created_at": item.created_at or now, "updated_at": now, "seen_at": now}
    return item.model_copy(update={"version": item.version + 1, "write_id": uuid4().hex, **times})


class Ledger(Protocol):
    """Conditional updates of batch items. Reads are consistent. Every method may raise `StoreUnavailable`."""

    def create(self, item: BatchItem, *, now: float) -> BatchItem:
        """Store a new item. Raises `LedgerChanged` if there is one under this id already."""
        ...

    def read(self, batch_id: str) -> BatchItem:
        """The item. Raises `UnknownBatch`."""
        ...

    def read_many(self, batch_ids: Iterable[str]) -> dict[str, BatchItem]:
        """Those of the items that exist."""
        ...

    def save(self, item: BatchItem, *, now: float) -> BatchItem:
        """Store if the stored version is ``item.version``, as the next version. Raises `LedgerChanged`.

        A write whose reply was lost and that is sent again finds itself stored: that is no error.
        ``quarantined`` and ``cancel_requested_at`` are left as stored: `note_quarantine` and `request_cancel` alone
        write them.
        """
        ...

    def touch(self, batch_id: str, *, now: float) -> None:
        """A sign of life, without a new version."""
        ...

    def note_quarantine(self, batch_id: str, *, delta_key: str, records: int) -> bool:
        """Remember that a delta of this batch went to quarantine. ``False``: the ledger has no such batch."""
        ...

    def request_cancel(self, batch_id: str, *, now: float) -> bool:
        """Mark that the batch is to end, without a new version. ``False``: the ledger has no such batch."""
        ...

    def list(self, *, open_only: bool = False) -> Iterator[BatchItem]:
        """All batches, in no order. A scan: there is one item per 50,000 records, so a million are twenty."""
        ...

    def read_migration(self, name: str, namespace: str) -> MigrationItem | None:
        """How far the migration ``name`` is with a namespace; ``None``: it never began."""
        ...

    def save_migration(self, item: MigrationItem, *, now: float) -> MigrationItem:
        """Store if the stored version is ``item.version`` (0: there is none), as the next one. Raises `LedgerChanged`.

        A write whose reply was lost and that is sent again is no error.
        """
        ...
