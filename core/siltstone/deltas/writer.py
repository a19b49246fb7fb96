"""The one way to write a delta: validated, spread over the shards, one create-only PUT for each.

**A key is written once in its life.** A create-only PUT succeeds again over a delete marker, so for an id that is
derived (from batch and attempt) the key's history is looked at first: what was ever there may be merged and retired,
and written again it would undo what came later. A new ULID has no history.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from siltstone import keys
from siltstone.clock import Clock, iso
from siltstone.deltas.batch import DeltaRows, without_nulls
from siltstone.deltas.codec import MAX_ROWS, DeltaHeader, encode, read_header
from siltstone.deltas.ids import check_delta_id, delta_ids
from siltstone.deltas.shards import physical, spread
from siltstone.deltas.validate import check_ids, validate_header, validate_rows
from siltstone.errors import BadDelta, ObjectNotFound, PreconditionFailed
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.stores.objects import ObjectStore


class DeltaStores(Protocol):
    """What writing a delta needs of `siltstone.stores.Stores`."""

    @property
    def deltas(self) -> ObjectStore: ...
    @property
    def settings(self) -> CollectionBook: ...


@dataclass(frozen=True)
class WrittenPart:
    """One object. ``etag`` is ``None`` if it was written before and has been merged and retired since."""

    collection: str
    key: str
    etag: str | None
    count: int


@dataclass(frozen=True)
class WrittenDelta:
    """A durable delta: one object, or one for each shard that got rows."""

    delta_id: str
    parts: tuple[WrittenPart, ...]

    @property
    def delta_key(self) -> str:
        """Key of the only object, or of the first shard's."""
        return self.parts[0].key

    @property
    def delta_keys(self) -> tuple[str, ...]:
        """Keys of all objects."""
        return tuple(part.key for part in self.parts)

    @property
    def etag(self) -> str | None:
        """ETag of `delta_key`'s object."""
        return self.parts[0].etag

    @property
    def embedding_count(self) -> int:
        """Rows, deletes among them."""
        return sum(part.count for part in self.parts)


def write_delta(
    rows: DeltaRows,
    *,
    collection: str,
    stores: DeltaStores,
    clock: Clock,
    delta_id: str | None = None,
    batch_id: str | None = None,
    model: str | None = None,
    input_format: str | None = None,
) -> WrittenDelta:
    """Write ``rows`` (1 to 50,000, no id twice) as one delta of ``collection``.

    Without ``delta_id`` it gets a new one. With it, what was written under it before stays, and is what is returned.
    ``model`` and ``input_format``: what the vectors were made with, where that is not the collection's setting. Every
    upsert's metadata gets ``model``, ``input_format``, ``batch_id`` and ``delta_id`` where it has no such key itself.
    Raises `BadDelta` naming row, id and reason, before anything is written, and `UnknownCollection`.
    """
    settings = stores.settings.resolve(collection)
    if len(rows) > MAX_ROWS:
        raise BadDelta(f"{len(rows):,} rows are more than {MAX_ROWS:,}.", remedy="Write them as several deltas.")
    identity = delta_ids.next(clock) if delta_id is None else check_delta_id(delta_id)
    origin = {"model": model or settings.model, "input_format": input_format or settings.input_format}
    if batch_id is not None:
        origin["batch_id"] = batch_id
    whole = _with_origin(rows, {**origin, "delta_id": identity})
    planned: list[tuple[DeltaHeader, DeltaRows]] = []
    for name, share in _shares(whole, collection, settings):
        validate_rows(share, name, settings)
        header = DeltaHeader(
            delta_id=identity,
            collection=name,
            count=len(share),
            dimension=share.dimension,
            created_at=iso(clock.now()),
            model=origin["model"],
            input_format=origin["input_format"],
            batch_id=batch_id,
        )
        validate_header(header, name, settings)
        planned.append((header, share))
    parts = [_write_once(stores.deltas, header, share, derived=delta_id is not None) for header, share in planned]
    return WrittenDelta(identity, tuple(parts))


def _shares(rows: DeltaRows, collection: str, settings: CollectionSettings) -> list[tuple[str, DeltaRows]]:
    """The rows of each physical collection that gets any; a shard that is named itself gets all."""
    if settings.shards == 1 or keys.split_shard(collection)[1] is not None:
        return [(collection, rows)]
    check_ids(rows.ids)
    shard_of = spread(rows.ids, settings.shards)
    names = physical(collection, settings)
    return [(names[shard], rows.take(np.flatnonzero(shard_of == shard))) for shard in np.unique(shard_of).tolist()]


def _with_origin(rows: DeltaRows, origin: dict[str, str]) -> DeltaRows:
    """Say in each upsert where it came from. What the producer says itself is never overwritten."""
    metadatas = [
        metadata if delete else {**origin, **without_nulls(metadata)}
        for delete, metadata in zip(rows.deletes.tolist(), rows.metadatas, strict=True)
    ]
    return replace(rows, metadatas=metadatas)


def _write_once(store: ObjectStore, header: DeltaHeader, rows: DeltaRows, *, derived: bool) -> WrittenPart:
    key = keys.delta(header.collection, header.delta_id)
    if derived and next(store.list_versions(key, first=key, last=key), None) is not None:
        return _written_before(store, header, key)
    body = encode(rows, header)
    try:
        etag = store.put(key, body, create_only=True)
    except PreconditionFailed:
        # Our own put whose reply was lost, or, of a derived id, another execution of the same batch.
        if not derived and store.get(key).body != body:
            raise
        return _written_before(store, header, key)
    return WrittenPart(header.collection, key, etag, header.count)


def _written_before(store: ObjectStore, header: DeltaHeader, key: str) -> WrittenPart:
    """The fact that stands, which may differ from what would be written now; of a retired one only that it was."""
    try:
        stored = store.get(key)
    except ObjectNotFound:
        return WrittenPart(header.collection, key, None, header.count)
    return WrittenPart(header.collection, key, stored.info.etag, read_header(stored.body).count)
