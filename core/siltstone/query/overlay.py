"""Pending operations, laid over a version: the newest operation of each id, and exact distances over the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siltstone.deltas.batch import DeltaRows
from siltstone.query.index import Hits, Vector
from siltstone.query.where import Where, matches
from siltstone.query.where_document import WhereDocument, matching_documents
from siltstone.settings import Space


def distances(vectors: Vector, query: Vector, space: Space) -> NDArray[np.float64]:
    """Distances of ``vectors`` (n, d) to ``query`` (d,), as Chroma defines them; float64 (n,).

    cosine: 1 - cos; l2: the squared distance; ip: 1 - dot. (hnswlib's spaces, which Chroma uses.)
    """
    if space == "l2":
        return np.square(vectors - query).sum(axis=1, dtype=np.float64)
    dots = (vectors @ query).astype(np.float64)
    if space == "ip":
        return 1.0 - dots
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)) * float(np.linalg.norm(query))
    return 1.0 - dots / np.maximum(lengths, np.finfo(np.float32).tiny)


def nearest(hits: Hits, n: int) -> Hits:
    """The ``n`` rows with the smallest distances, nearest first; ties in the order of their ids."""
    if hits.distances is None:
        raise ValueError("rows without distances can't be ranked")
    order = np.lexsort((np.asarray(hits.ids, dtype=np.str_), hits.distances)) if hits.ids else np.zeros(0, np.intp)
    return hits.take(order[:n].tolist())


class Overlay:
    """What pending deltas say, in order: later operations hide earlier ones, and all hide the version's rows."""

    def __init__(self, pending: Sequence[DeltaRows], dimension: int) -> None:
        """``pending``: validated deltas, oldest first."""
        last: dict[str, tuple[int, int]] = {}
        for number, rows in enumerate(pending):
            for place, row_id in enumerate(rows.ids):
                last[row_id] = (number, place)
        self.hidden = frozenset(last)
        chosen: list[list[int]] = [[] for _ in pending]
        for number, place in last.values():
            if not pending[number].deletes[place]:
                chosen[number].append(place)
        kept = [rows.take(np.asarray(places, np.intp)) for rows, places in zip(pending, chosen, strict=True) if places]
        self._ids = [row_id for rows in kept for row_id in rows.ids]
        self._vectors: Vector = (
            np.concatenate([rows.embeddings for rows in kept]) if kept else np.zeros((0, dimension), np.float32)
        )
        self._documents = [document for rows in kept for document in rows.documents]
        self._metadatas: list[dict[str, Any] | None] = [metadata for rows in kept for metadata in rows.metadatas]
        self._place = {row_id: place for place, row_id in enumerate(self._ids)}

    def __len__(self) -> int:
        """Number of rows that a reader sees (deletes hide, they add none)."""
        return len(self._ids)

    def select(self, where: Where | None, where_document: WhereDocument | None) -> list[str]:
        """Ids of the pending rows that pass both filters."""
        return [self._ids[place] for place in self._passing(where, where_document)]

    def get(self, ids: Sequence[str], *, embeddings: bool) -> Hits:
        """Pending rows by id, in the order of ``ids``; others are left out."""
        return self._hits([self._place[row_id] for row_id in ids if row_id in self._place], embeddings=embeddings)

    def search(
        self,
        vector: Vector,
        n: int,
        where: Where | None,
        where_document: WhereDocument | None,
        space: Space,
        *,
        embeddings: bool,
    ) -> Hits:
        """The ``n`` nearest pending rows that pass both filters, by exact distances."""
        places = np.asarray(self._passing(where, where_document), np.intp)
        vectors = self._vectors if len(places) == len(self._ids) else self._vectors[places]
        near = distances(vectors, vector, space)
        if len(near) > n:
            first = np.argpartition(near, n - 1)[:n]
            places, near = places[first], near[first]
        found = self._hits(places.tolist(), embeddings=embeddings)
        return nearest(Hits(found.ids, near, found.documents, found.metadatas, found.embeddings), n)

    def _passing(self, where: Where | None, where_document: WhereDocument | None) -> list[int]:
        if where is None and where_document is None:
            return list(range(len(self._ids)))
        text = matching_documents(where_document, self._documents)
        return [place for place in np.flatnonzero(text).tolist() if matches(where, self._metadatas[place])]

    def _hits(self, places: list[int], *, embeddings: bool) -> Hits:
        return Hits(
            [self._ids[place] for place in places],
            None,
            [self._documents[place] for place in places],
            [self._metadatas[place] or None for place in places],
            self._vectors[places] if embeddings else None,
        )
