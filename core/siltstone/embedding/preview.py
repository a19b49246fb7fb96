"""What a plan would do, without doing it: sources, records, tokens, batches and dollars, per collection.

It reads what a plan reads and writes nothing. Tokens are an upper estimate (`siltstone.records.tokens`), and
so are the dollars.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import Field

from siltstone import keys
from siltstone.clock import Clock
from siltstone.compaction.messages import Message
from siltstone.embedding.claims import Claims
from siltstone.embedding.messages import PlanBatchesInput
from siltstone.embedding.packing import BatchLimits, PlannedBatch, pack
from siltstone.embedding.prices import cost_usd
from siltstone.errors import BadRecord, BadSource, ObjectNotFound, UnknownCollection, UnknownSource
from siltstone.parallel import chunks, in_parallel
from siltstone.records.record import Record, make_records
from siltstone.records.tokens import estimate_tokens
from siltstone.sources.source import Source, source_from_body
from siltstone.sources.state import digests, released, to_embed
from siltstone.stores import Stores
from siltstone.stores.sources import CollectionState, SourceItem

_CHUNK = 100
Progress = Callable[[int, int], None]
"""(sources looked at, sources to look at)"""


class CollectionPreview(Message):
    """One collection. Dollars are ``None`` where the model's price is not known; they follow from ``tokens``."""

    collection: str
    sources: int  # that have something to embed
    records: int
    tokens: int  # at most
    batches: int
    batch_usd: float | None
    now_usd: float | None
    waiting: int  # sources that an open batch has
    failed: int  # sources that are FAILED and are taken only if that is asked for
    unusable: int  # sources that can't be embedded: a plan marks them FAILED and says why


class Preview(Message):
    """All that was asked for. ``unknown``: collections that sources wait for and no setting names."""

    collections: list[CollectionPreview]
    unknown: list[str]
    sources: int  # distinct ones
    records: int
    tokens: int
    batches: int
    batch_usd: float | None
    now_usd: float | None
    sizes: dict[str, int] = Field(exclude=True, repr=False)  # records to embed by source id


def preview_plan(
    stores: Stores,
    clock: Clock,
    *,
    collections: Iterable[str] | None = None,
    source_ids: Iterable[str] | None = None,
    limit: int | None = None,
    enough: int | None = None,
    retry_failed: bool = False,
    limits: BatchLimits | None = None,
    progress: Progress = lambda done, total: None,
) -> Preview:
    """Look at the open sources, or at those of ``source_ids``, in all collections or in those of ``collections``.

    ``limit``: sources at most. ``enough``: records after which nobody wants to know more. Memory: one batch of records
    a collection. Raises `UnknownCollection` for one that was asked for and has no setting, `UnknownSource` for one that
    is not there or was deleted.
    """
    names = None if collections is None else list(collections)
    for name in names or []:
        stores.settings.resolve(name)
    ids = sorted(set(stores.sources.list_open()) if source_ids is None else _known(set(source_ids), stores))
    request = PlanBatchesInput(execution="preview", collections=names, retry_failed=retry_failed)
    look = _Look(request, stores, clock, limit=limit, enough=enough)
    for packed in pack(look.sources(ids, progress), limits or BatchLimits(), stores.settings):
        if isinstance(packed, PlannedBatch):
            look.tally(packed.collection).batches += 1
            look.count(packed.records)
        else:
            look.tally(packed.collection).unusable += 1
    return look.preview()


@dataclass
class _Tally:
    sources: set[str] = field(default_factory=set[str])
    records: int = 0
    tokens: int = 0
    batches: int = 0
    waiting: int = 0
    failed: int = 0
    unusable: int = 0


