"""``PromotePointer``: the commit: one conditional write on the ETag that Download pinned."""

from __future__ import annotations

from siltstone.compaction.messages import PromotePointerInput, PromotePointerOutput
from siltstone.compaction.promote_pointer import promote_pointer

from functions._entry import LambdaContext, entry
from functions._stores import clock, stores


@entry("PromotePointer", PromotePointerInput)
def handler(request: PromotePointerInput, _context: LambdaContext) -> PromotePointerOutput:
    return promote_pointer(request, stores(), clock)
