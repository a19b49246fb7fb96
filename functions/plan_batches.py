"""``PlanBatches``: claim sources, pack their records into batches, write request files and the ledger."""

from __future__ import annotations

from siltstone.embedding.messages import PlanBatchesInput, PlanBatchesOutput
from siltstone.embedding.plan_batches import plan_batches

from functions._entry import LambdaContext, entry
from functions._provider import provider
from functions._stores import clock, stores


@entry("PlanBatches", PlanBatchesInput)
def handler(request: PlanBatchesInput, _context: LambdaContext) -> PlanBatchesOutput:
    return plan_batches(request, stores(), clock, provider())