class _Look:
    """One call of `preview_plan`."""

    def __init__(
        self, request: PlanBatchesInput, stores: Stores, clock: Clock, *, limit: int | None, enough: int | None
    ) -> None:
        self._request = request
        self._stores = stores
        self._claims = Claims(request, stores, clock.now())
        self._limit = limit
        self._enough = float("inf") if enough is None else enough
        self._tallies: dict[str, _Tally] = {}
        self._sizes: dict[str, int] = {}
        self._unknown: set[str] = set()

    def tally(self, collection: str) -> _Tally:
        return self._tallies.setdefault(collection, _Tally())

    def sources(self, ids: list[str], progress: Progress) -> Iterator[tuple[Source, list[Record]]]:
        """Each source that a plan would take, with its records to embed, of all collections."""
        taken = records_seen = done = 0
        for chunk in chunks(ids, _CHUNK):
            items = self._stores.sources.read_many(chunk)
            takeable = self._takeable(items)
            bodies = in_parallel(lambda source_id, items=items: self._body(items[source_id]), takeable)
            for (source_id, names), body in zip(takeable.items(), bodies, strict=True):
                if taken == self._limit or records_seen > self._enough:
                    return
                source, records = self._records(items[source_id], names, body)
                if source is not None and records:
                    taken += 1
                    records_seen += len(records)
                    yield source, records
            done += len(chunk)
            progress(done, len(ids))

    def count(self, records: Iterable[Record]) -> None:
        for record in records:
            tally = self.tally(record.collection)
            tally.sources.add(record.source_id)
            tally.records += 1
            tally.tokens += estimate_tokens(record.input)
            self._sizes[record.source_id] = self._sizes.get(record.source_id, 0) + 1

    def preview(self) -> Preview:
        found = [self._collection(name, self._tallies[name]) for name in sorted(self._tallies)]
        return Preview(
            collections=found,
            unknown=sorted(self._unknown),
            sources=len(self._sizes),
            records=sum(each.records for each in found),
            tokens=sum(each.tokens for each in found),
            batches=sum(each.batches for each in found),
            batch_usd=_total(each.batch_usd for each in found),
            now_usd=_total(each.now_usd for each in found),
            sizes=self._sizes,
        )

    def _collection(self, name: str, tally: _Tally) -> CollectionPreview:
        model = self._stores.settings.resolve(name).model
        return CollectionPreview(
            collection=name,
            sources=len(tally.sources),
            records=tally.records,
            tokens=tally.tokens,
            batches=tally.batches,
            batch_usd=cost_usd(model, tally.tokens, batch=True),
            now_usd=cost_usd(model, tally.tokens, batch=False),
            waiting=tally.waiting,
            failed=tally.failed,
            unusable=tally.unusable,
        )

    def _takeable(self, items: Mapping[str, SourceItem]) -> dict[str, list[str]]:
        found = self._claims.takeable(items.values())
        for source_id, item in items.items():
            for name, state in item.collections.items():
                mine = name in found.get(source_id, [])
                if item.deleted_at is None and state.status != "SUCCESS" and not mine and self._asked(name):
                    self.tally(name).waiting += state.status == "PENDING"
                    self.tally(name).failed += state.status == "FAILED"
        known = {source_id: [name for name in names if self._asked(name)] for source_id, names in found.items()}
        return {source_id: names for source_id, names in known.items() if names}

    def _asked(self, name: str) -> bool:
        if self._request.collections is not None and name not in self._request.collections:
            return False
        try:
            self._stores.settings.resolve(name)
        except UnknownCollection:
            self._unknown.add(name)
            return False
        return True

    def _body(self, item: SourceItem) -> bytes | None:
        try:
            return self._stores.deltas.get(keys.source(item.kind, item.source_id)).body
        except ObjectNotFound:
            return None

    def _records(self, item: SourceItem, names: list[str], body: bytes | None) -> tuple[Source | None, list[Record]]:
        found: list[Record] = []
        source: Source | None = None
        for name in names:
            try:
                # A body that is gone is as unusable as one that can't be read.
                source = source_from_body(item.kind, body or b"")
                records = make_records(source, name, self._stores.settings.resolve(name))
            except (BadSource, BadRecord):
                self.tally(name).unusable += 1
                continue
            todo = to_embed(self._state(item.collections[name]), digests(records))
            found += [record for record in records if record.record_id in todo]
        return source, found

    def _state(self, state: CollectionState) -> CollectionState:
        """As a plan sees it: without a claim that means nothing, and with a clean slate if that is asked for."""
        state = released(state)
        if self._request.retry_failed and state.status == "FAILED":
            return state.model_copy(update={"refused": {}})
        return state


def _known(source_ids: set[str], stores: Stores) -> set[str]:
    items = stores.sources.read_many(source_ids)
    for source_id in sorted(source_ids):
        item = items.get(source_id)
        if item is None or item.deleted_at is not None:
            what = "has been deleted" if item else "does not exist"
            raise UnknownSource(f"The source {source_id!r} {what}.", remedy="Load it first.")
    return source_ids


def _total(costs: Iterable[float | None]) -> float | None:
    known = list(costs)
    return None if None in known else round(sum(cost for cost in known if cost is not None), 8)
