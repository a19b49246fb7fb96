"""``PollBatch``: only looks, less often each time, and says how the machine goes on.

Save one thing: where the ledger says that a person wants the batch to end, it asks the provider to cancel it.
"""

from __future__ import annotations

import logging

from siltstone.clock import Clock
from siltstone.embedding.messages import PollBatchInput, PollBatchOutput
from siltstone.errors import ProviderRefused
from siltstone.stores import Stores
from siltstone.stores.provider import BatchInfo, EmbeddingProvider

_log = logging.getLogger(__name__)
FIRST_WAIT, LONGEST_WAIT = 30, 900  # seconds; a day of waiting stays far below an execution's 25,000 events
QUEUE_WAIT, LONGEST_QUEUE_WAIT = 300, 3_600
MAX_SUBMISSIONS = 30  # about a day: a batch that the queue never takes is larger than the queue


def poll_batch(request: PollBatchInput, stores: Stores, clock: Clock, provider: EmbeddingProvider) -> PollBatchOutput:
    """Look at the provider's batch, and cancel it if that was asked for. The ledger only gets a sign of life."""
    stores.ledger.touch(request.batch_id, now=clock.now())
    item = stores.ledger.read(request.batch_id)
    info = provider.get_batch(request.openai_batch_id)
    polls = request.polls
    if item.cancel_requested_at is not None and info.running and info.status != "cancelling":
        info = _cancelled(info, provider)
        polls = 0  # its end is near: look often again

    def answer(state: str, *, wait: int = 0, cause: str | None = None) -> PollBatchOutput:
        return PollBatchOutput.model_validate(
            {
                **request.model_dump(),
                "state": state,
                "provider_status": info.status,
                "wait_seconds": wait,
                "polls": polls + 1,
                "cause": cause,
            }
        )

    if info.running:
        return answer("running", wait=poll_wait(polls))
    # What was paid for is kept: an expired or cancelled batch goes on with what it finished.
    if info.status == "completed" or (info.status != "failed" and info.output_file_id):
        return answer("ready")
    cause = problem_words(info)
    if queue_was_full(info) and item.cancel_requested_at is None:
        if item.submission < MAX_SUBMISSIONS:
            return answer("resubmit", wait=queue_wait(item.submission), cause=cause)
        cause = f"Submitted {item.submission} times: {cause} Raise the account's queue limit or plan smaller batches."
    return answer("failed", cause=cause)


def _cancelled(info: BatchInfo, provider: EmbeddingProvider) -> BatchInfo:
    """Ask for cancellation. One that ended this very moment can't be cancelled any more: it goes on as it ended."""
    try:
        return provider.cancel_batch(info.id)
    except ProviderRefused as error:
        _log.warning("The provider does not cancel: %s", error)
        return provider.get_batch(info.id)


def poll_wait(polls: int) -> int:
    """Seconds until the next look."""
    return min(LONGEST_WAIT, int(FIRST_WAIT * 1.5 ** min(polls, 20)))


def queue_wait(submission: int) -> int:
    """Seconds until a batch that did not fit into the provider's queue is tried again."""
    return min(LONGEST_QUEUE_WAIT, QUEUE_WAIT * 2 ** min(max(submission - 1, 0), 10))


def queue_was_full(info: BatchInfo) -> bool:
    """Whether the provider refused the batch only because too much was queued already: nothing was paid."""
    return info.status == "failed" and any(problem.code == "token_limit_exceeded" for problem in info.errors)


def problem_words(info: BatchInfo) -> str:
    """Why a batch ended badly, in the provider's words."""
    words = "; ".join(
        f"{problem.code}: {problem.message}" + (f" (line {problem.line})" if problem.line else "")
        for problem in info.errors[:5]
    )
    return f"The provider's batch {info.id} is {info.status}: {words or 'it says nothing more'}."[:1_000]
