"""``RecordOutcome``: balance the ledger, settle the sources, form the next attempt from the rows to retry.

The ledger is written last, so a retry after a crash does everything again, and finds that it is done.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from siltstone.clock import Clock
from siltstone.embedding.batch_files import OUTCOME, REJECTED, BatchFiles, batch_files, distinct, group_by_source, take
from siltstone.embedding.messages import RecordOutcomeInput, RecordOutcomeOutput
from siltstone.embedding.outcome import Fate, Outcome
from siltstone.embedding.settle import SourceRows, give_back, settle_sources
from siltstone.errors import IllegalTransition, LedgerImbalance
from siltstone.sources.state import CAUSE_LENGTH
from siltstone.stores import Stores
from siltstone.stores.ledger import Attempt, BatchItem, Counts

CANCELLED_CAUSE = "Cancelled on request."


def record_outcome(
    request: RecordOutcomeInput, stores: Stores, clock: Clock, *, workspace: Path
) -> RecordOutcomeOutput:
    """Record an attempt, or with ``failed`` that the batch failed for good.

    Raises `LedgerImbalance` if a record is unaccounted for, `IllegalTransition` if there is nothing to record.
    """
    item = stores.ledger.read(request.batch_id)
    if request.failed is not None:
        return _fail(item, request.failed[:CAUSE_LENGTH], stores, clock, workspace)
    attempt = item.outcome(request.attempt)
    if attempt is None:
        raise IllegalTransition(
            f"Attempt {request.attempt} of batch {item.batch_id} has no outcome: the ledger is at attempt "
            f"{item.attempt}, {item.status}.",
            remedy="CreateDelta comes first.",
        )
    if attempt.recorded_at is None:
        item = _record(item, attempt, stores, clock, workspace)
        attempt = item.outcome(request.attempt) or attempt
        for key in attempt.delta_keys:
            stores.hints.tell(collection=key.split("/")[1], delta_key=key, embedding_count=attempt.counts.embedded)
    return _output(item, attempt)


def _record(item: BatchItem, attempt: Attempt, stores: Stores, clock: Clock, workspace: Path) -> BatchItem:
    with batch_files(stores.deltas, item.batch_id, item.attempt, workspace) as files:
        records = files.read_records()
        outcome = Outcome.decode(stores.deltas.get(files.key(OUTCOME)).body, len(records))
        _balance(item, attempt, outcome.counts)
        _write_rejected(records, outcome, files)
    left = outcome.places(Fate.TO_RETRY).tolist()
    retry = left if item.cancel_requested_at is None else []
    if retry:
        with batch_files(stores.deltas, item.batch_id, item.attempt + 1, workspace) as following:
            following.write_batch(take(records, retry), stores.settings.resolve(item.collection))
    rows = _source_rows(records, outcome, retry=bool(retry))
    settle_sources(rows, collection=item.collection, batch_id=item.batch_id, stores=stores, clock=clock)
    attempts = item.with_outcome(attempt.model_copy(update={"recorded_at": clock.now()}))
    if not left:
        return stores.ledger.save(item.moved("COMPLETE", attempts=attempts), now=clock.now())
    if not retry:
        cancelled = item.moved("CANCELLED", attempts=attempts, cause=CANCELLED_CAUSE)
        return stores.ledger.save(cancelled, now=clock.now())
    following_attempt = {
        "attempt": item.attempt + 1,
        "submission": 0,
        "submitting_at": None,
        "input_file_id": None,
        "openai_batch_id": None,
    }
    return stores.ledger.save(item.moved("PLANNED", attempts=attempts, **following_attempt), now=clock.now())


def _balance(item: BatchItem, attempt: Attempt, counts: Counts) -> None:
    """Every submitted record is exactly one of embedded, to retry, rejected, outdated."""
    before = item.outcome(attempt.attempt - 1)
    submitted = before.counts.to_retry if before else item.records
    if not counts.balanced or counts != attempt.counts or counts.submitted != submitted:
        raise LedgerImbalance(
            f"Attempt {attempt.attempt} of batch {item.batch_id} does not balance: {submitted} submitted, "
            f"{counts.model_dump()} by its decisions, {attempt.counts.model_dump()} by the ledger.",
            remedy=f"Look at {item.batch_id} with the CLI; nothing was recorded.",
        )


def _write_rejected(records: pa.Table, outcome: Outcome, files: BatchFiles) -> None:
    places = outcome.places(Fate.REJECTED).tolist()
    if not places:
        return
    rows = take(records.select(["id", "source_id", "input_sha256"]), places).to_pylist()
    words = [outcome.reasons.get(place, "") for place in places]
    files.write_lines(REJECTED, [{**row, "reason": reason} for row, reason in zip(rows, words, strict=True)])


def _source_rows(records: pa.Table, outcome: Outcome, *, retry: bool) -> dict[str, SourceRows]:
    """By source id. Without ``retry`` what is left is in flight no more: its sources are for a later plan."""
    ids: list[str] = records.column("id").to_pylist()
    digests: list[str] = records.column("digest").to_pylist()
    revisions: list[str] = records.column("revision").to_pylist()
    found: dict[str, SourceRows] = {}
    for source_id, places in group_by_source(records).items():
        rows = found[source_id] = SourceRows(revisions[places[0]])
        for place in places:
            fate = outcome.fates[place]
            if fate == Fate.EMBEDDED:
                rows.embedded[ids[place]] = digests[place]
            elif fate == Fate.REJECTED:
                rows.refused[ids[place]] = digests[place]
                rows.cause = f"{ids[place]}: {outcome.reasons.get(place, '')}"
            elif fate == Fate.TO_RETRY and retry:
                rows.retry.add(ids[place])
    return found


def _fail(item: BatchItem, cause: str, stores: Stores, clock: Clock, workspace: Path) -> RecordOutcomeOutput:
    """Close the batch. Its records count as to retry: a later plan takes their sources again.

    A batch that a person cancelled did not fail, whatever its end looks like.
    """
    if item.status not in {"FAILED", "CANCELLED", "EMBEDDED"}:
        cancelled = item.cancel_requested_at is not None
        cause = CANCELLED_CAUSE if cancelled else cause
        moved = item.moved("CANCELLED" if cancelled else "FAILED", cause=cause)
        with batch_files(stores.deltas, item.batch_id, item.attempt, workspace) as files:
            records = files.read_records(["source_id"])
        give_back(
            distinct(records, "source_id"),
            collection=item.collection,
            batch_id=item.batch_id,
            cause=None if cancelled else cause,
            stores=stores,
            clock=clock,
        )
        attempt = Attempt(
            attempt=item.attempt,
            openai_batch_id=item.openai_batch_id,
            counts=Counts(submitted=len(records), to_retry=len(records)),
            cost_usd=0.0,
            cause=cause,
            recorded_at=clock.now(),
        )
        attempts = item.with_outcome(attempt)
        item = stores.ledger.save(moved.model_copy(update={"attempts": attempts}), now=clock.now())
    last = item.outcome(item.attempt)
    if item.status not in {"FAILED", "CANCELLED"} or last is None:
        raise IllegalTransition(
            f"Batch {item.batch_id} is {item.status}: its answers are there, so it did not fail.",
            remedy="Start the batch's execution again.",
        )
    return _output(item, last)


def _output(item: BatchItem, attempt: Attempt) -> RecordOutcomeOutput:
    retry = item.attempt > attempt.attempt
    return RecordOutcomeOutput.model_validate(
        {
            "batch_id": item.batch_id,
            "collection": item.collection,
            "status": "PLANNED" if retry else item.status,
            "retry": retry,
            "attempt": attempt.attempt + 1 if retry else attempt.attempt,
            "counts": attempt.counts,
            "cause": attempt.cause,
        }
    )
