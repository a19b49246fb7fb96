"""The evaluator of `where` finds what Chroma finds, and what Chroma should have found where it truncates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import chromadb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from siltstone.errors import BadQuery
from siltstone.query.where import matches, normalize

ROWS: list[dict[str, Any]] = [
    {"n": 1}, {"n": 1.0}, {"n": True}, {"n": "1"}, {"other": 2}, {"n": 2}, {"n": 2.5}, {"n": False},
    {"n": 0}, {"n": [1, 2]}, {"n": [1.0, 2.5]}, {"n": ["x", "y"]}, {"n": "abc"}, {"n": -1}, {"n": -1.5},
    {"n": -2}, {"n": 1.5, "other": "x"}, {"n": 2**53 + 1}, {"n": float(2**53)}, {"n": 2**63 - 1},
    {"n": -(2**63)}, {"n": 1e300}, {"n": "a\0b"}, {"n": ""}, {"n": "é%_"}, {"n": [True]}, {"n": [0.5]},
]  # fmt: skip
BARE = "a row without metadata"
IDS = [f"row-{index}" for index in range(len(ROWS))]

numbers = st.sampled_from(
    [-2, -1, 0, 1, 2, 3, -1.5, -0.5, 0.5, 1.0, 1.5, 2.0, 2.5, -0.0, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, -(2**63)]
)
scalars = st.one_of(numbers, st.booleans(), st.sampled_from(["1", "abc", "", "x", "é%_", "a\0b", "a"]))
fields = st.sampled_from(["n", "other", "absent"])
leaves = st.one_of(
    st.builds(lambda f, v: {f: v}, fields, scalars),
    st.builds(lambda f, o, v: {f: {o: v}}, fields, st.sampled_from(["$eq", "$ne"]), scalars),
    st.builds(lambda f, o, v: {f: {o: v}}, fields, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), numbers),
    st.builds(lambda f, o, v: {f: {o: v}}, fields, st.sampled_from(["$in", "$nin"]), st.lists(scalars, min_size=1)),
    st.builds(lambda f, o, v: {f: {o: v}}, fields, st.sampled_from(["$contains", "$not_contains"]), scalars),
)


def _joined(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda connective, terms: {connective: terms},
        st.sampled_from(["$and", "$or"]),
        st.lists(inner, min_size=1, max_size=3),
    )


filters = st.recursive(leaves, _joined, max_leaves=5)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    client = chromadb.PersistentClient(tmp_path_factory.mktemp("chroma"))
    made = client.create_collection("where-rows", embedding_function=None)
    made.upsert(ids=IDS, embeddings=np.eye(len(ROWS), dtype=np.float32), metadatas=ROWS)
    bare = np.ones((1, len(ROWS)), np.float32)
    made.upsert(ids=[BARE], embeddings=bare)
    yield made
    client.close()


def _ours(where: dict[str, Any]) -> set[str]:
    rows: list[tuple[str, dict[str, Any] | None]] = [*zip(IDS, ROWS, strict=True), (BARE, None)]
    return {row_id for row_id, row in rows if matches(where, row)}


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=filters)
def test_a_pending_row_passes_a_filter_exactly_when_chroma_would_pass_it(
    collection: Any, where: dict[str, Any]
) -> None:
    normalized = normalize(where)
    assert normalized is not None
    assert _ours(normalized) == set(collection.get(where=normalized, include=[])["ids"])


@pytest.mark.parametrize("operator", ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"])
@pytest.mark.parametrize("operand", [-1.5, -0.5, 0.5, 1.5, 2.5, 1.0])
def test_a_fraction_is_never_truncated(collection: Any, operator: str, operand: float) -> None:
    compare = {
        "$eq": lambda n: n == operand, "$ne": lambda n: n != operand, "$gt": lambda n: n > operand,
        "$gte": lambda n: n >= operand, "$lt": lambda n: n < operand, "$lte": lambda n: n <= operand,
    }[operator]  # fmt: skip
    numeric = {
        row_id: row["n"]
        for row_id, row in zip(IDS, ROWS, strict=True)
        if isinstance(row.get("n"), int | float) and not isinstance(row["n"], bool)
    }
    found = set(collection.get(where=normalize({"n": {operator: operand}}), include=[])["ids"]) & set(numeric)
    assert found == {row_id for row_id, number in numeric.items() if compare(number)}


@pytest.mark.parametrize("operand", [1, 1.0])
def test_a_whole_number_in_a_list_is_found_as_integer_and_as_float(collection: Any, operand: float) -> None:
    expected = {row_id for row_id, row in zip(IDS, ROWS, strict=True) if row.get("n") in ([1, 2], [1.0, 2.5])}
    assert set(collection.get(where=normalize({"n": {"$contains": operand}}), include=[])["ids"]) == expected
    without = normalize({"n": {"$not_contains": operand}})
    assert set(collection.get(where=without, include=[])["ids"]) == {*IDS, BARE} - expected


def test_plain_chroma_does_truncate_a_fraction(collection: Any) -> None:
    """Why operands are rewritten. Fails on the day that Chroma mends it: then the rewriting can go."""
    assert "row-0" not in collection.get(where={"n": {"$lt": 1.5}}, include=[])["ids"]


def test_several_fields_mean_all_of_them() -> None:
    assert normalize({"a": 1, "b": {"$gte": 2, "$lt": 4}}) == {
        "$and": [{"a": {"$eq": 1}}, {"$and": [{"b": {"$gte": 2}}, {"b": {"$lt": 4}}]}]
    }


def test_no_filter_is_none() -> None:
    assert normalize(None) is None
    assert normalize({}) is None


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ({"n": {"$exists": True}}, "metadata_filter.n.$exists"),
        ({"$not": {"n": 1}}, "$not"),
        ({"n": {"$gt": "a"}}, "metadata_filter.n.$gt"),
        ({"n": {"$gt": True}}, "metadata_filter.n.$gt"),
        ({"n": {"$in": []}}, "metadata_filter.n.$in"),
        ({"n": None}, "metadata_filter.n.$eq"),
        ({"n": math.nan}, "metadata_filter.n.$eq"),
        ({"n": 2**63}, "metadata_filter.n.$eq"),
        ({"$and": []}, "metadata_filter.$and"),
        ({"$or": [{"n": 1}, 7]}, "metadata_filter.$or[1]"),
        ({"n": {}}, "metadata_filter.n"),
        ("n = 1", "metadata_filter"),
    ],
)
def test_a_wrong_filter_is_refused_and_its_place_named(where: Any, place: str) -> None:
    with pytest.raises(BadQuery) as refused:
        normalize(where)
    assert place in str(refused.value)


def test_a_filter_as_deep_as_a_well_is_refused() -> None:
    where: dict[str, Any] = {"n": 1}
    for _ in range(10_000):
        where = {"$and": [where]}
    with pytest.raises(BadQuery, match="deeper"):
        normalize(where)


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ({"chroma:document": "x"}, "chroma:document"),  # would match every row
        ({"#document": "x"}, "#document"),
        ({"n": {"$eq": "\ud800"}}, r"\ud800"),
        ({"\ud800": 1}, "\\ud800"),
        ({"n": {"$gt": 1e300}}, "1e+300"),
        ({"n": 10**5_000}, "that integer"),
        ({"$or": [{"n": number} for number in range(300)]}, "300 comparisons"),
        ({"n": {"$in": [number + 0.5 for number in range(100)]}}, "400 comparisons"),
        ({"$or": [{"n": {"$in": list(range(1_000))}} for _ in range(6)]}, "6000 values"),
    ],
)
def test_what_sqlite_or_chroma_would_stumble_over_is_refused(where: dict[str, Any], why: str) -> None:
    with pytest.raises(BadQuery) as refused:
        normalize(where)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    "where",
    [
        {"$or": [{"n": {"$eq": number}} for number in range(256)]},
        {"$and": [{"n": {"$ne": number + 0.5}} for number in range(128)]},
        {"$or": [{"n": {"$in": list(range(1_000))}} for _ in range(5)]},
    ],
)
def test_chroma_answers_the_largest_filters_that_pass(collection: Any, where: dict[str, Any]) -> None:
    normalized = normalize(where)
    assert normalized is not None
    assert _ours(normalized) == set(collection.get(where=normalized, include=[])["ids"])
