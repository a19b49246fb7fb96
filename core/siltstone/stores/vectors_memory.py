"""The vector store's twin in numpy: exact, quick, and kept in two plain files, for the fault tests.

As unkind as Chroma: metadata merges, inserting over an existing id or without a vector of the right size is refused,
and what was not closed is not on disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from siltstone.errors import BadRecord, SnapshotDamaged
from siltstone.settings import HnswSettings
from siltstone.stores.vectors import CollectionSpec, Finding, Metadata, Rows, Vectors

ROWS_FILE = "rows.json"
VECTORS_FILE = "vectors.npy"


def open_memory(folder: Path, spec: CollectionSpec) -> MemoryVectors:
    """Open or make the twin of `siltstone.snapshots.chroma.open_chroma` in ``folder``. Raises `SnapshotDamaged`."""
    if not folder.exists() or not any(folder.iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        return MemoryVectors(folder, spec, {})
    try:
        stored: dict[str, Any] = json.loads((folder / ROWS_FILE).read_text())
        vectors: Vectors = np.load(folder / VECTORS_FILE)
        told = stored["spec"]
        own = CollectionSpec(told["name"], told["dimension"], told["space"], HnswSettings(**told["hnsw"]))
        rows = {
            row: (vector, document, metadata)
            for (row, document, metadata), vector in zip(stored["rows"], vectors, strict=True)
        }
    except (OSError, ValueError, KeyError) as error:
        raise SnapshotDamaged(f"{folder.name}: {str(error)[:300]}.", remedy="Run `siltstone verify`.") from error
    if own.name != spec.name:
        raise SnapshotDamaged(f"{folder.name} holds {own.name}, not {spec.name}.", remedy="Run `siltstone verify`.")
    return MemoryVectors(folder, own, rows)


class MemoryVectors:
    """`siltstone.stores.vectors.VectorStore` in a dictionary."""

    def __init__(
        self, folder: Path, spec: CollectionSpec, rows: dict[str, tuple[Vectors, str | None, Metadata]]
    ) -> None:
        self._folder = folder
        self._spec = spec
        self._rows = rows
        self._closed = False

    def count(self) -> int:
        return len(self._open())

    def spec(self) -> CollectionSpec:
        return self._spec if self._open() else replace(self._spec, dimension=0)

    def ids(self) -> list[str]:
        return sorted(self._open())

    def known(self, ids: Sequence[str]) -> set[str]:
        return set(ids) & self._open().keys()

    def get(self, ids: Sequence[str]) -> Rows:
        rows = self._open()
        found = [row for row in ids if row in rows]
        vectors = [rows[row][0] for row in found]
        return Rows(
            found,
            np.stack(vectors) if vectors else np.zeros((0, 0), np.float32),
            [rows[row][1] for row in found],
            [dict(rows[row][2]) for row in found],
        )

    def insert(self, rows: Rows) -> None:
        mine = self._open()
        if len(rows) and rows.embeddings.shape != (len(rows), self._spec.dimension):
            raise BadRecord(f"Vectors of shape {rows.embeddings.shape} do not fit {self._spec.dimension} dimensions.")
        if len(set(rows.ids)) < len(rows) or self.known(rows.ids):
            raise BadRecord("An id is inserted twice.")
        for number, row in enumerate(rows.ids):
            vector = np.array(rows.embeddings[number], np.float32)
            mine[row] = (vector, rows.documents[number], dict(rows.metadatas[number]))

    def patch_metadata(self, ids: Sequence[str], patches: Sequence[Mapping[str, Any]]) -> None:
        rows = self._open()
        for row, patch in zip(ids, patches, strict=True):
            if not patch:
                raise BadRecord("A patch has no key.")
            vector, document, metadata = rows[row]
            merged = {**metadata, **patch}
            rows[row] = (vector, document, {key: value for key, value in merged.items() if value is not None})

    def delete(self, ids: Sequence[str]) -> None:
        for row in ids:
            self._open().pop(row, None)

    def nearest(self, vectors: Vectors) -> list[float]:
        rows = self._open()
        if not rows:
            return [float("inf")] * len(vectors)
        stored = np.stack([vector for vector, _, _ in rows.values()])
        if self._spec.space == "l2":
            return [float(((stored - vector) ** 2).sum(axis=1).min()) for vector in vectors]
        if self._spec.space == "cosine":
            stored = stored / np.linalg.norm(stored, axis=1, keepdims=True)
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return [float((1 - stored @ vector).min()) for vector in vectors]

    def close(self) -> None:
        if not self._closed:
            self._save()
            self._closed = True

    def finish(self) -> list[Finding]:
        self.close()
        return [Finding("files_readable", (self._folder / ROWS_FILE).stat().st_size > 0)]

    def _save(self) -> None:
        rows = self._open()
        table = [(row, document, metadata) for row, (_, document, metadata) in rows.items()]
        spec = {**asdict(self._spec), "hnsw": self._spec.hnsw.model_dump()}
        (self._folder / ROWS_FILE).write_text(json.dumps({"spec": spec, "rows": table}, ensure_ascii=True))
        vectors = [vector for vector, _, _ in rows.values()]
        np.save(self._folder / VECTORS_FILE, np.stack(vectors) if vectors else np.zeros((0, 0), np.float32))

    def _open(self) -> dict[str, tuple[Vectors, str | None, Metadata]]:
        if self._closed:
            raise ValueError("The store is closed.")
        return self._rows
