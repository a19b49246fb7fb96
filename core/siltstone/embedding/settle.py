"""After rows were written: save every source's item, whatever became of the source in the meantime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from siltstone.clock import Clock
from siltstone.errors import StoreUnavailable
from siltstone.parallel import chunks
from siltstone.sources.deletes import delete_rows, pay_deletes
from siltstone.sources.loading import unwanted
from siltstone.sources.state import failed, holds, released, settled, strayed, with_state
from siltstone.stores import Stores
from siltstone.stores.sources import SourceItem

_CHUNK = 1_000
_RACES = 10


@dataclass
class SourceRows:
    """What became of one source's rows of a batch. ``embedded``, ``refused``: digests by record id."""

    revision: str
    embedded: dict[str, str] = field(default_factory=dict[str, str])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    retry: set[str] = field(default_factory=set[str])
    cause: str | None = None


def settle_sources(
    rows: Mapping[str, SourceRows], *, collection: str, batch_id: str, stores: Stores, clock: Clock
) -> list[str]:
    """Save what the batch did to each source, by source id; the keys of deltas of deletes that had to follow.

    A source that was deleted while its rows were written gets a delete; one that changed is marked to be embedded
    again. `SUCCESS` only under this batch's own claim, for the revision that was embedded.
    """

    def change(item: SourceItem) -> SourceItem | None:
        return _settled(item, rows[item.source_id], collection, batch_id)

    delta_keys: list[str] = []
    for chunk in chunks(rows, _CHUNK):
        saved, missing = _save_all(chunk, change, stores, clock)
        gone = [(item, unwanted(item)) for item in saved if item.deleted_at is not None]
        delta_keys += pay_deletes(gone, stores, clock)[1]
        orphans = sorted(record_id for source_id in missing for record_id in rows[source_id].embedded)
        if orphans:
            delta_keys += delete_rows(stores, clock, collection, orphans)
    return delta_keys


def give_back(
    source_ids: Iterable[str], *, collection: str, batch_id: str, cause: str | None, stores: Stores, clock: Clock
) -> None:
    """The batch failed as a whole, or was cancelled (no ``cause``): its sources are for a later plan."""

    def change(item: SourceItem) -> SourceItem | None:
        if not holds(item, collection, batch_id, item.revision):
            return None
        state = item.collections[collection]
        return with_state(item, collection, released(state) if cause is None else failed(state, cause))

    for chunk in chunks(source_ids, _CHUNK):
        _save_all(chunk, change, stores, clock)


def _save_all(
    source_ids: list[str], change: Callable[[SourceItem], SourceItem | None], stores: Stores, clock: Clock
) -> tuple[list[SourceItem], list[str]]:
    """Change and save each item, reading it again where it moved; the saved ones, and the ids that have no item."""
    saved: list[SourceItem] = []
    missing: list[str] = []
    todo: Iterable[str] = source_ids
    for _ in range(_RACES):
        items = stores.sources.read_many(todo)
        missing += [source_id for source_id in todo if source_id not in items]
        changed = [new for item in items.values() if (new := change(item)) is not None]
        done, lost = stores.sources.save_many(changed, now=clock.now())
        saved += done.values()
        if not lost:
            return saved, missing
        todo = sorted(lost)
    raise StoreUnavailable(f"{len(list(todo))} sources changed {_RACES} times while they were saved.", remedy="Again.")


def _settled(item: SourceItem, rows: SourceRows, collection: str, batch_id: str) -> SourceItem | None:
    """The item after the batch's rows were written, or ``None`` where nothing is to be said."""
    state = item.collections[collection]
    if holds(item, collection, batch_id, rows.revision):
        new = settled(
            state,
            batch_id=batch_id,
            embedded=rows.embedded,
            refused=rows.refused,
            retry=frozenset(rows.retry),
            cause=rows.cause,
        )
        return with_state(item, collection, new)
    # Not under our claim. What is recorded as being there with this very content is right, whoever wrote it last.
    news = {key: found for key, found in rows.embedded.items() if state.settled.get(key) != found or key in state.stray}
    if item.deleted_at is None and item.revision == rows.revision:
        # The present content after all. Another has it in flight, or is in doubt about it: he will say. If nobody knows
        # of it, it may have been deleted right behind our delta and loaded again: then it is not there.
        news = {key: found for key, found in news.items() if key not in state.pending and key not in state.stray}
        refused = {key: found for key, found in state.refused.items() if key not in news}
        state = state.model_copy(update={"refused": refused})
    new = strayed(state, frozenset(news))
    return with_state(item, collection, new) if news else None
