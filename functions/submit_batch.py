"""``SubmitBatch``: buy the batch once; an unknown outcome is looked up before anything is paid again."""

from __future__ import annotations

from siltstone.embedding.messages import SubmitBatchInput, SubmitBatchOutput
from siltstone.embedding.submit_batch import submit_batch

from functions._entry import LambdaContext, entry
from functions._provider import provider
from functions._stores import clock, stores


@entry("SubmitBatch", SubmitBatchInput)
def handler(request: SubmitBatchInput, _context: LambdaContext) -> SubmitBatchOutput:
    return submit_batch(request, stores(), clock, provider())
