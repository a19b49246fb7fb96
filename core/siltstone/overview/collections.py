"""Which physical collections a stage has."""

from __future__ import annotations

from siltstone import keys
from siltstone.deltas.listing import Pending, list_all_pending
from siltstone.deltas.shards import physical
from siltstone.stores import Stores
from siltstone.stores.objects import ObjectStore


def collection_names(stores: Stores, pending: Pending | None = None) -> list[str]:
    """Physical names, sorted: what the settings name, and what is stored, whether a setting matches it or not.

    ``pending``: a listing of all deltas, where there is one already. Raises `StoreUnavailable`.
    """
    found = pending or list_all_pending(stores.deltas, stores.settings)
    named = [
        shard
        for name, settings in stores.settings.collections.items()
        if "*" not in name
        for shard in physical(name, settings)
    ]
    stored = [
        *(delta.collection for delta in found.deltas),
        *_folders(stores.snapshots, keys.SNAPSHOTS),
        *_folders(stores.deltas, keys.QUARANTINE),
    ]
    return sorted({*named, *stored})


def _folders(store: ObjectStore, prefix: str) -> list[str]:
    return [found.removeprefix(prefix).removesuffix("/") for found in store.list_prefixes(prefix)]
