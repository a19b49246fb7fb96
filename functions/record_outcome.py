"""``RecordOutcome``: balance the ledger, finish the sources, and form the next attempt from what is left."""

from __future__ import annotations

from siltstone.embedding.messages import RecordOutcomeInput, RecordOutcomeOutput
from siltstone.embedding.record_outcome import record_outcome

from functions._entry import LambdaContext, entry
from functions._provider import provider
from functions._stores import clock, stores


@entry("RecordOutcome", RecordOutcomeInput)
def handler(request: RecordOutcomeInput, _context: LambdaContext) -> RecordOutcomeOutput:
    return record_outcome(request, stores(), clock, provider())
