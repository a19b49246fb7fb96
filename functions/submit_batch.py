"""``SubmitBatch``: buy the batch once; an unknown outcome is looked up before anything is paid again."""

from __future__ import annotations

from siltstone.embedding.messages import SubmitBatchInput, SubmitBatchOutput
from siltstone.embedding.submit_batch import submit_batch

from functions._entry import LambdaContext, entry
from functions._environment import environment
from functions._provider import provider
from functions._stores import clock, stores


@entry("SubmitBatch", SubmitBatchInput)
def handler(request: SubmitBatchInput, _context: LambdaContext) -> SubmitBatchOutput:
    workspace = environment().scratch_dir / "submit_batch"
    return submit_batch(request, stores(), clock, provider(), workspace=workspace)
