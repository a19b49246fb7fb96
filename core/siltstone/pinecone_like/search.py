"""The nearest rows that pass a filter of Pinecone's, and all that pass it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from siltstone.clients.collection import Collection
from siltstone.pinecone_like.filters import Node, matches
from siltstone.pinecone_like.metadata import from_store
from siltstone.pinecone_like.narrowing import narrow
from siltstone.query.messages import MAX_RESULTS


class Row(NamedTuple):
    """``score``: as Pinecone defines it; 0 where nothing was compared. ``metadata``: the row's own."""

    id: str
    metadata: dict[str, Any]
    score: float = 0.0


def nearest(collection: Collection, vector: NDArray[np.float32] | None, top_k: int, node: Node) -> list[Row]:
    """The ``top_k`` nearest rows that pass, best first; all of them where there are fewer.

    Without a vector, or with zeros, which have no direction: the first ones that pass, in the order of their ids.
    """
    if vector is None or (not vector.any() and space_of(collection) == "cosine"):
        return list(islice(passing(collection, node, top_k), top_k))
    where, wide = narrow(node)
    for count in _counts(top_k, wide=wide):
        found = collection.query(
            query_embeddings=[vector], n_results=count, where=where, include=("metadatas", "distances")
        )
        (ids,), (metadatas,), (distances,) = found["ids"], found["metadatas"], found["distances"]
        scores = [_score(each, found.answered_from.space) for each in distances]
        rows = [Row(*row) for row in zip(ids, map(from_store, metadatas), scores, strict=True) if matches(node, row[1])]
        # An answer is short only where there is no more.
        if len(rows) >= top_k or len(ids) < count:
            return rows[:top_k]
    return _ranked(collection, vector, top_k, node)


def passing(collection: Collection, node: Node, wanted: int | None = None) -> Iterator[Row]:
    """All rows that pass, in the order of their ids, a page at a time. ``wanted``: how many are likely to be taken."""
    where, wide = narrow(node)
    size = MAX_RESULTS if wanted is None else min(MAX_RESULTS, _at_first(wanted) if wide else wanted)
    last: str | None = None
    while True:
        page = collection.get(where=where, limit=size, after=last, include=("metadatas",))
        for row_id, stored in zip(page["ids"], page["metadatas"], strict=True):
            metadata = from_store(stored)
            if matches(node, metadata):
                yield Row(row_id, metadata)
        if len(page["ids"]) < size:
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
    if top_k > MAX_RESULTS:
        return []
    return sorted({min(MAX_RESULTS, _at_first(top_k)), MAX_RESULTS}) if wide else [top_k]


def _at_first(wanted: int) -> int:
    """Some of those that come will not pass."""
    return max(100, 4 * wanted)


def _ranked(collection: Collection, vector: NDArray[np.float32], top_k: int, node: Node) -> list[Row]:
    """By comparing with every row that passes: for more than the index gives at once, or a filter that it can't see."""
    rows = {row.id: row for row in passing(collection, node)}
    values = values_of(collection, list(rows))
    if not values:
        return []
    space, ids = space_of(collection), list(values)
    distances = _distances(np.stack(list(values.values())), vector, space)
    order = np.argsort(distances, kind="stable")[:top_k].tolist()
    return [rows[ids[place]]._replace(score=_score(float(distances[place]), space)) for place in order]


def _score(distance: float, space: str) -> float:
    """The cosine or the product, the greater the nearer; for euclidean the squared distance."""
    return distance if space == "l2" else 1.0 - distance


def _distances(rows: NDArray[np.float32], vector: NDArray[np.float32], space: str) -> NDArray[np.float64]:
    """As the index defines them, (n,)."""
    many, one = rows.astype(np.float64), vector.astype(np.float64)
    if space == "l2":
        return ((many - one) ** 2).sum(axis=1)
    dots = many @ one
    return 1 - (dots if space == "ip" else dots / (np.linalg.norm(many, axis=1) * np.linalg.norm(one)))
