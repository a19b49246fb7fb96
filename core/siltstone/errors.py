"""The one family of errors.

Every error answers three questions: who may retry, what is lost (never anything), what to do.
Step Functions sees the class name, so the names below are part of the state machines' contract:
only :class:`Transient` errors stand in a ``Retry``.

==================  ==========================================  =========================
base                meaning                                     who may retry
==================  ==========================================  =========================
``InvalidInput``    the caller sent something unusable          nobody, until it is mended
``NotFound``        the named thing does not exist              nobody, until it exists
``Contention``      somebody else won; our work is garbage      the next run, from its start
``Damage``          stored bytes are not what was recorded      nobody; look first
``Transient``       a store or the provider did not answer      the same state, as it is
``Refused``         a limit or a rule stops the work            nobody, until settings change
==================  ==========================================  =========================
"""

from __future__ import annotations


class SiltstoneError(Exception):
    """Base of the family. ``remedy`` says what to do, in one sentence."""

    retryable: bool = False

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy


class InvalidInput(SiltstoneError):
    """The caller sent something unusable. Nothing was written."""


class NotFound(SiltstoneError):
    """The named thing does not exist."""


class Contention(SiltstoneError):
    """Somebody else holds the lock or moved the pointer. This run's work is garbage; the next run starts afresh."""


class Damage(SiltstoneError):
    """Stored bytes are not what was recorded. Nothing was overwritten; a person has to look."""


class Transient(SiltstoneError):
    """A store or the provider did not answer. The same call may be made again."""

    retryable = True


class Refused(SiltstoneError):
    """A limit or a rule stops the work. Trying again changes nothing until a setting changes."""


# Invalid input ------------------------------------------------------------------------------------
class BadEvent(InvalidInput):
    """A function's event has a missing or wrong field; the message names it."""


class BadSettings(InvalidInput):
    """A stage or collection setting is unknown or wrong; the message names it."""


class BadSource(InvalidInput):
    """A receipt or text can't be read; the message names the file, the line and the field."""


class BadRecord(InvalidInput):
    """A record can't be embedded (empty, too long, repeated id)."""


class BadQuery(InvalidInput):
    """A query is malformed, or its vector does not fit the collection. HTTP 400."""


class AnswerTooLarge(BadQuery):
    """The answer is larger than a function can return: ask for fewer rows, or less of each. HTTP 400."""


class BadDelta(InvalidInput):
    """A verdict over a delta's bytes, fully read: it can't be used and goes to quarantine."""


class ReadOnlyClient(InvalidInput):
    """A write was tried through a client opened with ``mode="read"``."""


# Not found ----------------------------------------------------------------------------------------
class UnknownCollection(NotFound):
    """No setting, pattern or pointer names this collection."""


class NothingWritten(UnknownCollection):
    """The settings know the collection, but there is nothing to read: no version, and no delta that is looked at."""


class UnknownVersion(NotFound):
    """The version has no manifest: it was never published, or retention removed it."""


class UnknownBatch(NotFound):
    """The ledger has no such batch."""


class UnknownSource(NotFound):
    """The source table has no such source."""


class UnknownExecution(NotFound):
    """The state machine has no execution of this name, or it ended more than 90 days ago."""


class ObjectNotFound(NotFound):
    """The object store has no object under this key."""


# Contention ---------------------------------------------------------------------------------------
class LockBusy(Contention):
    """Another owner holds an unexpired lease. Its run does this run's work."""


class LockLost(Contention):
    """The lease is no longer this owner's with this token: stop before any further write."""


class PointerMoved(Contention):
    """The pointer's ETag is not the one this run pinned: somebody else promoted."""


class PreconditionFailed(Contention):
    """A conditional request did not match: the object changed, exists already, or is gone."""


class SourceChanged(Contention):
    """The source table's item is not the one that was read."""


class LedgerChanged(Contention):
    """The ledger's item is not the one that was read: another execution works on this batch."""


# Damage -------------------------------------------------------------------------------------------
class PointerMissing(Damage):
    """A pointer that once existed is gone. Never healed by an empty snapshot."""


class SnapshotDamaged(Damage):
    """A file differs from the hash or size in its manifest, or is missing."""


class ManifestDamaged(Damage):
    """A manifest or plan can't be parsed, has unsafe paths, or is not what its reference says."""


class CheckFailed(Damage):
    """A merged snapshot failed a check before publication. Nothing was published."""


class LedgerImbalance(Damage):
    """submitted != embedded + to retry + rejected + outdated."""


# Transient ----------------------------------------------------------------------------------------
class StoreUnavailable(Transient):
    """S3, DynamoDB or SQS throttled, timed out or answered 5xx."""


class ProviderUnavailable(Transient):
    """The embedding provider throttled, timed out or answered 5xx."""


class IndexUnavailable(Transient):
    """The index that is migrated throttled, timed out or answered 5xx. ``retry_after``: seconds, where it says."""

    def __init__(self, message: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


# Refused ------------------------------------------------------------------------------------------
class SettingsMismatch(Refused):
    """A stage setting differs from the manifest's; the manifest wins and the run stops."""


class SnapshotTooLarge(Refused):
    """A snapshot passed the size that one function can handle. Shards are the remedy."""


class NoProgress(Refused):
    """A merge turn applied nothing: one part does not fit one function's time."""


class DiskFull(Refused):
    """The function's scratch disk is full. Give it more, or shard the collection."""


class ProviderRefused(Refused):
    """The provider refused the request (key, quota, missing file, bad body); the message has its words."""


class FunctionFailed(Refused):
    """A function died, ran out of time, or raised what it has no answer for; its log has the reason."""


class BatchFailed(ProviderRefused):
    """The provider refused the batch for good; the message has its words."""


class SubmissionUnclear(Transient):
    """It is unknown whether the provider took the batch; its list is asked again before anything is paid twice."""


class IndexRefused(Refused):
    """The index that is migrated refused the request (key, name, an operation it lacks); the message has its words."""


class IllegalTransition(Refused):
    """A batch can't go from its present status to the one that was asked for."""


class CollectionPaused(Refused):
    """An operator has paused the compaction of this collection; the message says since when and why."""


class ExecutionFailed(Refused):
    """An execution of a state machine did not succeed; the message has its cause."""


class BacklogTooLarge(Refused):
    """More pending rows than a strong read may hold in memory. Compact first, or read the snapshot."""


class SchemaTooNew(Refused):
    """A file was written by a newer release. Upgrade this one."""
