"""What counts as equal when a row is written again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from siltstone.compaction.documents import RowCounts
from siltstone.compaction.merge_rows import add, apply_operations, metadata_patch, same_vectors
from siltstone.deltas.batch import DeltaRows
from siltstone.errors import CheckFailed
from siltstone.settings import HnswSettings
from siltstone.stores.vectors import CollectionSpec
from siltstone.stores.vectors_memory import open_memory

from tests.unit.compaction.merging import typed

SCALARS = st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.text(max_size=2))
METADATA = st.dictionaries(st.text("abc", min_size=1, max_size=1), st.one_of(SCALARS, st.lists(SCALARS, min_size=1)))


@given(METADATA, METADATA)
def test_a_patch_turns_the_old_metadata_into_the_new(old, new):
    patch = metadata_patch(old, new)
    merged = {key: value for key, value in {**old, **patch}.items() if value is not None}
    assert typed(merged) == typed(new)


@given(METADATA)
def test_equal_metadata_needs_no_patch(metadata):
    assert metadata_patch(metadata, dict(metadata)) == {}


def test_a_patch_names_only_what_differs():
    old = {"same": 1, "changed": 1, "vanished": 1, "list": [1, 2]}
    assert metadata_patch(old, {"same": 1, "changed": 2, "list": [1, 2]}) == {"changed": 2, "vanished": None}


def test_a_float_that_chroma_rounded_is_not_a_change():
    assert metadata_patch({"x": 1.037763595581055}, {"x": 1.0377635955810547}) == {}
    assert metadata_patch({"x": [1.037763595581055]}, {"x": [1.0377635955810547]}) == {}
    assert metadata_patch({"x": 1.0}, {"x": 1.0 + 1e-14}) == {"x": 1.0 + 1e-14}


@pytest.mark.parametrize("space", ["l2", "ip"])
def test_vectors_that_come_back_bit_for_bit_are_compared_bit_for_bit(space):
    sent = np.ones((2, 4), np.float32)
    stored = sent.copy()
    stored[1, 0] = np.nextafter(np.float32(1), np.float32(2))
    assert same_vectors(stored, sent, space).tolist() == [True, False]


@pytest.mark.parametrize("norm", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_under_cosine_rounding_is_no_difference_and_a_small_step_is_one(norm):
    rng = np.random.default_rng(0)
    sent = rng.normal(size=(500, 1_536))
    sent = (sent / np.linalg.norm(sent, axis=1, keepdims=True) * norm).astype(np.float32)
    step = rng.normal(size=sent.shape)
    step = step / np.linalg.norm(step, axis=1, keepdims=True) * norm
    assert same_vectors((sent + step * 1e-7).astype(np.float32), sent, "cosine").all()
    assert not same_vectors((sent + step * 1e-5).astype(np.float32), sent, "cosine").any()


def test_under_cosine_another_length_is_another_vector():
    """The direction is all that a query sees, but `get` gives the vector back as it was put in."""
    sent = np.ones((1, 4), np.float32)
    assert not same_vectors(sent * 2, sent, "cosine").any()


def test_counts_add_up():
    first = RowCounts(before=10, inserted=3, updated=1, deleted=2, after=11)
    second = RowCounts(before=11, inserted=1, metadata_only=4, unchanged=5, deleted=4, after=8)
    assert add(first, second) == RowCounts(
        before=10, inserted=4, updated=1, metadata_only=4, unchanged=5, deleted=6, after=8
    )


def test_a_store_that_loses_rows_is_found_out_at_once(tmp_path):
    store = open_memory(tmp_path / "s", CollectionSpec("lines", 2, "l2", HnswSettings()))
    insert = store.insert
    store.insert = lambda rows: insert(rows.take(range(len(rows) - 1)))
    with pytest.raises(CheckFailed, match="1 rows where 2"):
        apply_operations(store, DeltaRows.upserts(["a", "b"], np.ones((2, 2), np.float32)), "l2")
