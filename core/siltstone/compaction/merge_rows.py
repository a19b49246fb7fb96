"""Apply a part's operations to a collection: only what differs is written.

Inserting is five times faster than writing an existing id again, and changing metadata alone five times faster than
inserting, so every row is compared with what the collection has:

=============  =====================================  =============================================
kind           when                                   what is done
=============  =====================================  =============================================
inserted       the id is new                          insert
unchanged      vector, document, metadata are equal   nothing
metadata only  the vector is equal                    the changed keys are set, the vanished cleared
updated        another vector                         delete and insert
deleted        a delete of an id that is there        delete
=============  =====================================  =============================================

An equal vector with another *document* counts as metadata only but is deleted and inserted too: Chroma can't take a
document away, nor change one without a vector. Deleting and inserting is twice as fast as Chroma's upsert over an
existing id (530 and 264 rows/s), clears old keys by itself and links the row anew; its old slot stays dead until a
rebuild.

Where a row came from is metadata like any other: a record that was embedded again to the same vector gets its new
``batch_id`` and ``delta_id``, as a metadata update.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siltstone.compaction.documents import RowCounts
from siltstone.deltas.batch import DeltaRows
from siltstone.errors import CheckFailed
from siltstone.settings import Space
from siltstone.stores.vectors import MAX_BATCH, Metadata, Rows, Vectors, VectorStore

COMPARE_BATCH = 1_000  # rows read back at a time: Chroma hands vectors over as Python floats

# Under cosine Chroma stores unit vectors and a norm. What comes back differed from what was put in by at most 8.2e-8 of
# the norm (1.5.9; 32 and 1,536 dimensions, norms from 1e-6 to 1e6): float32 rounding. Two embeddings of different texts
# differ by far more. Under l2 and ip vectors came back bit for bit.
COSINE_TOLERANCE = 1e-6

# Chroma passes metadata through a JSON reader that rounds: of random doubles a fifth came back off by up to 2.8e-16 of
# their size (1.5.9), those of 15 digits around 1 never. Compared exactly, a row would look changed in every run.
FLOAT_TOLERANCE = 1e-15


@dataclass(frozen=True)
class Applied:
    """What one part did. ``dead_slots``: index slots that its deletions left behind."""

    counts: RowCounts
    dead_slots: int


def apply_operations(
    store: VectorStore, operations: DeltaRows, space: Space, between: Callable[[], None] = lambda: None
) -> Applied:
    """Apply at most one operation for each id. Applying the same ones again changes nothing.

    ``between`` is called before every call that may take seconds. Raises `CheckFailed` if the counts don't add up.
    """
    before = store.count()
    counts = RowCounts(before=before, after=before)
    dead = 0
    for start in range(0, len(operations), MAX_BATCH):
        applied = _apply_batch(store, operations.slice(start, start + MAX_BATCH), space, between)
        counts, dead = add(counts, applied.counts), dead + applied.dead_slots
    if store.count() != counts.after:
        raise CheckFailed(
            f"The collection has {store.count()} rows where {counts.after} were expected.",
            remedy="Nothing was published. Run `siltstone verify` on the base version.",
        )
    return Applied(counts, dead)


def add(total: RowCounts, more: RowCounts) -> RowCounts:
    """Counts over two stretches of work: ``before`` is the first's, ``after`` follows from the arithmetic."""
    inserted, deleted = total.inserted + more.inserted, total.deleted + more.deleted
    return RowCounts(
        before=total.before,
        inserted=inserted,
        updated=total.updated + more.updated,
        metadata_only=total.metadata_only + more.metadata_only,
        unchanged=total.unchanged + more.unchanged,
        deleted=deleted,
        after=total.before + inserted - deleted,
    )


def _apply_batch(store: VectorStore, operations: DeltaRows, space: Space, between: Callable[[], None]) -> Applied:
    known = store.known(operations.ids)
    new: list[int] = []
    there: list[int] = []
    deleted: list[str] = []
    for place, (row, is_delete) in enumerate(zip(operations.ids, operations.deletes.tolist(), strict=True)):
        if not is_delete:
            (there if row in known else new).append(place)
        elif row in known:
            deleted.append(row)
    updated, redocumented, patches = _compare(store, operations, there, space)
    replaced = [*updated, *redocumented]
    gone = [*deleted, *(operations.ids[place] for place in replaced)]
    if gone:
        between()
        store.delete(gone)
    written = sorted([*new, *replaced])
    if written:
        between()
        store.insert(_rows(operations, written))
    if patches:
        between()
        store.patch_metadata(list(patches), list(patches.values()))
    metadata_only = len(patches) + len(redocumented)
    counts = RowCounts(
        inserted=len(new),
        updated=len(updated),
        metadata_only=metadata_only,
        unchanged=len(there) - len(updated) - metadata_only,
        deleted=len(deleted),
    )
    return Applied(counts, dead_slots=len(gone))


def _compare(
    store: VectorStore, operations: DeltaRows, there: list[int], space: Space
) -> tuple[list[int], list[int], dict[str, Metadata]]:
    """Of the upserts over existing rows: places with another vector, places with another document, metadata patches."""
    updated: list[int] = []
    redocumented: list[int] = []
    patches: dict[str, Metadata] = {}
    for start in range(0, len(there), COMPARE_BATCH):
        places = there[start : start + COMPARE_BATCH]
        old = store.get([operations.ids[place] for place in places])
        same = same_vectors(old.embeddings, operations.embeddings[places], space).tolist()
        for number, place in enumerate(places):
            if not same[number]:
                updated.append(place)
            elif old.documents[number] != operations.documents[place]:
                redocumented.append(place)
            elif patch := metadata_patch(old.metadatas[number], operations.metadatas[place]):
                patches[operations.ids[place]] = patch
    return updated, redocumented, patches


def same_vectors(stored: Vectors, sent: Vectors, space: Space) -> NDArray[np.bool_]:
    """For n pairs, float32 (n, d) each: whether what the collection has is what was sent. See `COSINE_TOLERANCE`."""
    if space != "cosine":
        return np.all(stored == sent, axis=1)
    ours = sent.astype(np.float64)  # a norm of small float32 values would underflow when squared
    distance = np.linalg.norm(stored.astype(np.float64) - ours, axis=1)
    return distance <= COSINE_TOLERANCE * np.linalg.norm(ours, axis=1)


def metadata_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> Metadata:
    """The keys to set, and those that vanished as ``None``: Chroma merges, so they would stay for ever.

    ``1``, ``1.0`` and ``True`` are different values: they come back as what was stored.
    """
    changed = {key: value for key, value in new.items() if key not in old or not _same_value(old[key], value)}
    return {**changed, **{key: None for key in old if key not in new}}


def _same_value(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        pairs: Iterable[tuple[Any, Any]] = zip(one, other, strict=False)  # pyright: ignore[reportUnknownArgumentType]
        return len(one) == len(other) and all(_same_value(a, b) for a, b in pairs)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=FLOAT_TOLERANCE)
    return type(one) is type(other) and one == other


def _rows(operations: DeltaRows, places: list[int]) -> Rows:
    return Rows(
        [operations.ids[place] for place in places],
        operations.embeddings[places],
        [operations.documents[place] for place in places],
        [operations.metadatas[place] for place in places],
    )
