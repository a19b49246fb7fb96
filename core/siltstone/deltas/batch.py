"""Rows of a delta in memory: vectors in one array, never as Python lists of floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Metadata = dict[str, Any]
"""Values are ``str``, ``int``, ``float``, ``bool`` or a list of one of them; a null is left out."""


@dataclass(frozen=True, eq=False)
class DeltaRows:
    """n operations in order. What is said of a row beyond its id holds for upserts; a delete has only an id.

    ``deletes``: bool (n,), true where the row is a delete. ``embeddings``: float32 (n, dimension), C-contiguous,
    zeros for a delete. A row without a document has ``None``, one without metadata ``{}``.
    """

    ids: list[str]
    deletes: NDArray[np.bool_]
    embeddings: NDArray[np.float32]
    documents: list[str | None]
    metadatas: list[Metadata]

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.deletes), len(self.embeddings), len(self.documents), len(self.metadatas)}
        if len(lengths) != 1 or self.embeddings.ndim != 2:
            raise ValueError(f"columns differ in length or shape: {sorted(lengths)}, {self.embeddings.shape}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.embeddings.shape[1]

    @property
    def upsert_count(self) -> int:
        """Rows that are not deletes."""
        return len(self) - int(np.count_nonzero(self.deletes))

    @staticmethod
    def upserts(
        ids: Sequence[str],
        embeddings: NDArray[np.float32],
        documents: Sequence[str | None] | None = None,
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> DeltaRows:
        """Upserts of these columns; ``embeddings`` is anything that numpy turns into float32 (n, dimension)."""
        return DeltaRows(
            ids=list(ids),
            deletes=np.zeros(len(ids), dtype=np.bool_),
            embeddings=np.ascontiguousarray(embeddings, dtype=np.float32),
            documents=[None] * len(ids) if documents is None else list(documents),
            metadatas=[{} for _ in ids] if metadatas is None else [dict(metadata or {}) for metadata in metadatas],
        )

    @staticmethod
    def deletions(ids: Sequence[str], dimension: int) -> DeltaRows:
        """Deletes of ``ids``."""
        return DeltaRows(
            ids=list(ids),
            deletes=np.ones(len(ids), dtype=np.bool_),
            embeddings=np.zeros((len(ids), dimension), dtype=np.float32),
            documents=[None] * len(ids),
            metadatas=[{} for _ in ids],
        )

    def take(self, places: NDArray[np.intp]) -> DeltaRows:
        """The rows at these places, in their order; vectors are copied."""
        at = places.tolist()
        return DeltaRows(
            ids=[self.ids[place] for place in at],
            deletes=self.deletes[places],
            embeddings=self.embeddings[places],
            documents=[self.documents[place] for place in at],
            metadatas=[self.metadatas[place] for place in at],
        )

    def slice(self, start: int, stop: int) -> DeltaRows:
        """Rows ``start`` to ``stop``; vectors are a view."""
        cut = slice(start, stop)
        return DeltaRows(
            self.ids[cut], self.deletes[cut], self.embeddings[cut], self.documents[cut], self.metadatas[cut]
        )

    @staticmethod
    def concat(batches: Sequence[DeltaRows]) -> DeltaRows:
        """All rows, one batch after the other. At least one batch, all of one dimension."""
        if len(batches) == 1:
            return batches[0]
        return DeltaRows(
            ids=[row_id for batch in batches for row_id in batch.ids],
            deletes=np.concatenate([batch.deletes for batch in batches]),
            embeddings=np.concatenate([batch.embeddings for batch in batches]),
            documents=[document for batch in batches for document in batch.documents],
            metadatas=[metadata for batch in batches for metadata in batch.metadatas],
        )


def without_nulls(metadata: dict[str, Any]) -> Metadata:
    """Chroma drops a null when it inserts: leaving it out first keeps what is compared equal to what is stored."""
    if None not in metadata.values():
        return metadata
    return {key: value for key, value in metadata.items() if value is not None}
