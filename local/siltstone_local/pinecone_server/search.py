"""Exact nearest neighbours, with the scores that Pinecone defines for each metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siltstone_local.pinecone_server.filters import Predicate
from siltstone_local.pinecone_server.indexes import IndexSpec, Metric
from siltstone_local.pinecone_server.store import Store, Vector


@dataclass(frozen=True)
class _Loaded:
    """A namespace in memory: its vectors by id, and their dense values, float32 (vectors, dimension)."""

    state: int
    vectors: list[Vector]
    dense: NDArray[np.float32]


class Searcher:
    """Keeps the namespaces that are asked in memory, as long as they do not change."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loaded: dict[tuple[str, str], _Loaded] = {}

    def nearest(
        self, place: tuple[str, str], spec: IndexSpec, like: Vector, *, top_k: int, matches: Predicate | None
    ) -> list[tuple[Vector, float]]:
        """The best ``top_k`` of those that match, with their scores, best first; ties by id."""
        loaded = self._load(place)
        if loaded is None:
            return []
        rows = np.arange(len(loaded.vectors))
        if matches is not None:
            kept = [row for row, vector in enumerate(loaded.vectors) if matches(vector.metadata or {})]
            rows = np.array(kept, dtype=np.intp)
        scores = np.zeros(len(rows))
        if spec.dimension is not None and len(rows):
            scores = _scores(loaded.dense[rows], like.dense, spec.metric)
        if like.sparse is not None:
            weights = dict(zip(like.sparse["indices"], like.sparse["values"], strict=True))
            scores = scores + [_dot(loaded.vectors[row].sparse, weights) for row in rows]
        if spec.dimension is None:  # an index of sparse vectors answers with those that share a term
            rows, scores = rows[scores != 0], scores[scores != 0]
        order = np.argsort(scores if spec.metric == "euclidean" else -scores, kind="stable")[:top_k]
        return [(loaded.vectors[rows[place]], float(scores[place])) for place in order]

    def _load(self, place: tuple[str, str]) -> _Loaded | None:
        state = self._store.state(*place)
        loaded = self._loaded.get(place)
        if state is None or (loaded is not None and loaded.state == state):
            return loaded if state is not None else None
        vectors = self._store.all(*place)
        width = max((len(vector.dense) for vector in vectors), default=0)
        dense = np.zeros((len(vectors), width), np.float32)
        for row, vector in enumerate(vectors):
            dense[row, : len(vector.dense)] = vector.dense
        self._loaded[place] = _Loaded(state, vectors, dense)
        return self._loaded[place]


def _scores(rows: NDArray[np.float32], query: NDArray[np.float32], metric: Metric) -> NDArray[np.float64]:
    """cosine: the cosine; dotproduct: the product; euclidean: the *squared* distance, small is near. In float64."""
    exact, wanted = rows.astype(np.float64), query.astype(np.float64)
    match metric:
        case "dotproduct":
            return exact @ wanted
        case "euclidean":
            return ((exact - wanted) ** 2).sum(axis=1)
        case "cosine":
            lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(wanted)
            return np.divide(exact @ wanted, lengths, out=np.zeros(len(exact)), where=lengths > 0)


def _dot(held: dict[str, list[float]] | None, weights: dict[float, float]) -> float:
    if held is None:
        return 0.0
    return sum(weights.get(i, 0.0) * value for i, value in zip(held["indices"], held["values"], strict=True))
