"""Which physical collections a name on the command line stands for."""

from __future__ import annotations

from siltstone.deltas.shards import physical
from siltstone.errors import UnknownCollection
from siltstone.overview.collections import collection_names
from siltstone.stores import Stores

from siltstone_cli.exits import BadUsage


def named(stores: Stores, name: str | None) -> list[str]:
    """All that there are, or the one that was named, with its shards; one without a setting may be stored, too."""
    if name is None:
        return collection_names(stores)
    try:
        return physical(name, stores.settings.resolve(name))
    except UnknownCollection:
        return [name]


def only(stores: Stores, name: str) -> str:
    """The one that was named. Raises `BadUsage` for a sharded collection: each shard has versions of its own."""
    shards = named(stores, name)
    if len(shards) > 1:
        raise BadUsage(
            f"{name} has {len(shards)} shards, and each has versions of its own.",
            remedy=f"Name one of them: {shards[0]} to {shards[-1]}.",
        )
    return shards[0]
