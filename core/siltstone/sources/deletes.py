"""Deletes that are owed to the store: written as deltas at once, since a delete needs no provider."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from siltstone.clock import Clock
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.produce import tell
from siltstone.deltas.writer import write_delta
from siltstone.errors import SourceChanged, StoreUnavailable, UnknownCollection
from siltstone.parallel import chunks
from siltstone.sources.state import Digests, rested, strayed, to_delete, with_state, without
from siltstone.stores import Stores
from siltstone.stores.sources import SourceItem

_log = logging.getLogger(__name__)
_RACES = 10
_DELTA_ROWS = 10_000

Owed = Mapping[str, frozenset[str]]
"""Collection -> record ids."""


def pay_deletes(
    items: Iterable[tuple[SourceItem, Mapping[str, Digests]]], stores: Stores, clock: Clock
) -> tuple[dict[str, SourceItem], list[str]]:
    """Write the deletes of each item, given its wanted records per collection, and save the items.

    Returns the items that were saved, by id, and the deltas' keys. An item that changed meanwhile is not among them:
    its rows are marked as in doubt. A collection that no setting knows stays owed, and is logged.
    """
    owing: dict[str, tuple[SourceItem, Mapping[str, Digests], Owed]] = {}
    by_collection: dict[str, set[str]] = {}
    for item, wanted in items:
        owed = {
            name: gone
            for name, records in wanted.items()
            if (gone := to_delete(item.collections[name], records)) and is_known(name, stores)
        }
        if owed:
            owing[item.source_id] = (item, wanted, owed)
        for name, gone in owed.items():
            by_collection.setdefault(name, set()).update(gone)
    delta_keys = [
        key for name, gone in sorted(by_collection.items()) for key in delete_rows(stores, clock, name, sorted(gone))
    ]
    saved, changed = stores.sources.save_many([_paid(*owing[key]) for key in owing], now=clock.now())
    for source_id in sorted(changed):
        doubt(source_id, owing[source_id][2], stores, clock)
    return saved, delta_keys


def delete_rows(stores: Stores, clock: Clock, collection: str, record_ids: Iterable[str]) -> list[str]:
    """Write deletes of these records as deltas of moderate size and tell the queue; the deltas' keys."""
    dimension = stores.settings.resolve(collection).dimension
    delta_keys: list[str] = []
    for some in chunks(record_ids, _DELTA_ROWS):
        rows = DeltaRows.deletions(some, dimension)
        written = write_delta(rows, collection=collection, stores=stores, clock=clock)
        tell(stores.hints, written)
        delta_keys += written.delta_keys
    return delta_keys


def doubt(source_id: str, rows: Owed, stores: Stores, clock: Clock) -> None:
    """Mark rows that were written for a source which has changed since: what is in the store now is not known."""
    for _ in range(_RACES):
        item = stores.sources.read(source_id)
        if item is None:
            return
        for name, records in rows.items():
            if name in item.collections:
                item = with_state(item, name, strayed(item.collections[name], records))
        try:
            stores.sources.save(item, now=clock.now())
        except SourceChanged:
            continue
        return
    raise StoreUnavailable(f"Source {source_id} changed {_RACES} times while it was read.", remedy="Try again.")


def _paid(item: SourceItem, wanted: Mapping[str, Digests], owed: Owed) -> SourceItem:
    for name, gone in owed.items():
        state = without(item.collections[name], gone)
        item = with_state(item, name, state if state.claim else rested(state, wanted[name]))
    return item


def is_known(collection: str, stores: Stores) -> bool:
    """Whether a setting names the collection, so that a delta can be written for it."""
    try:
        stores.settings.resolve(collection)
    except UnknownCollection as error:
        _log.warning("Deletes stay owed: %s", error)
        return False
    return True
