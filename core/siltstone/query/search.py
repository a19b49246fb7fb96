"""Query, get and count over one version with pending rows laid over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from siltstone.query.index import Hits, SnapshotIndex, Vector, no_hits
from siltstone.query.overlay import Overlay, distances, nearest
from siltstone.query.where import Where, matches
from siltstone.query.where_document import WhereDocument, matching_documents
from siltstone.settings import Space

FEW_ROWS = 500
"""A filter that leaves no more rows than this is answered exactly: above it the index is faster (measured)."""
_MORE = 4  # times as many rows are asked for while too many of the nearest are hidden


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
        """The ``n`` nearest rows, nearest first; distances always filled in."""
        found = no_hits(distances=True, embeddings=embeddings, dimension=self.dimension)
        if self.index is not None:
            found = self._search_version(self.index, vector, n, where, text, embeddings=embeddings)
        if self.overlay is not None:
            found = found.then(self.overlay.search(vector, n, where, text, self.space, embeddings=embeddings))
        return nearest(found, n)

    def select(self, where: Where | None, text: WhereDocument | None) -> list[str]:
        """Ids of all rows that pass both filters, in any order."""
        merged = self.index.select(where, text) if self.index else []
        if self.overlay is None:
            return merged
        return self._visible(merged) + self.overlay.select(where, text)

    def get(self, ids: Sequence[str], where: Where | None, text: WhereDocument | None, *, embeddings: bool) -> Hits:
        """Rows by id that pass both filters, in the order of ``ids``, each once; those without a row are left out."""
        asked = list(dict.fromkeys(ids))
        found = no_hits(distances=False, embeddings=embeddings, dimension=self.dimension)
        if self.index is not None:
            found = self.index.get(self._visible(asked), embeddings=embeddings)
        if self.overlay is not None:
            found = found.then(self.overlay.get(asked, embeddings=embeddings))
        place = {row_id: number for number, row_id in enumerate(found.ids)}
        found = found.take([place[row_id] for row_id in asked if row_id in place])
        passed = matching_documents(text, found.documents)
        return found.take(
            [number for number, metadata in enumerate(found.metadatas) if passed[number] and matches(where, metadata)]
        )

    def count(self, where: Where | None, text: WhereDocument | None) -> int:
        """How many rows pass both filters."""
        if where is not None or text is not None:
            return len(self.select(where, text))
        merged = self.index.count() if self.index else 0
        if self.overlay is None:
            return merged
        return merged - (self.overlay.covered(self.index) if self.index else 0) + len(self.overlay)

    def _search_version(
        self,
        index: SnapshotIndex,
        vector: Vector,
        n: int,
        where: Where | None,
        text: WhereDocument | None,
        *,
        embeddings: bool,
    ) -> Hits:
        filtered = where is not None or text is not None
        if filtered:
            few = index.select(where, text, limit=FEW_ROWS + 1)
            if len(few) <= FEW_ROWS:
                return self._exact(index, few, vector, n, embeddings=embeddings)
        found = index.search(vector, n, where, text, embeddings=embeddings)
        ranked, asked = found.ids, n
        shown = self._visible(ranked)
        # Rows that a pending operation hides take up places in the answer: ask for more until enough show. No more are
        # hidden than the overlay covers.
        most = n if len(shown) == n or self.overlay is None else n + self.overlay.covered(index)
        while len(shown) < n and len(ranked) == asked < most:
            asked = min(asked * _MORE, most)
            ranked = index.rank(vector, asked, where, text)
            shown = self._visible(ranked)
        if len(shown) < n and (filtered or index.count() > len(ranked)):
            # Either that is all there is, or the index does not reach the rest.
            everything = index.select(where, text)
            if len(everything) > len(ranked):
                return self._exact(index, everything, vector, n, embeddings=embeddings)
        if asked > n:
            return self._exact(index, shown[:n], vector, n, embeddings=embeddings)
        if len(shown) == len(found.ids):
            return found
        visible = set(shown)
        return found.take([place for place, row_id in enumerate(found.ids) if row_id in visible])

    def _exact(self, index: SnapshotIndex, ids: list[str], vector: Vector, n: int, *, embeddings: bool) -> Hits:
        rows = index.get(self._visible(ids), embeddings=True)
        if rows.embeddings is None:
            raise ValueError("an index left out embeddings that it was asked for")
        near = distances(rows.embeddings, vector, self.space)
        kept = rows.embeddings if embeddings else None
        return nearest(Hits(rows.ids, near, rows.documents, rows.metadatas, kept), n)

    def _visible(self, ids: list[str]) -> list[str]:
        """Those that no pending operation hides."""
        if self.overlay is None:  # not by its truth: one that only deletes shows no rows, and hides some
            return ids
        return [row_id for row_id in ids if row_id not in self.overlay.hidden]
