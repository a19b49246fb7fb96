"""A version's rows against its base and the operations of its run: id by id, value by value, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from siltstone.compaction.merge_rows import metadata_patch
from siltstone.parallel import chunks
from siltstone.stores.vectors import Rows, Vectors, VectorStore
from siltstone.verify.operations import Operations
from siltstone.verify.progress import Progress

_PAGE = 1_000  # rows: Chroma hands vectors over as Python floats
# A run leaves a row alone whose vector is within 1e-6 of what was sent, and what Chroma keeps under cosine is off by
# 1e-7 more: see `siltstone.compaction.merge_rows`.
VECTOR_TOLERANCE = 2e-6  # of the vector's length


@dataclass
class Difference:
    """Ids by what is wrong with them. ``inserted`` and ``deleted``: as the run must have counted them."""

    inserted: int = 0
    deleted: int = 0
    compared: int = 0
    unexpected: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])
    vectors: list[str] = field(default_factory=list[str])
    documents: list[str] = field(default_factory=list[str])
    metadatas: list[str] = field(default_factory=list[str])


def compare(version: VectorStore, base: VectorStore | None, operations: Operations, progress: Progress) -> Difference:
    """What is in ``version`` that ``base`` (none: empty) and ``operations`` don't make, and what is not."""
    before = set(base.ids()) if base is not None else set[str]()
    found = set(version.ids())
    upserted, deleted = operations.upserted, operations.deleted
    expected = (before - deleted) | upserted
    difference = Difference(
        inserted=len(upserted - before),
        deleted=len(before & deleted),
        unexpected=sorted(found - expected),
        missing=sorted(expected - found),
    )
    for page in chunks(sorted(found & expected), _PAGE):
        written = [row_id for row_id in page if row_id in upserted]
        kept = [row_id for row_id in page if row_id not in upserted]
        if written:
            _compare_rows(version.get(written), operations.get(written), difference)
        if kept and base is not None:
            _compare_rows(version.get(kept), base.get(kept), difference)
        progress.advance(len(page))
    return difference


def _compare_rows(found: Rows, expected: Rows, difference: Difference) -> None:
    """``expected``: of the same ids. A row that is listed but can't be read counts as missing."""
    if found.ids != expected.ids:
        there = set(found.ids)
        difference.missing += [row_id for row_id in expected.ids if row_id not in there]
        expected = expected.take(place for place, row_id in enumerate(expected.ids) if row_id in there)
    if not expected.ids:
        return
    difference.compared += len(expected)
    same = _same_vectors(found.embeddings, expected.embeddings).tolist()
    for place, row_id in enumerate(expected.ids):
        if not same[place]:
            difference.vectors.append(row_id)
        if found.documents[place] != expected.documents[place]:
            difference.documents.append(row_id)
        if metadata_patch(found.metadatas[place], expected.metadatas[place]):
            difference.metadatas.append(row_id)


def _same_vectors(found: Vectors, expected: Vectors) -> NDArray[np.bool_]:
    if found.shape != expected.shape:
        return np.zeros(len(expected), np.bool_)
    wanted = expected.astype(np.float64)  # a norm of small float32 values would underflow when squared
    distance = np.linalg.norm(found.astype(np.float64) - wanted, axis=1)
    return distance <= VECTOR_TOLERANCE * np.linalg.norm(wanted, axis=1)
