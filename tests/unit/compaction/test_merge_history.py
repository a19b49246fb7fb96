"""Invariant 3 as a property: whatever was written and deleted, in whatever parts, turns and versions it was merged,
a version holds exactly what a dictionary would."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from siltstone.deltas.batch import DeltaRows
from siltstone.snapshots.chroma import open_chroma
from siltstone.stores.vectors import OpenStore
from siltstone.stores.vectors_memory import open_memory

from tests.unit.compaction.merging import Bench, deletes, upserts

IDS = [f"id{number}" for number in range(8)]
SCALARS = st.one_of(st.integers(-5, 5), st.floats(-2, 2, width=32), st.booleans(), st.text(max_size=3))
VALUES = st.one_of(
    SCALARS,
    st.lists(st.integers(0, 3), min_size=1, max_size=3),
    st.lists(st.text(max_size=2), min_size=1, max_size=3),
)
METADATA = st.dictionaries(st.sampled_from(["a", "b", "batch_id"]), VALUES, max_size=3)
UPSERT = st.tuples(st.just("upsert"), st.integers(0, 2), st.sampled_from([None, "", "x", "y"]), METADATA)
OPERATION = st.one_of(UPSERT, st.just(("delete",)))
PART = st.dictionaries(st.sampled_from(IDS), OPERATION, min_size=1)


@st.composite
def plans(draw) -> list[dict[str, Any]]:
    """Parts of one plan: at most one operation for each id over all of them, as Download writes them."""
    parts = draw(st.lists(PART, min_size=1, max_size=3))
    seen: set[str] = set()
    unique: list[dict[str, Any]] = []
    for part in parts:
        unique.append({row: operation for row, operation in part.items() if row not in seen})
        seen |= part.keys()
    return [part for part in unique if part]


HISTORIES = st.lists(st.tuples(plans(), st.integers(1, 3)), min_size=1, max_size=4)
COMMON: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "phases": [Phase.generate],  # shrinking would take minutes
    "suppress_health_check": [HealthCheck.too_slow],
}


@settings(max_examples=8, **COMMON)
@given(HISTORIES)
def test_a_version_holds_its_base_and_its_operations(history):
    check(history, open_chroma)


@settings(max_examples=60, **COMMON)
@given(HISTORIES)
def test_the_in_memory_twin_holds_the_same(history):
    check(history, open_memory)


def check(history: list[tuple[list[dict[str, Any]], int]], open_store: OpenStore) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), open_store=open_store)
        for parts, steps in history:
            before = len(bench.oracle)
            request = bench.plan(*(rows_of(part) for part in parts))
            output = bench.turn(request, seconds_left=time_for(steps))
            while output.sealed is None:
                output = bench.turn(request.model_copy(update={"work": output.work}), seconds_left=time_for(steps))
            counts = bench.publish(request.run, output.sealed).counts
            assert (counts.before, counts.after) == (before, len(bench.oracle))
            bench.assert_content()


def rows_of(part: dict[str, Any]) -> DeltaRows:
    batches = [
        deletes(row)
        if operation[0] == "delete"
        else upserts([row], operation[1], documents=[operation[2]], metadatas=[operation[3]])
        for row, operation in part.items()
    ]
    return DeltaRows.concat(batches)


def time_for(steps: int):
    answers = iter([900.0] * steps)
    return lambda: next(answers, 1.0)
