"""Seal a merged directory: what a reader will open is checked from the disk, compacted, and then hashed.

The order matters. The directory is opened afresh, so that the files are asked and not the memory of who wrote them.
Opening and querying write to chroma.sqlite3, so the checks come first, then the store compacts and verifies its closed
files, and only then are they hashed. Nothing opens them again before they are uploaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siltstone.compaction.documents import Check, Part, RowCounts
from siltstone.errors import CheckFailed
from siltstone.stores.vectors import CollectionSpec, OpenStore, Vectors, VectorStore

SAMPLE_ROWS = 64
# An approximate index misses some, and more where many rows have the same vector: of 49,946 words of real receipts, 4
# of 65 were not reached. Of an index whose second half was blank, 30 of 65. The share is in the manifest; how good it
# has to be is a matter of the collection's HNSW values, not of whether a merge may be published.
ALLOWED_MISSES = 0.25


def seal(
    folder: Path, spec: CollectionSpec, counts: RowCounts, parts: Sequence[Part], open_store: OpenStore
) -> tuple[Check, ...]:
    """Check, compact and close the directory; return what was verified. ``counts``: over all ``parts``.

    Raises `CheckFailed`, naming every check that failed; nothing may be published then.
    """
    store = open_store(folder, spec)
    try:
        checks = [
            _counted(store, counts),
            _accounted(counts, parts),
            _like_settings(store, spec),
            _finds_itself(store, spec),
        ]
        checks += [Check(name=name, passed=passed, detail=detail) for name, passed, detail in store.finish()]
    finally:
        store.close()
    failed = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    if failed:
        raise CheckFailed(
            f"The merged {spec.name} failed: {'; '.join(failed)[:400]}.",
            remedy="Nothing was published; its deltas stay pending and the next run starts from the base again.",
        )
    return tuple(checks)


def _counted(store: VectorStore, counts: RowCounts) -> Check:
    counted, listed, expected = store.count(), len(store.ids()), counts.before + counts.inserted - counts.deleted
    return Check(
        name="count",
        passed=counted == listed == expected == counts.after,
        detail=f"{counted} rows, {listed} ids, {expected} expected",
    )


def _accounted(counts: RowCounts, parts: Sequence[Part]) -> Check:
    """Every upsert of the parts became exactly one kind of row; deletes of ids that were not there are none."""
    upserts = counts.inserted + counts.updated + counts.metadata_only + counts.unchanged
    asked, deletes = sum(part.upserts for part in parts), sum(part.deletes for part in parts)
    return Check(
        name="operations",
        passed=upserts == asked and counts.deleted <= deletes,
        detail=f"{upserts} of {asked} upserts, {counts.deleted} of {deletes} deletes",
    )


def _like_settings(store: VectorStore, spec: CollectionSpec) -> Check:
    """Name, space and HNSW values as in the settings; the dimension too, once there was a row."""
    own = store.spec()
    wrong = [
        f"{name} is {found!r} instead of {wanted!r}"
        for name, found, wanted in [
            ("name", own.name, spec.name),
            ("dimension", own.dimension, spec.dimension if own.dimension or store.count() else 0),
            ("space", own.space, spec.space),
            ("hnsw", own.hnsw, spec.hnsw),
        ]
        if found != wanted
    ]
    return Check(name="settings", passed=not wrong, detail=", ".join(wrong))


def _finds_itself(store: VectorStore, spec: CollectionSpec) -> Check:
    """A sample's nearest rows are at least as near as the sample itself (which may have twins under other ids)."""
    ids = store.ids()
    sample = ids[:: max(1, len(ids) // SAMPLE_ROWS)]
    if not sample:
        return Check(name="self_search", passed=True, detail="no rows")
    vectors = store.get(sample).embeddings
    misses = len(sample) - _found(np.asarray(store.nearest(vectors)), vectors, spec)
    return Check(
        name="self_search",
        passed=misses <= ALLOWED_MISSES * len(sample),
        detail=f"{len(sample) - misses} of {len(sample)} found themselves",
    )


def _found(distances: NDArray[np.float64], vectors: Vectors, spec: CollectionSpec) -> int:
    """How many of n vectors have something as near as themselves: at distance 0, under ip at most 1 - |v|^2."""
    norms = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    beyond = distances - (1 - norms) if spec.space == "ip" else np.abs(distances)
    return int(np.count_nonzero(beyond <= 1e-5 * np.maximum(norms, 1)))  # float32 rounding
