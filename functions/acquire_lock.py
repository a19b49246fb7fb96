"""``AcquireLock``: take the collection's lease and a fencing token; a busy lease is the error ``LockBusy``."""

from __future__ import annotations

from siltstone.compaction.acquire_lock import acquire_lock
from siltstone.compaction.messages import AcquireLockInput, Run
from siltstone.errors import LockBusy

from functions._entry import LambdaContext, entry
from functions._stores import clock, stores


@entry("AcquireLock", AcquireLockInput, count_errors={LockBusy: "LockContentionCount"})
def handler(request: AcquireLockInput, _context: LambdaContext) -> Run:
    return acquire_lock(request, stores(), clock)
