"""Filters mean what they mean in Pinecone: on their own, over merged rows, and over those that are not merged yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from siltstone import connect
from siltstone.errors import BadQuery
from siltstone.pinecone_like import Index
from siltstone.pinecone_like.filters import matches, parse
from siltstone.pinecone_like.metadata import to_store
from siltstone.pinecone_like.narrowing import narrow
from siltstone.query.where import matches as store_matches
from siltstone.query.where import normalize
from siltstone_local.pinecone_server.checks import metadata_of
from siltstone_local.pinecone_server.filters import compile_filter

from tests.unit.pinecone_like.reference import passes
from tests.unit.query.house import CHROMA, DIMENSION, House

FIELDS = ("genre", "n", "model", "#odd", "")
TEXTS = st.sampled_from(["drama", "comedy", "", "1", "true", "größe"])
NUMBERS = st.sampled_from([0, 1, -1, 2, 1.0, 0.5, 1.5, -1.5, 2020, 2**53, 2**53 + 1, 2**62, 1e300, -1e300])
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans())
VALUES = st.one_of(SCALARS, st.lists(TEXTS, max_size=3))
METADATA = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4)
CONDITIONS = st.one_of(
    SCALARS,
    st.tuples(st.sampled_from(["$eq", "$ne"]), SCALARS).map(lambda each: dict([each])),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), NUMBERS).map(lambda each: dict([each])),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(SCALARS, max_size=3)).map(lambda each: dict([each])),
    st.booleans().map(lambda each: {"$exists": each}),
    st.just({"$gte": 0, "$lt": 2}),
)
LEAVES = st.dictionaries(st.sampled_from(FIELDS), CONDITIONS, min_size=1, max_size=2)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.tuples(st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)).map(
        lambda each: dict([each])
    ),
    max_leaves=5,
)

ROWS: list[dict[str, Any]] = [
    {},
    {"genre": "drama"},
    {"genre": "comedy", "n": 1},
    {"genre": ["drama", "comedy"], "n": 1.0},
    {"genre": ["comedy"], "n": 1.5},
    {"genre": [], "n": -1},
    {"genre": True, "n": 0},
    {"genre": False, "n": 0.5},
    {"genre": 1, "n": "1"},
    {"genre": "1", "n": True},
    {"genre": "", "n": 2020, "model": "T"},
    {"genre": "größe", "model": ["T", "S"], "n": 2**53},
    {"n": 2**53 + 1, "#odd": 1},
    {"n": 1e300, "#odd": "drama", "": "comedy"},
    {"n": -1e300, "": ["drama"]},
    {"model": 1, "n": 2**62},
]


@given(FILTERS, METADATA)
@settings(max_examples=250, deadline=None, derandomize=True, database=None)
def test_a_filter_means_what_the_documentation_says(filters: dict[str, Any], metadata: dict[str, Any]) -> None:
    assert matches(parse(filters), metadata) == passes(filters, metadata)


@given(FILTERS, METADATA)
@settings(max_examples=250, deadline=None, derandomize=True, database=None)
def test_the_server_that_stands_for_pinecone_agrees(filters: dict[str, Any], metadata: dict[str, Any]) -> None:
    assert compile_filter(filters)(metadata_of(metadata) or {}) == matches(parse(filters), metadata)


@given(FILTERS, METADATA)
@settings(max_examples=250, deadline=None, derandomize=True, database=None)
def test_the_stores_filter_lets_every_row_through_that_passes_and_no_other_unless_it_is_wide(
    filters: dict[str, Any], metadata: dict[str, Any]
) -> None:
    where, wide = narrow(parse(filters))
    through = store_matches(normalize(where), {"model": "m", "delta_id": "d", **to_store(metadata)})
    if passes(filters, metadata):
        assert through
    elif not wide:
        assert not through


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Every second row is merged, the others are pending."""
    house = House(tmp_path_factory.mktemp("house"), CHROMA, collections=("receipts",))
    with connect(stores=house.stores, clock=house.clock) as client:
        index = Index(client, default="receipts")
        vectors = [(f"r{place:02d}", _vector(place), row) for place, row in enumerate(ROWS)]
        index.upsert(vectors=vectors[::2])
        house.compact("receipts")
        index.upsert(vectors=vectors[1::2])
        yield index
    house.close()


