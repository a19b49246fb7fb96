"""Our side of a comparison: what a collection holds, read strongly, so that it may be asked before a compaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from siltstone.clients.transport import Transport
from siltstone.errors import NothingWritten
from siltstone.query.messages import MAX_RESULTS
from siltstone.records.metadata import PROVENANCE_KEYS


class Row(NamedTuple):
    """``vector``: float32 (d,). ``metadata``: without what says where the row came from."""

    vector: NDArray[np.float32]
    metadata: Mapping[str, Any]
    document: str | None


class Here:
    """One collection, by its name. Where nothing was ever written there is nothing, which is no error."""

    def __init__(self, transport: Transport, collection: str) -> None:
        self._transport = transport
        self._question = {"collection_name": collection, "consistency": "strong"}

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """Those of ``ids`` that are there, without what says where they came from."""
        if not ids:
            return {}
        question = {"operation": "get", "ids": list(ids), "include": ["metadatas", "documents", "embeddings"]}
        try:
            found = self._transport.ask({**self._question, **question}).results
        except NothingWritten:
            return {}
        if found is None or found.embeddings is None or found.metadatas is None or found.documents is None:
            raise ValueError("an answer leaves out what was asked for")
        vectors = np.asarray(found.embeddings, np.float32)
        columns = zip(found.ids, vectors, found.metadatas, found.documents, strict=True)
        return {row_id: Row(vector, _own(metadata), document) for row_id, vector, metadata, document in columns}

    def count(self) -> int:
        """How many rows there are."""
        try:
            return self._transport.ask({**self._question, "operation": "count"}).count or 0
        except NothingWritten:
            return 0

    def others(self, known: set[str]) -> list[str]:
        """Ids of all rows that are not ``known``."""
        found: list[str] = []
        after: str | None = None
        while True:
            page = {"operation": "get", "limit": MAX_RESULTS, "include": [], "after": after}
            try:
                results = self._transport.ask({**self._question, **page}).results
            except NothingWritten:
                return found
            ids = [] if results is None else results.ids
            found += [row_id for row_id in ids if row_id not in known]
            if len(ids) < MAX_RESULTS:
                return found
            after = ids[-1]

    def nearest(self, vector: Sequence[float], top: int) -> tuple[list[str], float]:
        """Ids, and the last one's distance."""
        question = {"operation": "query", "query_embedding": list(vector), "n_results": top, "include": ["distances"]}
        found = self._transport.ask({**self._question, **question}).results
        if found is None or not found.distances:
            return [], float("inf")
        return found.ids, found.distances[-1]


def _own(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (metadata or {}).items() if key not in PROVENANCE_KEYS}
