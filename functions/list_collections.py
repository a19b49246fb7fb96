"""``ListCollections``: the backlog of every collection, as metrics; and those that are due."""

from __future__ import annotations

from siltstone.compaction.list_collections import list_collections
from siltstone.compaction.messages import ListCollectionsInput, ListCollectionsOutput

from functions._entry import LambdaContext, entry
from functions._stores import clock, stores


def _backlog(output: ListCollectionsOutput) -> dict[str, float]:
    return {
        "DeltaFileCount": output.pending_deltas,
        "DeltaBytes": output.pending_bytes,
        "OldestDeltaAgeSeconds": output.oldest_age_seconds,
        "UnknownCollections": len(output.unknown),
        "PausedCollections": len(output.paused),
    }


@entry("ListCollections", ListCollectionsInput, measure=_backlog)
def handler(request: ListCollectionsInput, _context: LambdaContext) -> ListCollectionsOutput:
    return list_collections(request, stores(), clock)
