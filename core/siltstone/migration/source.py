"""What a migration needs of the index that it leaves, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Metric = Literal["cosine", "euclidean", "dotproduct"]

DEFAULT_NAMESPACE = "__default__"
"""How the namespace without a name is written. `SourceIndex` takes it as any other."""

LIST_LIMIT = 100  # ids a listing returns at once
FETCH_LIMIT = 1_000  # ids a fetch takes


@dataclass(frozen=True)
class IndexShape:
    """What an index says of itself. ``namespaces``: vectors by name, which may lag behind writes by some seconds."""

    dimension: int | None  # None: it has no dense vectors
    metric: str | None  # None: it does not say
    namespaces: Mapping[str, int]


@dataclass(frozen=True)
class IdPage:
    """Ids, and the token of what follows; ``None`` at the end."""

    ids: Sequence[str]
    next: str | None


@dataclass(frozen=True, eq=False)
class SourceVector:
    """One vector as the index has it. ``values``: float32 (d,), empty where it is sparse alone.

    ``sparse``: ``{"indices": [...], "values": [...]}``, or ``None``.
    """

    id: str
    values: NDArray[np.float32]
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sparse: Mapping[str, Any] | None = None


class SourceIndex(Protocol):
    """One index, read only. Safe for several threads. Raises `IndexUnavailable` (try again) and `IndexRefused`."""

    @property
    def name(self) -> str:
        """What identifies the index, as its address does."""
        ...

    def shape(self) -> IndexShape:
        """Its dimension, metric and namespaces."""
        ...

    def list_ids(self, namespace: str, token: str | None, limit: int) -> IdPage:
        """At most ``limit`` ids behind ``token``. `IndexRefused` where the index can't list (pod-based)."""
        ...

    def fetch(self, namespace: str, ids: Sequence[str]) -> list[SourceVector]:
        """Those of ``ids`` (at most `FETCH_LIMIT`) that exist, in no order."""
        ...

    def query(self, namespace: str, vector: Sequence[float], top_k: int) -> list[str]:
        """Ids of the nearest, best first."""
        ...
