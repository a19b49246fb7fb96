"""The sources of a stage: how many are where on their way, what waits longest, what failed and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from siltstone.clock import Clock, iso
from siltstone.compaction.messages import Message
from siltstone.errors import UnknownSource
from siltstone.stores import Stores
from siltstone.stores.sources import CollectionState, SourceItem, SourceStatus

FAILED_SHOWN = 1_000


class WaitingSource(Message):
    """A source that is not in the store as it should be. ``batch_id``: of the batch that has it at the moment."""

    source_id: str
    status: SourceStatus
    age_seconds: float
    batch_id: str | None


class FailedSource(Message):
    """A source that waits for new content or for a person."""

    source_id: str
    collection: str
    cause: str
    since: str
    refused: int  # records; 0 where the source failed as a whole


class CollectionSources(Message):
    """The sources of one logical collection, deleted ones not counted. ``records``: those certainly in the store."""

    collection: str
    none: int
    pending: int
    success: int
    failed: int
    records: int
    oldest: WaitingSource | None


class SourcesStatus(Message):
    """All sources. ``owed``: deleted ones of which rows may still be in the store; the next plan deletes them.

    ``failures``: at most `FAILED_SHOWN`, those of longest standing first.
    """

    sources: int
    deleted: int
    owed: int
    collections: list[CollectionSources]
    failures: list[FailedSource]


class SourceState(Message):
    """One source in one collection, records by what is known of them; see `siltstone.stores.sources`."""

    collection: str
    status: SourceStatus
    settled: int
    in_flight: int
    refused: int
    in_doubt: int
    batch_id: str | None  # that has it at the moment, else the last one that wrote for it
    failures: int
    cause: str | None


class SourceInfo(Message):
    """One source. ``deleted_at``: of its tombstone."""

    source_id: str
    kind: str
    revision: str
    created_at: str
    updated_at: str
    deleted_at: str | None
    collections: list[SourceState]


@dataclass
class _Tally:
    by_status: Counter[SourceStatus] = field(default_factory=Counter[SourceStatus])
    records: int = 0
    oldest: tuple[float, WaitingSource] | None = None


def sources_status(stores: Stores, clock: Clock) -> SourcesStatus:
    """Count every source: one scan of the table, a source at a time in memory. Raises `StoreUnavailable`."""
    now = clock.now()
    tallies: dict[str, _Tally] = {}
    failures: list[tuple[float, FailedSource]] = []
    living = deleted = owed = 0
    for item in stores.sources.list():
        if item.deleted_at is not None:
            deleted += 1
            owed += item.open
            continue
        living += 1
        for name, state in item.collections.items():
            _count(tallies.setdefault(name, _Tally()), item, state, now)
            if state.status == "FAILED":
                failures.append((item.updated_at, _failed(item, name, state)))
    failures.sort(key=lambda found: (found[0], found[1].source_id))
    return SourcesStatus(
        sources=living,
        deleted=deleted,
        owed=owed,
        collections=[_collection(name, tallies[name]) for name in sorted(tallies)],
        failures=[found for _, found in failures[:FAILED_SHOWN]],
    )


def read_sources(source_ids: Iterable[str], stores: Stores) -> list[SourceInfo]:
    """These sources, in this order. Raises `UnknownSource` naming the first that the table does not have."""
    ids = list(dict.fromkeys(source_ids))
    items = stores.sources.read_many(ids)
    return [_info(known_source(source_id, items)) for source_id in ids]


def known_source(source_id: str, items: dict[str, SourceItem]) -> SourceItem:
    """The item of this id. Raises `UnknownSource`."""
    if source_id not in items:
        raise UnknownSource(
            f"There is no source {source_id[:200]!r}.",
            remedy="A receipt's id is 'IMAGE_ID.00001', a text's 'text.COLLECTION.ID'.",
        )
    return items[source_id]


def _count(tally: _Tally, item: SourceItem, state: CollectionState, now: float) -> None:
    tally.by_status[state.status] += 1
    tally.records += len(state.settled)
    if state.status not in {"NONE", "PENDING"}:
        return
    since = state.claim.at if state.claim else item.updated_at
    if tally.oldest is None or since < tally.oldest[0]:
        waiting = WaitingSource(
            source_id=item.source_id,
            status=state.status,
            age_seconds=max(0.0, now - since),
            batch_id=state.claim.batch_id if state.claim else None,
        )
        tally.oldest = (since, waiting)


def _collection(name: str, tally: _Tally) -> CollectionSources:
    return CollectionSources(
        collection=name,
        none=tally.by_status["NONE"],
        pending=tally.by_status["PENDING"],
        success=tally.by_status["SUCCESS"],
        failed=tally.by_status["FAILED"],
        records=tally.records,
        oldest=tally.oldest and tally.oldest[1],
    )


def _failed(item: SourceItem, collection: str, state: CollectionState) -> FailedSource:
    return FailedSource(
        source_id=item.source_id,
        collection=collection,
        cause=state.cause or "no reason was recorded",
        since=iso(item.updated_at),
        refused=len(state.refused),
    )


def _info(item: SourceItem) -> SourceInfo:
    return SourceInfo(
        source_id=item.source_id,
        kind=item.kind,
        revision=item.revision,
        created_at=iso(item.created_at),
        updated_at=iso(item.updated_at),
        deleted_at=None if item.deleted_at is None else iso(item.deleted_at),
        collections=[
            SourceState(
                collection=name,
                status=state.status,
                settled=len(state.settled),
                in_flight=len(state.pending),
                refused=len(state.refused),
                in_doubt=len(state.stray),
                batch_id=state.claim.batch_id if state.claim else state.batch_id,
                failures=state.failures,
                cause=state.cause,
            )
            for name, state in sorted(item.collections.items())
        ],
    )
