"""``SubmitBatch``: buy a batch once.

    ledger: SUBMITTING, submission n  ─>  create_batch, metadata n  ─>  ledger: SUBMITTED, its id
                                     ^                             ^
                       a crash here  │    or here, or a lost reply │  ─> the next call finds SUBMITTING and asks the
                                                                         provider's list for (batch, attempt, n)

The list lags, so it is believed only once it has had time to show a batch. Until then the answer is
`SubmissionUnclear`, and Step Functions asks again.
"""

from __future__ import annotations

from pathlib import Path

from siltstone.clock import Clock
from siltstone.embedding.adopt_batch import adopt_batch
from siltstone.embedding.batch_files import REQUESTS, batch_files
from siltstone.embedding.messages import SubmitBatchInput, SubmitBatchOutput
from siltstone.embedding.poll_batch import poll_wait, queue_was_full
from siltstone.errors import BatchFailed, ProviderUnavailable, SubmissionUnclear
from siltstone.stores import Stores
from siltstone.stores.ledger import BatchItem
from siltstone.stores.provider import BatchInfo, EmbeddingProvider

LIST_LAG = 180.0  # seconds: the longest create call (60) and what the provider's list may be behind
_CLOCKS_APART = 3_600.0  # seconds between our clock and the provider's


def submit_batch(
    request: SubmitBatchInput, stores: Stores, clock: Clock, provider: EmbeddingProvider, *, workspace: Path
) -> SubmitBatchOutput:
    """Submit the present attempt, or say as what it was submitted.

    Raises `SubmissionUnclear` (try again), `BatchFailed` (the provider won't have it, or a person cancelled it),
    `IllegalTransition` (it is closed), `UnknownBatch`, `LedgerChanged` (another execution submits it), and for an
    adoption `BadEvent`.
    """
    if request.openai_batch_id is not None:
        item = adopt_batch(
            request, request.openai_batch_id, stores=stores, clock=clock, provider=provider, workspace=workspace
        )
    else:
        item = _submitted(stores.ledger.read(request.batch_id), stores, clock, provider, workspace)
    if item.openai_batch_id is None:
        raise SubmissionUnclear(f"Batch {item.batch_id} has no id of the provider's yet.", remedy="Try again.")
    return SubmitBatchOutput(
        batch_id=item.batch_id,
        collection=item.collection,
        attempt=item.attempt,
        openai_batch_id=item.openai_batch_id,
        wait_seconds=poll_wait(0),
    )


def _submitted(
    item: BatchItem, stores: Stores, clock: Clock, provider: EmbeddingProvider, workspace: Path
) -> BatchItem:
    if item.status == "EMBEDDED":
        return item  # an execution before this one stopped after CreateDelta: the machine passes through again
    if item.status == "SUBMITTED" and item.openai_batch_id is not None:
        if not queue_was_full(provider.get_batch(item.openai_batch_id)):
            return item
    elif item.status == "SUBMITTING":
        found = _look_up(item, provider)
        if found is not None:
            return stores.ledger.save(item.moved("SUBMITTED", openai_batch_id=found.id), now=clock.now())
        if clock.now() < (item.submitting_at or 0.0) + LIST_LAG:
            raise SubmissionUnclear(
                f"It is not known whether submission {item.submission} of batch {item.batch_id} was taken.",
                remedy="The provider's list is asked again before anything is paid twice.",
            )
    item.moved("SUBMITTING")  # refuses a closed batch before anything is uploaded
    if item.cancel_requested_at is not None:
        raise BatchFailed(f"Batch {item.batch_id} was cancelled on request before it was bought.")
    return _buy(item, _input_file(item, stores, provider, workspace), stores, clock, provider)


def _buy(item: BatchItem, file_id: str, stores: Stores, clock: Clock, provider: EmbeddingProvider) -> BatchItem:
    item = stores.ledger.save(
        item.moved(
            "SUBMITTING",
            submission=item.submission + 1,
            submitting_at=clock.now(),
            input_file_id=file_id,
            openai_batch_id=None,
        ),
        now=clock.now(),
    )
    try:
        info = provider.create_batch(file_id, _metadata(item))
    except ProviderUnavailable as error:
        raise SubmissionUnclear(
            f"Submission {item.submission} of batch {item.batch_id} had no answer: {error.message}",
            remedy="The provider's list is asked before anything is paid twice.",
        ) from error
    return stores.ledger.save(item.moved("SUBMITTED", openai_batch_id=info.id), now=clock.now())


def _input_file(item: BatchItem, stores: Stores, provider: EmbeddingProvider, workspace: Path) -> str:
    """The provider's id of the request file. A file costs nothing, so a repeated upload does no harm."""
    if item.input_file_id is not None:
        return item.input_file_id
    with batch_files(stores.deltas, item.batch_id, item.attempt, workspace) as files:
        return provider.upload_file(files.download(REQUESTS), f"{item.batch_id}-{item.attempt}.jsonl")


def _look_up(item: BatchItem, provider: EmbeddingProvider) -> BatchInfo | None:
    """The provider's batch of this attempt: of this submission, or an earlier one that showed up late."""
    mine = _metadata(item)
    found: list[tuple[int, BatchInfo]] = []
    for info in provider.list_batches(since=item.created_at - _CLOCKS_APART):
        if any(info.metadata.get(name) != mine[name] for name in ("batch_id", "attempt")):
            continue
        submission = int(info.metadata.get("submission", "0"))
        # A failed one of an earlier submission is the full queue that this submission answers.
        if submission == item.submission or info.status != "failed":
            found.append((submission, info))
    return min(found, key=lambda one: one[0])[1] if found else None


def _metadata(item: BatchItem) -> dict[str, str]:
    return {"batch_id": item.batch_id, "attempt": str(item.attempt), "submission": str(item.submission)}
