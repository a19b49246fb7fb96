"""The index in memory. As unkind as Pinecone: it throttles, pages as it likes, and returns vectors in no order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from siltstone.errors import IndexRefused
from siltstone.migration.source import DEFAULT_NAMESPACE, IdPage, IndexShape, Metric, SourceVector
from siltstone.query.overlay import distances
from siltstone.settings import Space

SPACES: Mapping[str, Space] = {"cosine": "cosine", "euclidean": "l2", "dotproduct": "ip"}


class MemoryIndex:
    """`siltstone.migration.source.SourceIndex` over dictionaries.

    ``fault``: called before every request with its name; what it raises is raised. ``lists``: pod-based ones don't.
    """

    def __init__(
        self,
        namespaces: Mapping[str, Sequence[SourceVector]],
        *,
        metric: Metric = "cosine",
        dimension: int = 32,
        name: str = "memory",
        lists: bool = True,
        fault: Callable[[str], None] = lambda request: None,
    ) -> None:
        self._rows = {space: {row.id: row for row in rows} for space, rows in namespaces.items()}
        self._metric: Metric = metric
        self._dimension = dimension
        self._name = name
        self._lists = lists
        self.fault = fault

    @property
    def name(self) -> str:
        return self._name

    def shape(self) -> IndexShape:
        self.fault("shape")
        return IndexShape(self._dimension, self._metric, {name: len(rows) for name, rows in self._rows.items()})

    def list_ids(self, namespace: str, token: str | None, limit: int) -> IdPage:
        self.fault("list_ids")
        if not self._lists:
            raise IndexRefused("The index can't list its ids.", remedy="Give them: --ids-from FILE.")
        after = "" if token is None else token.removeprefix("after ")
        ids = sorted(row_id for row_id in self._of(namespace) if row_id > after)
        page = ids[:limit]
        return IdPage(page, f"after {page[-1]}" if len(ids) > limit else None)

    def fetch(self, namespace: str, ids: Sequence[str]) -> list[SourceVector]:
        self.fault("fetch")
        rows = self._of(namespace)
        return [rows[row_id] for row_id in reversed(ids) if row_id in rows]

    def query(self, namespace: str, vector: Sequence[float], top_k: int) -> list[str]:
        self.fault("query")
        rows = [row for row in self._of(namespace).values() if len(row.values)]
        if not rows:
            return []
        near = distances(np.stack([row.values for row in rows]), np.asarray(vector, np.float32), SPACES[self._metric])
        return [rows[place].id for place in np.argsort(near, kind="stable")[:top_k].tolist()]

    def put(self, namespace: str, row: SourceVector) -> None:
        """As its users do while it is copied."""
        self._rows.setdefault(namespace, {})[row.id] = row

    def remove(self, namespace: str, row_id: str) -> None:
        """Likewise."""
        self._rows[namespace].pop(row_id, None)

    def _of(self, namespace: str) -> dict[str, Any]:
        return self._rows.get(namespace or DEFAULT_NAMESPACE, {})
