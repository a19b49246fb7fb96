"""The ledger for a person: every batch with its figures, and one batch with what the provider refused."""

from __future__ import annotations

import json

from siltstone import keys
from siltstone.clock import Clock, iso
from siltstone.compaction.messages import Message
from siltstone.embedding.batch_files import REJECTED
from siltstone.embedding.operate import is_orphan
from siltstone.errors import ObjectNotFound
from siltstone.stores import Stores
from siltstone.stores.ledger import Attempt, BatchItem, BatchState, Counts


class BatchReport(Message):
    """One batch. ``counts.to_retry`` of an open one includes what is still on its way. Ages in seconds."""

    batch_id: str
    collection: str
    status: BatchState
    cancelling: bool  # a person wants it to end, and it has not yet
    orphan: bool  # open, and no execution has worked on it for longer than any waits
    model: str
    plan: str
    attempt: int
    submission: int
    openai_batch_id: str | None
    sources: int
    counts: Counts
    quarantined: int
    tokens: int
    cost_usd: float | None
    created_at: str
    age_seconds: float
    seen_seconds_ago: float
    cause: str | None


class AttemptReport(Message):
    """What was sent once, and what came of it."""

    attempt: int
    openai_batch_id: str | None
    counts: Counts
    tokens: int
    cost_usd: float | None
    delta_keys: list[str]
    unknown_rows: int
    cause: str | None
    recorded_at: str | None


class RejectedRow(Message):
    """A record that was given up. ``reason``: in the provider's words."""

    id: str
    source_id: str | None
    attempt: int
    reason: str


class BatchDetail(BatchReport):
    """``rejected`` holds the first rows only; ``counts`` say how many there are."""

    attempts: list[AttemptReport]
    rejected: list[RejectedRow]


def list_batches(stores: Stores, clock: Clock) -> list[BatchReport]:
    """Every batch, newest first."""
    items = sorted(stores.ledger.list(), key=lambda item: (item.created_at, item.batch_id), reverse=True)
    return [_report(item, clock) for item in items]


def read_batch(batch_id: str, stores: Stores, clock: Clock, *, rows: int = 20) -> BatchDetail:
    """One batch with its attempts and at most ``rows`` rejected rows. Raises `UnknownBatch`."""
    item = stores.ledger.read(batch_id)
    return BatchDetail(
        **dict(_report(item, clock)),
        attempts=[_attempt(attempt) for attempt in item.attempts],
        rejected=_rejected(item, stores, rows),
    )


def _report(item: BatchItem, clock: Clock) -> BatchReport:
    now = clock.now()
    return BatchReport(
        batch_id=item.batch_id,
        collection=item.collection,
        status=item.status,
        cancelling=item.open and item.cancel_requested_at is not None,
        orphan=is_orphan(item, clock),
        model=item.model,
        plan=item.plan,
        attempt=item.attempt,
        submission=item.submission,
        openai_batch_id=item.openai_batch_id,
        sources=item.sources,
        counts=item.counts,
        quarantined=sum(item.quarantined.values()),
        tokens=item.tokens,
        cost_usd=item.cost_usd,
        created_at=iso(item.created_at),
        age_seconds=max(0.0, now - item.created_at),
        seen_seconds_ago=max(0.0, now - item.seen_at),
        cause=item.cause,
    )


def _attempt(attempt: Attempt) -> AttemptReport:
    return AttemptReport(
        attempt=attempt.attempt,
        openai_batch_id=attempt.openai_batch_id,
        counts=attempt.counts,
        tokens=attempt.tokens,
        cost_usd=attempt.cost_usd,
        delta_keys=list(attempt.delta_keys),
        unknown_rows=attempt.unknown_rows,
        cause=attempt.cause,
        recorded_at=None if attempt.recorded_at is None else iso(attempt.recorded_at),
    )


def _rejected(item: BatchItem, stores: Stores, rows: int) -> list[RejectedRow]:
    found: list[RejectedRow] = []
    for attempt in item.attempts:
        if not attempt.counts.rejected or len(found) >= rows:
            continue
        try:
            body = stores.deltas.get(f"{keys.batch_attempt(item.batch_id, attempt.attempt)}{REJECTED}").body
        except ObjectNotFound:
            continue  # not recorded yet, or the files of old batches have expired
        for line in body.splitlines()[: rows - len(found)]:
            row = json.loads(line)
            found.append(
                RejectedRow(id=row["id"], source_id=row["source_id"], attempt=attempt.attempt, reason=row["reason"])
            )
    return found
