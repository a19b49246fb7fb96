"""``RenewLock``: keep the lease while parts remain."""

from __future__ import annotations

from siltstone.compaction.messages import RenewLockOutput, RunInput
from siltstone.compaction.renew_lock import renew_lock

from functions._entry import LambdaContext, entry
from functions._stores import clock, stores


@entry("RenewLock", RunInput)
def handler(request: RunInput, _context: LambdaContext) -> RenewLockOutput:
    return renew_lock(request, stores(), clock)
