"""Sources read back for a plan: the records of each that are not in the store as they should be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from siltstone import keys
from siltstone.clock import Clock
from siltstone.embedding.claims import Claims
from siltstone.errors import BadRecord, BadSource, ObjectNotFound, SourceChanged
from siltstone.parallel import in_parallel
from siltstone.records.record import Record, make_records
from siltstone.sources.deletes import pay_deletes
from siltstone.sources.loading import load_sources
from siltstone.sources.source import Source, source_from_body
from siltstone.sources.state import (
    CAUSE_LENGTH,
    digests,
    released,
    rested,
    to_delete,
    to_embed,
    with_state,
)
from siltstone.stores import Stores
from siltstone.stores.sources import SourceItem


class SourceReader:
    """Yields sources with the records to embed, and remembers each item until its claim is written.

    On the way it settles what needs no provider: deletes that are owed, a source whose records are all there, a body
    newer than its item (a load that stopped half way), a source that can't be read or has no usable records.
    """

    def __init__(self, stores: Stores, clock: Clock, claims: Claims, *, retry_failed: bool = False) -> None:
        self._stores = stores
        self._clock = clock
        self._claims = claims
        self._retry_failed = retry_failed
        self._items: dict[str, tuple[SourceItem, int]] = {}  # with the number of records to embed
        self.rejected = 0  # records of sources that were refused

    def read(self, collection: str, chunks: Iterable[list[str]]) -> Iterator[tuple[Source, list[Record]]]:
        """Sources of these ids that this plan may take in ``collection``, with at least one record each."""
        for chunk in chunks:
            items = self._stores.sources.read_many(chunk)
            mine = self._claims.takeable(items.values())
            items = {key: item for key, item in items.items() if collection in mine.get(key, [])}
            yield from self._records(collection, items)

    def forget(self, source_id: str) -> SourceItem:
        """The item as it was when its records were made."""
        return self._items.pop(source_id)[0]

    def refuse(self, source_id: str, collection: str, cause: str) -> None:
        """These records can't be embedded: the source says why, and waits for new content or a person."""
        item, records = self._items.pop(source_id)
        self.rejected += records
        self._fail(item, collection, cause)

    def _records(self, collection: str, items: Mapping[str, SourceItem]) -> Iterator[tuple[Source, list[Record]]]:
        settings = self._stores.settings.resolve(collection)
        found: list[tuple[SourceItem, Source, list[Record]]] = []
        for item, body in zip(items.values(), in_parallel(self._body, items.values()), strict=True):
            if body is None:
                self._fail(item, collection, "Its body is gone: load the source again, then plan with retry_failed.")
                continue
            try:
                source = source_from_body(item.kind, body)
                if source.revision != item.revision:
                    load_sources([source], self._stores, self._clock)  # the next plan takes it
                    continue
                found.append((item, source, make_records(source, collection, settings)))
            except (BadSource, BadRecord) as error:
                self._fail(item, collection, str(error))
        yield from self._to_embed(collection, found)

    def _to_embed(
        self, collection: str, found: list[tuple[SourceItem, Source, list[Record]]]
    ) -> Iterator[tuple[Source, list[Record]]]:
        wanted = {item.source_id: digests(records) for item, _, records in found}
        ready = {item.source_id: self._ready(item, collection) for item, _, _ in found}
        owing = [item for item in ready.values() if to_delete(item.collections[collection], wanted[item.source_id])]
        paid, _ = pay_deletes(
            [(item, {collection: wanted[item.source_id]}) for item in owing], self._stores, self._clock
        )
        unpaid = {item.source_id for item in owing} - paid.keys()
        done: list[SourceItem] = []
        for item, source, records in found:
            if item.source_id in unpaid:
                continue  # it changed this very moment: the next plan takes it
            current = paid.get(item.source_id, ready[item.source_id])
            state = current.collections[collection]
            todo = to_embed(state, wanted[item.source_id])
            if todo:
                self._items[item.source_id] = current, len(todo)
                yield source, [record for record in records if record.record_id in todo]
            else:
                done.append(with_state(current, collection, rested(state, wanted[item.source_id])))
        self._stores.sources.save_many(done, now=self._clock.now())

    def _ready(self, item: SourceItem, collection: str) -> SourceItem:
        """The item without a claim that means nothing any more, and with a clean slate if that was asked for."""
        state = released(item.collections[collection])
        if self._retry_failed and state.status == "FAILED":
            state = state.model_copy(update={"refused": {}, "failures": 0})
        return with_state(item, collection, state)

    def _fail(self, item: SourceItem, collection: str, cause: str) -> None:
        state = released(item.collections[collection])
        state = state.model_copy(update={"status": "FAILED", "cause": cause[:CAUSE_LENGTH]})
        try:
            self._stores.sources.save(with_state(item, collection, state), now=self._clock.now())
        except SourceChanged:
            return  # it is another source now: the next plan judges it

    def _body(self, item: SourceItem) -> bytes | None:
        """The stored body; ``None`` if it is gone."""
        try:
            return self._stores.deltas.get(keys.source(item.kind, item.source_id)).body
        except ObjectNotFound:
            return None
