"""Query, get and count over one version with pending rows laid over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from siltstone.query.index import Hits, SnapshotIndex, Vector, no_hits
from siltstone.query.overlay import Overlay, distances, nearest
from siltstone.query.where import Where, matches
from siltstone.query.where_document import WhereDocument, matching_documents
from siltstone.settings import Space

FEW_ROWS = 500
"""A filter that leaves no more rows than this is answered exactly: above it the index is faster (measured)."""


@dataclass(frozen=True)
class View:
    """What a reader sees: a version (``None``: nothing promoted yet) under an overlay (``None``: a snapshot read)."""

    index: SnapshotIndex | None
    overlay: Overlay | None
    space: Space
    dimension: int

    def search(
        self, vector: Vector, n: int, where: Where | None, text: WhereDocument | None, *, embeddings: bool
    ) -> Hits:
        """The ``n`` nearest rows; distances always filled in."""
        found = self._search_version(vector, n, where, text, embeddings=embeddings)
        if self.overlay is None:
            return found
        pending = self.overlay.search(vector, n, where, text, self.space, embeddings=embeddings)
        return nearest(found.then(pending), n)

    def get(
        self, where: Where | None, text: WhereDocument | None, *, limit: int, offset: int, embeddings: bool
    ) -> Hits:
        """Rows that pass both filters: the version's in its own order, then the pending ones, oldest first."""
        page = self._select(where, text)[offset : offset + limit]
        return self.get_ids(page, None, None, embeddings=embeddings)

    def get_ids(self, ids: Sequence[str], where: Where | None, text: WhereDocument | None, *, embeddings: bool) -> Hits:
        """Rows by id that pass both filters, in the order of ``ids``."""
        hidden = self.overlay.hidden if self.overlay else frozenset[str]()
        found = no_hits(distances=False, embeddings=embeddings, dimension=self.dimension)
        if self.index is not None:
            found = self.index.get([row_id for row_id in ids if row_id not in hidden], embeddings=embeddings)
        if self.overlay is not None:
            found = found.then(self.overlay.get(ids, embeddings=embeddings))
        place = {row_id: number for number, row_id in enumerate(found.ids)}
        found = found.take([place[row_id] for row_id in dict.fromkeys(ids) if row_id in place])
        passed = matching_documents(text, found.documents)
        return found.take(
            [number for number, metadata in enumerate(found.metadatas) if passed[number] and matches(where, metadata)]
        )

    def count(self, where: Where | None, text: WhereDocument | None) -> int:
        """How many rows pass both filters."""
        if where is not None or text is not None:
            return len(self._select(where, text))
        merged = self.index.count() if self.index else 0
        if self.overlay is None:
            return merged
        covered = len(self.index.known(sorted(self.overlay.hidden))) if self.index else 0
        return merged - covered + len(self.overlay)

    def _select(self, where: Where | None, text: WhereDocument | None) -> list[str]:
        merged = self.index.select(where, text) if self.index else []
        if self.overlay is None:
            return merged
        visible = [row_id for row_id in merged if row_id not in self.overlay.hidden]
        return visible + self.overlay.select(where, text)

    def _search_version(
        self, vector: Vector, n: int, where: Where | None, text: WhereDocument | None, *, embeddings: bool
    ) -> Hits:
        if self.index is None:
            return no_hits(distances=True, embeddings=embeddings, dimension=self.dimension)
        if where is not None or text is not None:
            few = self.index.select(where, text, limit=FEW_ROWS + 1)
            if len(few) <= FEW_ROWS:
                return self._exact(self.index, few, vector, n, embeddings=embeddings)
        hidden = self.overlay.hidden if self.overlay else frozenset[str]()
        asked = n
        while True:
            found = self.index.search(vector, asked, where, text, embeddings=embeddings)
            visible = [place for place, row_id in enumerate(found.ids) if row_id not in hidden]
            # Rows that a pending operation hides take up places in the index's answer: ask for more until enough show.
            if len(visible) >= n or len(found.ids) < asked:
                return found.take(visible[:n])
            asked = min(asked * 2, self.index.count())
            if asked <= len(found.ids):
                return found.take(visible)

    def _exact(self, index: SnapshotIndex, ids: list[str], vector: Vector, n: int, *, embeddings: bool) -> Hits:
        hidden = self.overlay.hidden if self.overlay else frozenset[str]()
        rows = index.get([row_id for row_id in ids if row_id not in hidden], embeddings=True)
        vectors = rows.embeddings if rows.embeddings is not None else np.zeros((0, self.dimension), np.float32)
        kept = vectors if embeddings else None
        return nearest(Hits(rows.ids, distances(vectors, vector, self.space), rows.documents, rows.metadatas, kept), n)
