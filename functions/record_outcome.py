"""``RecordOutcome``: balance the ledger, finish the sources, and form the next attempt from what is left."""

from __future__ import annotations

from siltstone.embedding.messages import RecordOutcomeInput, RecordOutcomeOutput
from siltstone.embedding.record_outcome import record_outcome

from functions._entry import LambdaContext, entry
from functions._environment import environment
from functions._stores import clock, stores


@entry("RecordOutcome", RecordOutcomeInput)
def handler(request: RecordOutcomeInput, _context: LambdaContext) -> RecordOutcomeOutput:
    workspace = environment().scratch_dir / "record_outcome"
    return record_outcome(request, stores(), clock, workspace=workspace)
