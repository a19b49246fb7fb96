"""``PlanBatches``: claim sources, pack their records into batches, write request files and the ledger."""

from __future__ import annotations

from siltstone.embedding.messages import PlanBatchesInput, PlanBatchesOutput
from siltstone.embedding.plan_batches import plan_batches

from functions._entry import LambdaContext, entry
from functions._environment import environment
from functions._stores import clock, stores


@entry("PlanBatches", PlanBatchesInput)
def handler(request: PlanBatchesInput, context: LambdaContext) -> PlanBatchesOutput:
    return plan_batches(
        request,
        stores(),
        clock,
        workspace=environment().scratch_dir / "plan_batches",
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
    )
