"""``ReleaseLock``: free the lease, on every path of the machine."""

from __future__ import annotations

from siltstone.compaction.messages import ReleaseLockInput, ReleaseLockOutput
from siltstone.compaction.release_lock import release_lock

from functions._entry import LambdaContext, entry
from functions._stores import clock, stores


@entry("ReleaseLock", ReleaseLockInput)
def handler(request: ReleaseLockInput, _context: LambdaContext) -> ReleaseLockOutput:
    return release_lock(request, stores(), clock)
