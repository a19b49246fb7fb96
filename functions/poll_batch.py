"""``PollBatch``: only looks."""

from __future__ import annotations

from siltstone.embedding.messages import PollBatchInput, PollBatchOutput
from siltstone.embedding.poll_batch import poll_batch

from functions._entry import LambdaContext, entry
from functions._provider import provider
from functions._stores import clock, stores


@entry("PollBatch", PollBatchInput)
def handler(request: PollBatchInput, _context: LambdaContext) -> PollBatchOutput:
    return poll_batch(request, stores(), clock, provider())
