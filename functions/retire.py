"""``Retire``: delete the deltas that the promoted version contains, and versions past retention."""

from __future__ import annotations

from siltstone.compaction.messages import RetireInput, RetireOutput
from siltstone.compaction.retire import retire

from functions._entry import LambdaContext, entry
from functions._stores import clock, stores


@entry("Retire", RetireInput)
def handler(request: RetireInput, _context: LambdaContext) -> RetireOutput:
    return retire(request, stores(), clock)
