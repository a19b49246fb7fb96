"""``Merge``: apply parts to a copy of the base until time is short; after the last one seal and check it."""

from __future__ import annotations

from siltstone.compaction.merge import merge
from siltstone.compaction.messages import MergeInput, MergeOutput

from functions._entry import LambdaContext, entry
from functions._environment import environment
from functions._stores import clock, stores


@entry("Merge", MergeInput)
def handler(request: MergeInput, context: LambdaContext) -> MergeOutput:
    return merge(
        request,
        stores(),
        clock,
        workspace=environment().scratch_dir / "merge",
        seconds_left=lambda: context.get_remaining_time_in_millis() / 1000,
    )
