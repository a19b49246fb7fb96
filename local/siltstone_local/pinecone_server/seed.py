"""What an index is filled with: the same for the same numbers, and awkward where Pinecone allows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from siltstone_local.pinecone_server.indexes import IndexSpec, Metric
from siltstone_local.pinecone_server.store import DEFAULT_NAMESPACE, Store, Vector

_SHARES = {"words": 0.6, "lines": 0.35, "": 0.05}
_MERCHANTS = ("Trader Joe's", "COSTCO", "Café Müller", "7-Eleven", "東京ストア")

AWKWARD_IDS = (
    "has a space",
    "a/b?c=d&e#f",
    "100%25",
    "plus+and=equals",
    'quote"and\\backslash',
    "'; DROP TABLE vectors; --",
    ".",
    "..",
    "tab\tand\nnewline",
    "UPPER",
    "upper",
    "0001",
    "1",
    "~",
    "x" * 512,
)
"""Ids that Pinecone takes: ASCII without NUL, 1 to 512 characters."""

AWKWARD_METADATA: tuple[dict[str, Any] | None, ...] = (
    None,
    {},
    {
        "": "a key without a name",
        "with space": "x",
        "dotted.key": "y",
        "ключ": "ß",
        "chroma:document": "not a document",
    },
    {"text": ""},
    {"tags": []},
    {"tags": ["one", "", "two", "one"]},
    {"large": 1.7e308, "small": 5e-324, "minus": -0.0, "third": 1 / 3, "whole": 3.0, "big": 9007199254740992.0},
    {"yes": True, "no": False, "one": 1.0, "text_one": "1"},
    {"text": "line\nbreak \u0000 \U0001f9fe \u202e"},
    {"text": "x" * 30_000},
    {"id": "not the id", "document": "text", "values": "none"},
)
"""What Pinecone keeps: strings, numbers (64-bit floating point), booleans, lists of strings; no metadata at all."""

OLD_METADATA: tuple[dict[str, Any], ...] = (
    {"merchant": None, "text": "null"},
    {"mixed": ["a", 1.0, True]},
    {"numbers": [1.0, 2.5]},
    {"nested": {"x": 0.5, "deep": {"y": [1.0]}}},
)
"""What Pinecone refuses today, and an old index may hold. Written past the checks of the server."""


@dataclass(frozen=True)
class Seeded:
    """What an index holds, by namespace ("" is the nameless one) and id: to compare a copy with."""

    index: str
    namespaces: Mapping[str, Mapping[str, Vector]]

    def __len__(self) -> int:
        return sum(map(len, self.namespaces.values()))


def fill(
    store: Store,
    index: str,
    *,
    vectors: int,
    dimension: int,
    metric: Metric,
    pod_based: bool,
    old_metadata: bool,
    seed: int,
) -> Seeded:
    """Make ``index`` anew with ``vectors`` in three namespaces. One in fifty has sparse values as well."""
    store.delete_index(index)
    store.put_index(IndexSpec(name=index, dimension=dimension, metric=metric, pod_based=pod_based))
    random = np.random.default_rng(seed)
    namespaces: dict[str, dict[str, Vector]] = {}
    left = vectors
    for name, share in _SHARES.items():
        count = left if name == "" else round(vectors * share)
        left -= count
        dense = random.standard_normal((count, dimension)).astype(np.float32)
        made = [_vector(name, row, dense[row], old_metadata=old_metadata) for row in range(count)]
        store.put(index, name or DEFAULT_NAMESPACE, made)
        namespaces[name] = {vector.id: vector for vector in made}
    return Seeded(index, namespaces)


def _vector(namespace: str, row: int, dense: np.ndarray, *, old_metadata: bool) -> Vector:
    id_ = AWKWARD_IDS[row] if row < len(AWKWARD_IDS) else _id(namespace, row)
    if row < len(AWKWARD_METADATA):
        metadata = AWKWARD_METADATA[row]
    elif old_metadata and row < len(AWKWARD_METADATA) + len(OLD_METADATA):
        metadata = OLD_METADATA[row - len(AWKWARD_METADATA)]
    else:
        metadata = {
            "text": f"{namespace or 'text'} {row}",
            "merchant_name": _MERCHANTS[row % len(_MERCHANTS)],
            "receipt_id": float(row // 40),
            "confidence": (row % 100) / 100,
            "valid": row % 3 == 0,
            "labels": [f"LABEL_{row % 7}", "ITEM"],
        }
    sparse = {"indices": [row, 4_000_000_000 - row], "values": [0.5, 1.25]} if row % 50 == 3 else None
    return Vector(id_, dense, sparse, metadata)


def _id(namespace: str, row: int) -> str:
    image = f"{row // 400:08x}-0000-4000-8000-000000000000"
    kind = {"words": f"LINE#{row // 5 % 100:05d}#WORD#{row:05d}", "lines": f"LINE#{row:05d}"}.get(namespace)
    return f"IMAGE#{image}#RECEIPT#00001#{kind}" if kind else f"text-{row}"
