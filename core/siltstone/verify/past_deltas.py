"""Deltas as they were, read from the bucket's history: a retired one is still there until its body expires."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from siltstone.compaction.documents import AppliedDelta
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.listing import PendingDelta
from siltstone.deltas.reading import fetch_delta, read_fetched
from siltstone.errors import ObjectNotFound
from siltstone.settings import CollectionSettings
from siltstone.stores.objects import ObjectInfo, ObjectStore, ObjectVersion, StoredObject
from siltstone.verify.delta_history import KnownDelta


def read_past_delta(
    store: ObjectStore,
    known: dict[str, KnownDelta],
    applied: AppliedDelta,
    *,
    collection: str,
    settings: CollectionSettings,
    folder: Path,
) -> DeltaRows:
    """The rows that a run read under this identity, whether they are listed or retired. ``folder``: private.

    Raises `ObjectNotFound` where the body has expired, and `BadDelta`, `SchemaTooNew` as reading a pending one does.
    """
    delta = known.get(applied.key)
    body = delta and delta.body(applied.etag)
    if delta is None or body is None:
        raise ObjectNotFound(f"The body of {applied.key} has expired.")
    pending = PendingDelta(
        collection=collection,
        key=applied.key,
        etag=applied.etag,
        size=sum(entry.size for entry in body.objects),
        last_modified=max(entry.last_modified for entry in body.objects),
        layout=delta.layout,
        objects=tuple(ObjectInfo(entry.key, entry.etag, entry.size, entry.last_modified) for entry in body.objects),
    )
    fetched = fetch_delta(cast("ObjectStore", _AsItWas(store, body.objects)), pending, settings, folder)
    try:
        return read_fetched(fetched, settings)
    finally:
        fetched.path.unlink()


class _AsItWas:
    """The part of an object store that reading a delta needs, over entries of the history."""

    def __init__(self, store: ObjectStore, objects: tuple[ObjectVersion, ...]) -> None:
        self._store = store
        self._version_ids = {entry.key: entry.version_id for entry in objects}

    def get(self, key: str, *, if_match: str | None = None) -> StoredObject:
        return self._store.get_version(key, self._version_ids[key])

    def get_file(self, key: str, path: Path, *, if_match: str | None = None) -> None:
        path.write_bytes(self.get(key, if_match=if_match).body)
