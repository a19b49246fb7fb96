"""The twin of `siltstone.query.index_chroma`, over the files of `siltstone.stores.vectors_memory`: exact.

As unkind as Chroma: whoever asks a closed index gets an error, and never an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from siltstone.errors import SnapshotDamaged
from siltstone.query.index import Hits, Vector
from siltstone.query.overlay import distances, nearest
from siltstone.query.where import Where, matches
from siltstone.query.where_document import WhereDocument, matching_documents
from siltstone.stores.vectors import CollectionSpec, Rows
from siltstone.stores.vectors_memory import ROWS_FILE, open_memory


def open_memory_index(folder: Path, spec: CollectionSpec) -> MemoryIndex:
    """Open a restored version that `open_memory` wrote. Raises `SnapshotDamaged`."""
    if not (folder / ROWS_FILE).is_file():
        raise SnapshotDamaged(f"{folder.name} has no {ROWS_FILE}.", remedy="Run `siltstone verify`.")
    store = open_memory(folder, spec)
    return MemoryIndex(store.get(store.ids()), spec)


class MemoryIndex:
    """`siltstone.query.index.SnapshotIndex` in numpy."""

    def __init__(self, rows: Rows, spec: CollectionSpec) -> None:
        self._rows = rows
        self._place = {row: place for place, row in enumerate(rows.ids)}
        self._vectors: Vector = rows.embeddings.reshape(-1, spec.dimension)
        self._spec = spec
        self._closed = False

    def count(self) -> int:
        return len(self._open())

    def known(self, ids: Sequence[str]) -> set[str]:
        self._open()
        return set(ids) & self._place.keys()

    def select(
        self, where: Where | None, where_document: WhereDocument | None, *, limit: int | None = None
    ) -> list[str]:
        return [self._rows.ids[place] for place in self._passing(where, where_document)[:limit]]

    def get(self, ids: Sequence[str], *, embeddings: bool) -> Hits:
        self._open()
        return self._hits([self._place[row] for row in ids if row in self._place], embeddings=embeddings)

    def search(
        self,
        vector: Vector,
        n: int,
        where: Where | None,
        where_document: WhereDocument | None,
        *,
        embeddings: bool,
    ) -> Hits:
        places = self._passing(where, where_document)
        found = self._hits(places, embeddings=embeddings)
        near = distances(self._vectors[places], vector, self._spec.space)
        return nearest(Hits(found.ids, near, found.documents, found.metadatas, found.embeddings), n)

    def rank(self, vector: Vector, n: int, where: Where | None, where_document: WhereDocument | None) -> list[str]:
        return self.search(vector, n, where, where_document, embeddings=False).ids

    def close(self) -> None:
        self._closed = True

    def _passing(self, where: Where | None, where_document: WhereDocument | None) -> list[int]:
        rows = self._open()
        text = matching_documents(where_document, rows.documents)
        return [place for place in np.flatnonzero(text).tolist() if matches(where, rows.metadatas[place])]

    def _hits(self, places: list[int], *, embeddings: bool) -> Hits:
        found = self._rows.take(places)
        metadatas = [metadata or None for metadata in found.metadatas]
        return Hits(found.ids, None, found.documents, metadatas, self._vectors[places] if embeddings else None)

    def _open(self) -> Rows:
        if self._closed:
            raise ValueError("The index is closed.")
        return self._rows
