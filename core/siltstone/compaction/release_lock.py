"""State ``ReleaseLock``: free the lease on every path, and tell the next run how much to take.

A run that fails for what its deltas hold must not fail for ever: the next one takes half as many, until one delta
fails alone; after three times ``Download`` puts that one into quarantine. What a delta can't be blamed for (a store
that does not answer, a race, wrong settings, a damaged base, a broken deployment) leaves these numbers as they are.
"""

from __future__ import annotations

from typing import NamedTuple

from siltstone import errors
from siltstone.clock import Clock
from siltstone.compaction import lock
from siltstone.compaction.messages import ReleaseLockInput, ReleaseLockOutput, StateError
from siltstone.stores import Stores
from siltstone.stores.leases import Lease

_STATES = frozenset({"Download", "Merge"})  # where a delta's content is read

_NOT_THE_DELTAS = (
    errors.Transient,
    errors.Contention,
    errors.NotFound,
    errors.PointerMissing,
    errors.SnapshotDamaged,
    errors.ManifestDamaged,
    errors.SettingsMismatch,
    errors.SchemaTooNew,
    errors.BadEvent,
    errors.BadSettings,
)
_TOO_MUCH_AT_ONCE = (errors.NoProgress, errors.DiskFull, errors.SnapshotTooLarge)  # less may fit; no delta is poison
# Names that are not of our family: the platform's, and those of a deployment that can't work at all. A crash or a
# timeout (Lambda.Unknown, Runtime.ExitError, Sandbox.Timedout, States.Timeout, MemoryError) is none of them.
_NOT_THE_DELTAS_BY_NAME = frozenset(
    {
        "ClientError",
        "ImportError",
        "Lambda.AWSLambdaException",
        "Lambda.ClientExecutionTimeoutException",
        "Lambda.ResourceNotFoundException",
        "Lambda.SdkClientException",
        "Lambda.ServiceException",
        "Lambda.TooManyRequestsException",
        "ModuleNotFoundError",
        "NoCredentialsError",
        "Runtime.HandlerNotFound",
        "Runtime.ImportModuleError",
        "Runtime.InvalidEntrypoint",
        "Runtime.Unknown",  # it ended before the handler was there
        "Runtime.UserCodeSyntaxError",
        "States.Permissions",
        "States.QueryEvaluationError",
        "States.Runtime",
    }
)


def release_lock(request: ReleaseLockInput, stores: Stores, clock: Clock) -> ReleaseLockOutput:
    """Free the lock if it is still this run's. Run again, it changes nothing. Raises `StoreUnavailable`."""
    del clock  # every state has the same signature
    run = request.run
    lease = stores.leases.read(lock.lock_id(run.collection))
    released = False
    if lease is not None and lease.token == run.token:
        if lease.owner is None:
            released = True  # by this run, whose reply was lost: tokens are never used twice
        else:
            lesson = next_run(lease, request.failure)
            released = lock.release(run, stores, take=lesson.take, failures=lesson.failures, suspect=lesson.suspect)
    return ReleaseLockOutput(collection=run.collection, released=released)


class Lesson(NamedTuple):
    """What the next run must know: see `siltstone.stores.leases.Lease`."""

    take: int | None = None
    failures: int = 0
    suspect: str | None = None


def next_run(lease: Lease, failure: StateError | None) -> Lesson:
    """What this run's lease and its end teach the next one."""
    if failure is None:
        return Lesson()
    known = Lesson(lease.take, lease.failures, lease.suspect)
    if failure.state not in _STATES or not lease.taking or _is_any(failure.error, _NOT_THE_DELTAS):
        return known
    if failure.error in _NOT_THE_DELTAS_BY_NAME:
        return known
    if lease.taking > 1:
        return Lesson(take=lease.taking // 2)
    if _is_any(failure.error, _TOO_MUCH_AT_ONCE):
        return known._replace(take=1)
    before = lease.failures if lease.suspect == lease.alone else 0  # of this delta, not of one that came before it
    return Lesson(1, before + 1, lease.alone)


def _is_any(name: str, families: tuple[type[errors.SiltstoneError], ...]) -> bool:
    """Whether the error that Step Functions saw by its class name belongs to one of ``families``."""
    kind = getattr(errors, name, None)
    return isinstance(kind, type) and issubclass(kind, families)
