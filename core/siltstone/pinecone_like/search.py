"""The nearest rows that pass a filter of Pinecone's, and all that pass it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from siltstone.clients.collection import Collection
from siltstone.pinecone_like.filters import Node, matches
from siltstone.pinecone_like.metadata import from_store
from siltstone.pinecone_like.narrowing import narrow
from siltstone.query.messages import MAX_RESULTS

_FIRST = 4  # times as many as asked for, where some of them will not pass


class Row(NamedTuple):
    """``distance``: as the store has it; 0 where nothing was compared. ``metadata``: the row's own."""

    id: str
    metadata: dict[str, Any]
    distance: float = 0.0


def nearest(collection: Collection, vector: NDArray[np.float32], top_k: int, node: Node) -> list[Row]:
    """The ``top_k`` nearest rows that pass, best first; all of them where there are fewer."""
    where, wide = narrow(node)
    for count in _counts(top_k, wide=wide):
        found = collection.query(
            query_embeddings=[vector], n_results=count, where=where, include=("metadatas", "distances")
        )
        (ids,), (metadatas,), (distances,) = found["ids"], found["metadatas"], found["distances"]
        rows = [
            Row(*row) for row in zip(ids, map(from_store, metadatas), distances, strict=True) if matches(node, row[1])
        ]
        # An answer is short only where there is no more.
        if len(rows) >= top_k or len(ids) < count:
            return rows[:top_k]
    return _ranked(collection, vector, top_k, node)


def passing(collection: Collection, node: Node) -> Iterator[Row]:
    """All rows that pass, in the order of their ids, a page at a time."""
    where, _ = narrow(node)
    last: str | None = None
    while True:
        page = collection.get(where=where, limit=MAX_RESULTS, after=last, include=("metadatas",))
        for row_id, stored in zip(page["ids"], page["metadatas"], strict=True):
            metadata = from_store(stored)
            if matches(node, metadata):
                yield Row(row_id, metadata)
        if len(page["ids"]) < MAX_RESULTS:
            return
        last = page["ids"][-1]


def values_of(collection: Collection, ids: list[str]) -> dict[str, NDArray[np.float32]]:
    """Vectors by id; one that is gone is not there."""
    if not ids:
        return {}
    found = collection.get(ids=ids, include=("embeddings",))
    return dict(zip(found["ids"], found["embeddings"], strict=True))


def space_of(collection: Collection) -> str:
    """``cosine``, ``l2`` or ``ip``."""
    return collection.get(limit=0).answered_from.space


def _counts(top_k: int, *, wide: bool) -> list[int]:
    """How many to ask the index for, one after the other."""
    if not wide:
        return [top_k] if top_k <= MAX_RESULTS else []
    return sorted({min(MAX_RESULTS, max(100, _FIRST * top_k)), MAX_RESULTS}) if top_k <= MAX_RESULTS else []


def _ranked(collection: Collection, vector: NDArray[np.float32], top_k: int, node: Node) -> list[Row]:
    """By comparing with every row that passes: for more than the index gives at once, or a filter that it can't see."""
    rows = {row.id: row for row in passing(collection, node)}
    values = values_of(collection, list(rows))
    if not values:
        return []
    distances = _distances(np.stack(list(values.values())), vector, space_of(collection))
    order = np.argsort(distances, kind="stable")[:top_k]
    ids = list(values)
    return [rows[ids[place]]._replace(distance=float(distances[place])) for place in order.tolist()]


def _distances(rows: NDArray[np.float32], vector: NDArray[np.float32], space: str) -> NDArray[np.float64]:
    """As the index defines them, (n,)."""
    many, one = rows.astype(np.float64), vector.astype(np.float64)
    if space == "l2":
        return ((many - one) ** 2).sum(axis=1)
    dots = many @ one
    return 1 - (dots if space == "ip" else dots / (np.linalg.norm(many, axis=1) * np.linalg.norm(one)))
