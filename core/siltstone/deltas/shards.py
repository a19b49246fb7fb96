"""Which shard an id lives in. Only the delta writer and the query know of it; it never changes for a collection."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from siltstone import keys
from siltstone.settings import CollectionSettings


def spread(ids: Sequence[str], shards: int) -> NDArray[np.intp]:
    """Shard of each id, 0 to ``shards`` - 1: CRC-32 of its UTF-8, modulo ``shards``. Stored data rests on it."""
    return np.fromiter((zlib.crc32(row_id.encode()) % shards for row_id in ids), np.intp, len(ids))


def physical(collection: str, settings: CollectionSettings) -> list[str]:
    """The physical collections of a logical one: itself, or its shards in order."""
    if settings.shards == 1:
        return [collection]
    return [keys.shard(collection, shard) for shard in range(settings.shards)]
