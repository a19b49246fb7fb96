"""What an operator asks of the embedding machine: plan, go on with a batch, adopt one, cancel one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from ulid import ULID

from siltstone.clock import Clock
from siltstone.compaction.messages import Message
from siltstone.embedding.messages import PlannedExecution, SubmitBatchInput
from siltstone.embedding.plan_batches import ORPHAN_SECONDS, execution_of
from siltstone.errors import BadEvent, IllegalTransition
from siltstone.stores import Stores
from siltstone.stores.ledger import BatchItem
from siltstone.stores.machines import Machine


class Cancellation(Message):
    """``status``: the batch's at the moment. ``execution``: started for it, where nobody worked on it any more."""

    batch_id: str
    status: str
    execution: str | None = None


def start_plan(
    stores: Stores,
    machine: Machine,
    *,
    collections: Sequence[str] = (),
    limit: int | None = None,
    retry_failed: bool = False,
) -> str:
    """Start a plan of all that is open, or of these collections; the execution's name. Raises `UnknownCollection`."""
    request: dict[str, Any] = {}
    for name in collections:
        stores.settings.resolve(name)
    if collections:
        request["collections"] = list(dict.fromkeys(collections))
    if limit is not None:
        request["limit"] = limit
    if retry_failed:
        request["retry_failed"] = True
    return machine.start(request)


def start_adoption(
    openai_batch_id: str,
    collection: str,
    stores: Stores,
    clock: Clock,
    machine: Machine,
    *,
    batch_id: str | None = None,
) -> PlannedExecution:
    """Start the machine on a batch that was submitted by hand, under an id of its own unless one is given.

    Raises `BadEvent` for an unusable id or a batch that the ledger has already, `UnknownCollection`.
    """
    stores.settings.resolve(collection)
    batch_id = batch_id or str(ULID.from_timestamp(clock.now()))
    try:
        request = SubmitBatchInput(batch_id=batch_id, openai_batch_id=openai_batch_id, collection=collection)
    except ValidationError as error:
        raise BadEvent(
            f"{batch_id[:80]!r} is no batch id.", remedy="Use up to 64 of 0-9, A-Z, a-z, _ and -."
        ) from error
    for batch in stores.ledger.list():
        theirs = {batch.openai_batch_id, *(attempt.openai_batch_id for attempt in batch.attempts)}
        if openai_batch_id in theirs:
            raise BadEvent(
                f"{openai_batch_id} is batch {batch.batch_id} of {batch.collection}, which is {batch.status}.",
                remedy=f"See siltstone embed status {batch.batch_id}.",
            )
    execution = machine.start(request.model_dump())
    return PlannedExecution(batch_id=batch_id, execution=execution, collection=collection, records=0)


def go_on(batch_id: str, stores: Stores, clock: Clock, machine: Machine) -> PlannedExecution:
    """Start an open batch's execution again, after one that failed or was stopped.

    Where one still works on it, one of the two stops at its next write, and nothing is paid twice. Raises
    `UnknownBatch`, `IllegalTransition` (it is closed), `LedgerChanged` (somebody works on it this very moment).
    """
    item = stores.ledger.read(batch_id)
    if not item.open:
        raise IllegalTransition(f"Batch {batch_id} is {item.status}: nothing is left to do.")
    # An execution's name stays taken for 90 days: the batch needs a new one.
    item = stores.ledger.save(item.model_copy(update={"generation": item.generation + 1}), now=clock.now())
    planned = execution_of(item)
    machine.start({"batch_id": batch_id}, name=planned.execution)
    return planned


def cancel_batch(batch_id: str, stores: Stores, clock: Clock, machine: Machine) -> Cancellation:
    """Ask that a batch ends: what is embedded by then is kept, its other sources are for a later plan.

    Only a mark in the ledger is written: the machine, which has the provider's key, obeys at its next look. Twice is
    as good as once. Raises `UnknownBatch`, `IllegalTransition` for one that came to its own end.
    """
    item = stores.ledger.read(batch_id)
    if item.status == "CANCELLED":
        return Cancellation(batch_id=batch_id, status=item.status)
    if not item.open:
        raise IllegalTransition(
            f"Batch {batch_id} is {item.status}: there is nothing to cancel.",
            remedy="What it embedded is taken away by deleting the sources.",
        )
    if item.cancel_requested_at is None:
        stores.ledger.request_cancel(batch_id, now=clock.now())
    execution = go_on(batch_id, stores, clock, machine).execution if is_orphan(item, clock) else None
    return Cancellation(batch_id=batch_id, status=item.status, execution=execution)


def is_orphan(item: BatchItem, clock: Clock) -> bool:
    """Whether no execution can be working on this open batch any more."""
    return item.open and item.seen_at <= clock.now() - ORPHAN_SECONDS
