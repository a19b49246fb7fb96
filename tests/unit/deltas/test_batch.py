"""Rows in memory: cut and joined without leaving numpy."""

from __future__ import annotations

import numpy as np
import pytest
from siltstone.deltas.batch import DeltaRows

from tests.unit.deltas.house import upserts


def test_rows_are_taken_cut_and_joined_in_order() -> None:
    rows = DeltaRows.concat([upserts(["a", "b"], documents=["x", "y"]), DeltaRows.deletions(["c"], 4)])
    assert (len(rows), rows.upsert_count, rows.dimension) == (3, 2, 4)
    taken = rows.take(np.array([2, 0]))
    assert (taken.ids, taken.deletes.tolist(), taken.documents) == (["c", "a"], [True, False], [None, "x"])
    cut = rows.slice(1, 3)
    assert cut.ids == ["b", "c"]
    assert np.shares_memory(cut.embeddings, rows.embeddings)


def test_columns_of_different_lengths_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="differ"):
        DeltaRows.upserts(["a", "b"], np.ones((1, 4), np.float32))