def _vector(place: int) -> list[float]:
    return np.random.default_rng([3, place]).normal(size=DIMENSION).tolist()


def _expected(filters: dict[str, Any]) -> list[str]:
    return [f"r{place:02d}" for place, row in enumerate(ROWS) if passes(filters, row)]


@given(FILTERS)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_merged_and_pending_rows_are_found_by_the_filter_alone(stored: Index, filters: dict[str, Any]) -> None:
    found = stored.query(filter=filters, top_k=100, include_metadata=True)
    assert [match.id for match in found.matches] == _expected(filters)
    assert all(passes(filters, match.metadata or {}) for match in found.matches)


@given(FILTERS, st.integers(1, 5))
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_the_nearest_of_those_that_pass_are_found(stored: Index, filters: dict[str, Any], top_k: int) -> None:
    asked = np.asarray(_vector(99))
    near = {row: _cosine(asked, np.asarray(_vector(int(row[1:])))) for row in _expected(filters)}
    found = stored.query(vector=asked.tolist(), filter=filters, top_k=top_k).matches
    assert [match.id for match in found] == sorted(near, key=lambda row: -near[row])[:top_k]
    assert [match.score for match in found] == pytest.approx([near[match.id] for match in found], abs=1e-5)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("place", range(len(ROWS)))
def test_metadata_come_back_as_pinecone_has_them(stored: Index, place: int) -> None:
    metadata = stored.fetch([f"r{place:02d}"]).vectors[f"r{place:02d}"].metadata
    expected = {name: float(v) if type(v) is int else v for name, v in ROWS[place].items()}
    assert metadata == (expected or None)
    assert {name: type(value) for name, value in (metadata or {}).items()} == {
        name: type(value) for name, value in expected.items()
    }


@pytest.mark.parametrize(
    ("filters", "named"),
    [
        ({"genre": {"$regex": "d.*"}}, r"\$regex"),
        ({"genre": {"$not": {"$eq": "x"}}}, r"\$not"),
        ({"$nor": [{"genre": "x"}]}, r"\$nor"),
        ({"$not": {"genre": "x"}}, r"\$not"),
        ({"$and": [{"$or": [{"n": {"$between": [1, 2]}}]}]}, r"\$and\[0\].*\$between"),
        ({"genre": {"nested": "x"}}, "nested"),
        ({"n": {"$gt": "1"}}, r"\$gt"),
        ({"n": {"$lte": True}}, r"\$lte"),
        ({"genre": ["drama"]}, r"genre.*\$eq"),
        ({"genre": {"$eq": ["drama"]}}, r"\$eq"),
        ({"genre": {"$ne": None}}, r"\$ne"),
        ({"genre": {"$in": "drama"}}, r"\$in"),
        ({"genre": {"$nin": [{"a": 1}]}}, r"\$nin"),
        ({"genre": {"$exists": 1}}, r"\$exists"),
        ({"n": float("nan")}, "nan"),
        ({"$and": []}, r"\$and"),
        ({"$or": {"genre": "x"}}, r"\$or"),
        ({"genre": {}}, "genre"),
        ({1: "x"}, "1"),
        ("genre", "filter"),
    ],
)
def test_what_can_not_be_translated_is_an_error_that_names_it(filters: Any, named: str) -> None:
    with pytest.raises(BadQuery, match=named):
        parse(filters)


def test_a_filter_without_end_is_refused() -> None:
    filters: dict[str, Any] = {"a": 1}
    for _ in range(2_000):
        filters = {"$and": [filters]}
    with pytest.raises(BadQuery, match="deeper"):
        parse(filters)


@pytest.mark.parametrize(
    "filters",
    [
        {"genre": {"$in": [*(f"g{n}" for n in range(2_000)), "drama"]}},
        {"n": {"$in": [*(n + 0.25 for n in range(500)), 1.5]}},
    ],
)
def test_more_values_than_the_store_takes_are_compared_here(stored: Index, filters: dict[str, Any]) -> None:
    assert narrow(parse(filters)) == (None, True)
    found = [match.id for match in stored.query(filter=filters, top_k=50).matches]
    assert found == _expected(filters) != []
