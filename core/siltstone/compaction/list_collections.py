"""State ``ListCollections``: the backlog of every collection from one listing, and which of them are due."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from siltstone.clock import Clock
from siltstone.compaction.messages import DueCollection, ListCollectionsInput, ListCollectionsOutput
from siltstone.compaction.pauses import pause_of, read_pauses
from siltstone.deltas.listing import PendingDelta, list_all_pending
from siltstone.deltas.shards import physical
from siltstone.errors import InvalidInput, UnknownCollection
from siltstone.keys import split_shard
from siltstone.settings import CollectionBook, CollectionSettings, DueSettings
from siltstone.stores import Stores

MAX_DUE = 100  # a state's output is bounded, and the machine comes back for the rest
MAX_NAMES = 100

Reason = Literal["count", "bytes", "age", "asked"]


def list_collections(request: ListCollectionsInput, stores: Stores, clock: Clock) -> ListCollectionsOutput:
    """Count what is pending and name what is due, the oldest first, at most 100.

    A name that no setting knows is reported in ``unknown`` and does not keep the others waiting; so is a key that
    looks like no delta. What an operator paused is never due, also if it was asked for: it is reported in ``paused``,
    and its backlog is counted as ever. Ages are by the store's clock, quiet hours and pauses by ``clock``. Raises
    `StoreUnavailable`.
    """
    pending = list_all_pending(stores.deltas, stores.settings)
    backlog: dict[str, list[PendingDelta]] = {}
    for delta in pending.settled(stores.settings.settle_seconds):
        backlog.setdefault(delta.collection, []).append(delta)
    asked, strangers = _expand(request.collections, stores.settings)
    unknown = [*pending.strange, *strangers]
    hour = datetime.fromtimestamp(clock.now(), UTC).hour
    due: list[DueCollection] = []
    pauses = read_pauses(stores.snapshots, clock)
    paused: list[str] = []
    for collection in sorted({delta.collection for delta in pending.deltas} | set(asked or ())):
        settings = _resolve(stores.settings, collection)
        if settings is None:
            unknown.append(collection)
            continue
        if collection in request.skip or (asked is not None and collection not in asked):
            continue
        if pause_of(collection, pauses) is not None:
            paused.append(collection)
            continue
        deltas = backlog.get(collection, [])
        age = max((float(pending.date - delta.last_modified) for delta in deltas), default=0.0)
        size = sum(delta.size for delta in deltas)
        reason = _reason(settings.due, deltas=len(deltas), size=size, age=age, hour=hour)
        if request.force and (deltas or asked is not None):
            reason = "asked"
        if reason is not None:
            due.append(
                DueCollection(
                    collection=collection, reason=reason, deltas=len(deltas), bytes=size, oldest_age_seconds=age
                )
            )
    due.sort(key=lambda one: (-one.oldest_age_seconds, one.collection))
    return ListCollectionsOutput(
        due=due[:MAX_DUE],
        more=len(due) > MAX_DUE,
        unknown=[name[:512] for name in sorted(unknown)[:MAX_NAMES]],
        paused=paused[:MAX_NAMES],
        pending_deltas=len(pending.deltas),
        pending_bytes=sum(delta.size for delta in pending.deltas),
        oldest_age_seconds=max((float(pending.date - delta.last_modified) for delta in pending.deltas), default=0.0),
    )


def _reason(due: DueSettings, *, deltas: int, size: int, age: float, hour: int) -> Reason | None:
    """Why a collection is due. The age counts always: quiet hours delay, they never keep anything for ever."""
    if deltas == 0:
        return None
    if age >= due.max_age_seconds:
        return "age"
    if due.quiet_hours_utc is not None and _in_hours(hour, *due.quiet_hours_utc):
        return None
    if deltas >= due.min_deltas:
        return "count"
    return "bytes" if size >= due.min_bytes else None


def _in_hours(hour: int, start: int, end: int) -> bool:
    """Whether ``hour`` is in [start, end), which may pass midnight: (22, 6)."""
    return start <= hour < end if start <= end else hour >= start or hour < end


def _expand(names: list[str] | None, book: CollectionBook) -> tuple[list[str] | None, list[str]]:
    """The physical collections of those that were asked for, and the names that nothing knows."""
    if names is None:
        return None, []
    known: list[str] = []
    unknown: list[str] = []
    for name in names:
        settings = _resolve(book, name)
        if settings is None:
            unknown.append(name)
        elif split_shard(name)[1] is not None:
            known.append(name)  # a shard by its own name: a backlog goes on with exactly what was left
        else:
            known += physical(name, settings)
    return known, unknown


def _resolve(book: CollectionBook, collection: str) -> CollectionSettings | None:
    try:
        return book.resolve(collection)
    except (UnknownCollection, InvalidInput):
        return None
