"""Pending operations, laid over a version: the newest operation of each id, and exact distances over the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from siltstone.deltas.batch import DeltaRows
from siltstone.query.index import Hits, SnapshotIndex, Vector, no_hits
from siltstone.query.where import Where, matches
from siltstone.query.where_document import WhereDocument, matching_documents
from siltstone.settings import Space

_BLOCK = 4_096  # rows whose differences, float32 (rows, d), are in memory at a time

Places = NDArray[np.intp]


def lengths_of(vectors: Vector) -> NDArray[np.float64]:
    """The length of each of ``vectors`` (n, d); float64 (n,)."""
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))


def distances(
    vectors: Vector, query: Vector, space: Space, lengths: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Distances of ``vectors`` (n, d) to ``query`` (d,), as Chroma defines them; float64 (n,).

    cosine: 1 - cos; l2: the squared distance; ip: 1 - dot. (hnswlib's spaces, which Chroma uses.)
    ``lengths``: of the vectors, where they are known; only cosine needs them.
    """
    if space == "l2":
        blocks = [vectors[start : start + _BLOCK] - query for start in range(0, len(vectors), _BLOCK)]
        squared = [np.einsum("ij,ij->i", block, block, dtype=np.float64) for block in blocks]
        return np.concatenate(squared) if squared else np.zeros(0)
    dots = (vectors @ query).astype(np.float64)
    if space == "ip":
        return 1.0 - dots
    known = lengths_of(vectors) if lengths is None else lengths
    return 1.0 - dots / (known * np.linalg.norm(query.astype(np.float64)))


def nearest(hits: Hits, n: int) -> Hits:
    """The ``n`` rows with the smallest distances, nearest first; ties in the order of their ids."""
    if hits.distances is None:
        raise ValueError("rows without distances can't be ranked")
    near = hits.distances.tolist()
    return hits.take(sorted(range(len(near)), key=lambda place: (near[place], hits.ids[place]))[:n])


class Overlay:
    """What pending deltas say, in order: later operations hide earlier ones, and all hide the version's rows.

    The deltas' rows are not copied. Safe for several threads.
    """

    def __init__(self, pending: Sequence[DeltaRows], dimension: int) -> None:
        """``pending``: validated deltas, oldest first."""
        last: dict[str, tuple[int, int]] = {}
        for number, rows in enumerate(pending):
            for place, row_id in enumerate(rows.ids):
                last[row_id] = (number, place)
        self.hidden = frozenset(last)
        self._deltas = list(pending)
        self._dimension = dimension
        self._place = {
            row_id: (number, place) for row_id, (number, place) in last.items() if not pending[number].deletes[place]
        }
        shown: list[list[int]] = [[] for _ in pending]
        for number, place in self._place.values():
            shown[number].append(place)
        self._shown: list[Places] = [np.asarray(sorted(places), np.intp) for places in shown]
        self._lengths = [lengths_of(rows.embeddings) for rows in pending]  # half of a query's time otherwise
        self._covered: tuple[SnapshotIndex, int] | None = None

    def __len__(self) -> int:
        """Number of rows that a reader sees (deletes hide, they add none)."""
        return len(self._place)

    def covered(self, index: SnapshotIndex) -> int:
        """How many of the version's rows a pending operation hides. Looked up once while the version stands."""
        known = self._covered
        if known is None or known[0] is not index:
            known = (index, len(index.known(sorted(self.hidden))))
            self._covered = known
        return known[1]

    def select(self, where: Where | None, where_document: WhereDocument | None) -> list[str]:
        """Ids of the pending rows that pass both filters."""
        passing = self._passing(where, where_document)
        return [self._deltas[number].ids[place] for number, places in passing for place in places.tolist()]

    def get(self, ids: Sequence[str], *, embeddings: bool) -> Hits:
        """Pending rows by id, in the order of ``ids``; others are left out."""
        at = [self._place[row_id] for row_id in ids if row_id in self._place]
        found = [(self._deltas[number], place) for number, place in at]
        vectors = [rows.embeddings[place] for rows, place in found]
        return Hits(
            [rows.ids[place] for rows, place in found],
            None,
            [rows.documents[place] for rows, place in found],
            [rows.metadatas[place] or None for rows, place in found],
            np.asarray(vectors, np.float32).reshape(-1, self._dimension) if embeddings else None,
        )

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
        found = no_hits(distances=True, embeddings=embeddings, dimension=self._dimension)
        for number, places in self._passing(where, where_document):
            rows, lengths = self._deltas[number], self._lengths[number]
            if len(places) == len(rows):
                near = distances(rows.embeddings, vector, space, lengths)
            else:
                near = distances(rows.embeddings[places], vector, space, lengths[places])
            first = np.arange(len(near)) if len(near) <= n else np.flatnonzero(near <= np.partition(near, n - 1)[n - 1])
            hits = self.get([rows.ids[place] for place in places[first].tolist()], embeddings=embeddings)
            ranked = Hits(hits.ids, near[first], hits.documents, hits.metadatas, hits.embeddings)
            found = nearest(found.then(ranked), n)
        return found

    def _passing(self, where: Where | None, where_document: WhereDocument | None) -> Iterator[tuple[int, Places]]:
        """The number of each delta with the places of its rows that are shown and pass both filters."""
        for number, (rows, places) in enumerate(zip(self._deltas, self._shown, strict=True)):
            if where is None and where_document is None:
                yield number, places
            elif len(places):
                told = [place for place in places.tolist() if matches(where, rows.metadatas[place])]
                text = matching_documents(where_document, [rows.documents[place] for place in told])
                yield number, np.asarray(told, np.intp)[text]
