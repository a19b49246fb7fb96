"""One opened version, read only: what a query needs of a vector index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from siltstone.query.where import Where
from siltstone.query.where_document import WhereDocument
from siltstone.stores.vectors import CollectionSpec

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Hits:
    """n rows. ``distances``: float64 (n,), smaller is nearer; ``embeddings``: float32 (n, d), or ``None``."""

    ids: list[str]
    distances: NDArray[np.float64] | None
    documents: list[str | None]
    metadatas: list[dict[str, Any] | None]
    embeddings: Vector | None = None

    def take(self, places: Sequence[int]) -> Hits:
        """The rows at these places, in their order."""
        at = list(places)
        return Hits(
            [self.ids[place] for place in at],
            None if self.distances is None else self.distances[at],
            [self.documents[place] for place in at],
            [self.metadatas[place] for place in at],
            None if self.embeddings is None else self.embeddings[at],
        )

    def then(self, other: Hits) -> Hits:
        """These rows, then the other's. Both carry the same optional columns."""
        return Hits(
            self.ids + other.ids,
            _stack(self.distances, other.distances),
            self.documents + other.documents,
            self.metadatas + other.metadatas,
            _stack(self.embeddings, other.embeddings),
        )


def no_hits(*, distances: bool, embeddings: bool, dimension: int) -> Hits:
    """Nothing found, in the right shape."""
    return Hits(
        [],
        np.zeros(0) if distances else None,
        [],
        [],
        np.zeros((0, dimension), np.float32) if embeddings else None,
    )


def _stack(left: NDArray[Any] | None, right: NDArray[Any] | None) -> NDArray[Any] | None:
    return None if left is None or right is None else np.concatenate([left, right])


class SnapshotIndex(Protocol):
    """A private copy of one version's files, opened. Safe for several threads. No list of ids names one twice."""

    def count(self) -> int:
        """Number of rows."""
        ...

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of ``ids`` that have a row."""
        ...

    def select(
        self, where: Where | None, where_document: WhereDocument | None, *, limit: int | None = None
    ) -> list[str]:
        """Ids of rows that pass both filters, in any order; at most ``limit`` of them."""
        ...

    def get(self, ids: Sequence[str], *, embeddings: bool) -> Hits:
        """Rows by id, in the order of ``ids``; those without a row are left out."""
        ...

    def search(
        self,
        vector: Vector,
        n: int,
        where: Where | None,
        where_document: WhereDocument | None,
        *,
        embeddings: bool,
    ) -> Hits:
        """The ``n`` nearest rows to ``vector`` (shape (d,)) that pass both filters, as the index finds them.

        Nearest first. Fewer than ``n``: there are no more, or an approximate index does not reach them.
        """
        ...

    def rank(self, vector: Vector, n: int, where: Where | None, where_document: WhereDocument | None) -> list[str]:
        """The ids of `search`, without the cost of the rows."""
        ...

    def close(self) -> None:
        """Release every file."""
        ...


OpenIndex = Callable[[Path, CollectionSpec], SnapshotIndex]
