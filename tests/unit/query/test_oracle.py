"""Whatever was written, merged, retired and written again: a reader sees what a plain dictionary holds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from siltstone.deltas.batch import DeltaRows
from siltstone.errors import UnknownCollection

from tests.unit.query.house import CHROMA, DIMENSION, MEMORY, Engine, House, Row, exact, upserts, vector

IDS = [f"id-{number}" for number in range(12)] + ["IMAGE#1#LINE#00001", "é ü", "日本"]
WORDS = ["Total 12.50", "total", "été 2024", "RM 7", "", "cash\nchange"]

ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=8, unique=True)
metadatas = st.fixed_dictionaries(
    {},
    optional={
        "n": st.sampled_from([0, 1, 2, 1.5, 2.0, True, "1"]),
        "merchant": st.sampled_from(["A", "B"]),
        "tags": st.sampled_from([["x", "y"], ["y"]]),
    },
)
writes = st.tuples(st.just("upsert"), ids, st.integers(0, 5), st.lists(metadatas, min_size=8, max_size=8))
deletes = st.tuples(st.just("delete"), ids)
compactions = st.tuples(st.sampled_from(["compact", "promote"]))
steps = st.lists(st.one_of(writes, writes, deletes, compactions), min_size=1, max_size=8)

Passes = Callable[[str | None, dict[str, Any]], bool]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


FILTERS: list[tuple[dict[str, Any], Passes]] = [
    ({}, lambda document, metadata: True),
    ({"metadata_filter": {"merchant": "A"}}, lambda document, metadata: metadata.get("merchant") == "A"),
    ({"metadata_filter": {"n": {"$gt": 0.5, "$lt": 1.75}}}, lambda d, m: _number(m.get("n")) and 0.5 < m["n"] < 1.75),
    ({"metadata_filter": {"merchant": {"$ne": "A"}}}, lambda d, m: m.get("merchant") != "A"),
    ({"metadata_filter": {"tags": {"$contains": "x"}}}, lambda d, m: "x" in m.get("tags", [])),
    ({"where_document": {"$contains": "otal"}}, lambda d, m: d is not None and "otal" in d),
    ({"where_document": {"$regex": r"\d\d"}}, lambda d, m: d in ("Total 12.50", "été 2024")),
    (
        {"metadata_filter": {"merchant": "B"}, "where_document": {"$not_contains": "total"}},
        lambda d, m: m.get("merchant") == "B" and (d is None or "total" not in d),
    ),
]


def check(house: House, rows: dict[str, Row], consistency: str, asked: list[float]) -> None:
    """Every operation and filter against the dictionary."""
    try:
        house.ask("count", consistency=consistency)
    except UnknownCollection:
        assert not rows
        return
    for request, passes in FILTERS:
        passing = {row: kept for row, kept in rows.items() if passes(kept[1], kept[2])}
        assert house.ask("count", consistency=consistency, **request).count == len(passing)
        got = house.ask(
            "get", consistency=consistency, limit=1_000, include=["metadatas", "documents", "embeddings"], **request
        )
        assert got.results is not None
        assert got.results.ids == sorted(passing)
        assert got.results.documents == [passing[row][1] for row in sorted(passing)]
        for row, metadata, embedding in zip(
            got.results.ids, got.results.metadatas or [], got.results.embeddings or [], strict=True
        ):
            assert metadata == passing[row][2]
            assert {key: type(value) for key, value in metadata.items()} == {
                key: type(value) for key, value in passing[row][2].items()
            }
            np.testing.assert_allclose(embedding, passing[row][0], rtol=1e-6, atol=1e-6)
        for n in (1, 4, 1_000):
            found = house.ask("query", consistency=consistency, query_embedding=asked, n_results=n, **request).results
            assert found is not None and found.distances is not None
            truth = exact(passing, asked, house.settings.space)
            assert len(found.ids) == len(set(found.ids)) == min(n, len(passing))
            assert found.distances == sorted(found.distances)
            np.testing.assert_allclose(found.distances, sorted(truth.values())[:n], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(found.distances, [truth[row] for row in found.ids], rtol=1e-5, atol=1e-5)
            assert found.documents == [passing[row][1] for row in found.ids]
            assert found.metadatas == [passing[row][2] for row in found.ids]


def play(house: House, story: list[Any]) -> None:
    for step in story:
        if step[0] == "upsert":
            _, chosen, seed, columns = step
            documents = [WORDS[(len(row) + seed + place) % len(WORDS)] for place, row in enumerate(chosen)]
            documents = [document or None for document in documents]
            house.write(upserts(chosen, seed, documents=documents, metadatas=columns[: len(chosen)]))
        elif step[0] == "delete":
            house.write(DeltaRows.deletions(step[1], DIMENSION))
        else:
            house.compact(and_retire=step[0] == "compact")


def run(engine: Engine, story: list[Any], question: int, **settings_: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder), engine, **settings_)
        try:
            play(house, story)
            check(house, house.oracle["texts"], "strong", vector(question))
            check(house, house.merged["texts"], "snapshot", vector(question))
        finally:
            house.close()


quiet = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "derandomize": True}


@settings(max_examples=8, **quiet)
@given(story=steps, question=st.integers(0, 9), space=st.sampled_from(["cosine", "l2", "ip"]))
def test_a_reader_sees_what_a_dictionary_holds(story: list[Any], question: int, space: str) -> None:
    run(CHROMA, story, question, space=space)


@settings(max_examples=18, **quiet)
@given(
    story=steps,
    question=st.integers(0, 9),
    space=st.sampled_from(["cosine", "l2", "ip"]),
    shards=st.sampled_from([1, 3]),
)
def test_so_does_one_without_chroma(story: list[Any], question: int, space: str, shards: int) -> None:
    run(MEMORY, story, question, space=space, shards=shards)


@settings(max_examples=3, **quiet)
@given(story=steps, question=st.integers(0, 9))
def test_a_sharded_collection_gives_the_same_answers(story: list[Any], question: int) -> None:
    run(CHROMA, story, question, shards=3)


@pytest.mark.parametrize("engine", [CHROMA, MEMORY], ids=["chroma", "memory"])
def test_an_id_that_was_deleted_and_written_again_is_there_once(engine: Engine, tmp_path: Path) -> None:
    house = House(tmp_path, engine)
    house.upsert("a", "b", seed=1)
    house.compact()
    house.delete("a")
    house.upsert("a", seed=2)
    house.delete("b")
    check(house, house.oracle["texts"], "strong", vector(1))
    assert house.ids() == ["a"]
    house.compact()
    check(house, house.oracle["texts"], "snapshot", vector(1))
    house.close()
