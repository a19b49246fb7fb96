"""What goes into and comes out of each state of the compaction machine: keys and counts, never records."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Message(BaseModel):
    """A typed event. Unknown fields are refused, so that a misspelt one is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Ref(Message):
    """A create-only JSON document in the snapshot bucket: what a state names for the next one to read."""

    key: str
    etag: str
    sha256: str


def owner_of(execution: str, index: int) -> str:
    """The lock's owner: execution name and Map index."""
    return f"{execution}-{index}"


class Run(Message):
    """One compaction of one collection by one execution. Made by ``AcquireLock``, carried by every later state."""

    collection: str
    execution: str
    index: int = Field(ge=0)
    token: int = Field(ge=1)
    version: str
    acquired_at: float

    @property
    def owner(self) -> str:
        """What the lock's ``owner`` says while this run holds it."""
        return owner_of(self.execution, self.index)

    @property
    def run_id(self) -> str:
        """Name of this run's folder in staging."""
        return self.owner


class ListCollectionsInput(Message):
    operation: Literal["compact"] = "compact"
    collections: list[str] | None = None  # None: all that have pending deltas
    force: bool = False  # due or not
    skip: list[str] = []  # done with, well or not, in the executions before this one: left to the next trigger


class DueCollection(Message):
    collection: str
    reason: Literal["count", "bytes", "age", "asked"]
    deltas: int
    bytes: int
    oldest_age_seconds: float


class ListCollectionsOutput(Message):
    due: list[DueCollection]  # oldest first, at most 100
    more: bool
    unknown: list[str]  # collections with deltas that no setting or pattern names: reported, not guessed
    paused: list[str] = []  # with deltas, or asked for, and not due because an operator paused them
    pending_deltas: int  # over all collections, due or not
    pending_bytes: int
    oldest_age_seconds: float


class AcquireLockInput(Message):
    collection: str
    execution: str = Field(min_length=1, max_length=80)
    index: int = Field(ge=0)


class RunInput(Message):
    """Input of ``RenewLock`` and ``Download``."""

    run: Run


class RenewLockOutput(Message):
    expires: float


class DownloadOutput(Message):
    plan: Ref
    base_version: str | None
    deltas: int  # taken into this run
    parts: int
    rows: int
    quarantined: int
    more: bool  # a backlog is left for another run


class MergeInput(Message):
    run: Run
    plan: Ref
    work: Ref | None = None  # what the turn before staged


class MergeOutput(Message):
    parts_done: int
    parts_total: int
    work: Ref | None  # parts remain: continue from here
    sealed: Ref | None  # all applied, sealed, checked and staged


class UploadInput(Message):
    run: Run
    plan: Ref
    sealed: Ref


class UploadOutput(Message):
    manifest: Ref
    files: int
    bytes: int


class PromotePointerInput(Message):
    run: Run
    plan: Ref
    manifest: Ref


class PromotePointerOutput(Message):
    version: str
    previous: str | None
    etag: str


class RetireInput(Message):
    run: Run
    version: str | None  # promoted by this run, or the base where nothing was new; None: there is none


class RetireOutput(Message):
    deltas_deleted: int
    versions_deleted: int


class StateError(Message):
    """What Step Functions' Catch saw. ``cause`` is cut to 500 characters."""

    state: str
    error: str
    cause: str = ""


class ReleaseLockInput(Message):
    run: Run
    failure: StateError | None = None


class ReleaseLockOutput(Message):
    collection: str
    released: bool  # False: the lease had passed to another owner
