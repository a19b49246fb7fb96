"""What goes into and comes out of each state of the embedding machine: keys and counts, never records.

Who does the bookkeeping of a batch that fails for good: ``RecordOutcome`` with ``failed: cause``. So the machine is

===============================  ============================================================================
result                           the machine goes on with
===============================  ============================================================================
``PollBatch``: ``running``       a wait of ``wait_seconds``, then ``PollBatch`` with the ``polls`` it returned
``PollBatch``: ``resubmit``      a wait of ``wait_seconds``, then ``SubmitBatch`` with ``batch_id`` alone
``PollBatch``: ``ready``         ``CreateDelta``, ``RecordOutcome``
``PollBatch``: ``failed``        ``RecordOutcome`` with ``failed: cause``, then ``BatchFailed``
a state raises ``BatchFailed``   the same: ``RecordOutcome`` with ``failed``, then ``BatchFailed``
a state raises ``Transient``     the same state again: ``ProviderUnavailable`` and ``StoreUnavailable`` over minutes,
                                 ``SubmissionUnclear`` (the provider's list lags) over at least ten minutes
a state raises anything else     the execution fails and nothing is recorded: the ledger stays open, and a later
                                 plan starts the batch again with the next generation
===============================  ============================================================================

``RecordOutcome`` answers ``retry`` (then ``SubmitBatch`` with ``batch_id`` alone) or a ``status`` of ``COMPLETE``,
``CANCELLED`` or ``FAILED``. A cancellation is a mark in the ledger: ``SubmitBatch`` buys nothing more, ``PollBatch``
cancels at the provider, and ``RecordOutcome`` forms no further attempt. No state needs more than ``batch_id``,
``attempt`` and ``openai_batch_id``: the ledger knows the rest.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from siltstone.compaction.messages import Message
from siltstone.stores.ledger import Counts


class PlanBatchesInput(Message):
    execution: str = Field(min_length=1, max_length=80)  # the plan's id: a retry of it owns its own claims
    collections: list[str] | None = None  # None: all that have sources to embed
    limit: int | None = Field(default=None, ge=1)  # sources to claim at most
    retry_failed: bool = False  # also take the sources that are FAILED


class PlannedExecution(Message):
    """A batch to start: this machine with ``{"batch_id": batch_id}``, under the name ``execution``."""

    batch_id: str
    execution: str  # "{batch_id}-{generation}"
    collection: str
    records: int


class PlanBatchesOutput(Message):
    batches: list[PlannedExecution]  # planned by this execution, or orphaned and started again
    sources: int  # claimed
    records: int  # packed
    rejected: int  # records that can't be embedded at all: their sources are FAILED and say why
    more: bool  # sources are left for another plan (limit or time)


class SubmitBatchInput(Message):
    batch_id: str = Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")
    openai_batch_id: str | None = None  # adopt what was submitted by hand
    collection: str | None = None  # of an adopted batch that the ledger does not know


class SubmitBatchOutput(Message):
    batch_id: str
    collection: str
    attempt: int
    openai_batch_id: str
    wait_seconds: int  # before the first look


class PollBatchInput(Message):
    batch_id: str
    attempt: int = Field(ge=1)
    openai_batch_id: str
    polls: int = Field(default=0, ge=0)  # looks so far at this submission


class PollBatchOutput(Message):
    batch_id: str
    attempt: int
    openai_batch_id: str
    state: Literal["running", "ready", "resubmit", "failed"]
    provider_status: str
    wait_seconds: int  # 0 unless running or resubmit
    polls: int
    cause: str | None = None  # the provider's words; only with resubmit and failed


class CreateDeltaInput(Message):
    batch_id: str
    attempt: int = Field(ge=1)


class CreateDeltaOutput(Message):
    batch_id: str
    collection: str
    attempt: int
    delta_keys: list[str]  # one for each shard that got rows; empty if nothing was left to write
    submitted: int
    embedded: int
    to_retry: int
    rejected: int
    outdated: int


class RecordOutcomeInput(Message):
    batch_id: str
    attempt: int = Field(ge=1)
    failed: str | None = None  # why the batch failed for good; its sources are given back to a later plan


class RecordOutcomeOutput(Message):
    batch_id: str
    collection: str
    status: Literal["PLANNED", "COMPLETE", "FAILED", "CANCELLED"]
    retry: bool  # status PLANNED: submit the next attempt
    attempt: int  # the next one if retry, else the last
    counts: Counts  # of the attempt that was recorded
    cause: str | None = None
