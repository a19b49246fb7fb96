"""The last operation of each id over some deltas, for rebuilding a version: vectors on disk, the rest in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from siltstone.deltas.batch import DeltaRows
from siltstone.stores.vectors import Metadata, Rows, Vectors


class Operations:
    """Takes deltas from the oldest to the newest. ``folder``: private, for the vectors."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: dict[str, tuple[int, int]] = {}  # id -> delta, row
        self._deltas: list[tuple[Vectors, DeltaRows]] = []

    def add(self, rows: DeltaRows) -> None:
        """Later rows hide earlier ones of the same id."""
        number = len(self._deltas)
        path = self._folder / f"{number}.npy"
        np.save(path, rows.embeddings)
        vectors: Vectors = np.load(path, mmap_mode="r")
        nothing = np.zeros((len(rows), 0), np.float32)
        self._deltas.append((vectors, DeltaRows(rows.ids, rows.deletes, nothing, rows.documents, rows.metadatas)))
        self._last.update((row_id, (number, place)) for place, row_id in enumerate(rows.ids))

    @property
    def upserted(self) -> set[str]:
        """Ids whose last operation is an upsert."""
        return {row_id for row_id in self._last if not self._is_delete(row_id)}

    @property
    def deleted(self) -> set[str]:
        """Ids whose last operation is a delete."""
        return {row_id for row_id in self._last if self._is_delete(row_id)}

    def get(self, ids: Sequence[str]) -> Rows:
        """What was upserted last under each of ``ids``; all of them were."""
        documents: list[str | None] = []
        metadatas: list[Metadata] = []
        vectors: list[Vectors] = []
        for row_id in ids:
            number, place = self._last[row_id]
            stored, rows = self._deltas[number]
            vectors.append(np.array(stored[place]))
            documents.append(rows.documents[place])
            metadatas.append(rows.metadatas[place])
        return Rows(list(ids), np.array(vectors, np.float32), documents, metadatas)

    def _is_delete(self, row_id: str) -> bool:
        number, place = self._last[row_id]
        return bool(self._deltas[number][1].deletes[place])
