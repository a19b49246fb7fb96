"""Queries through the real client: scores by each metric's definition, filters, and what an answer may hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pinecone
import pytest
from pinecone.errors.exceptions import ApiError, PineconeValueError
from siltstone_local.pinecone_server import Seeded
from siltstone_local.pinecone_server.filters import compile_filter

MakeIndex = Callable[..., pinecone.Index]
ROWS: dict[str, dict[str, Any]] = {
    "comedy": {"genre": "comedy", "year": 2019, "seen": True},
    "drama": {"genre": "drama", "year": 2020, "seen": False},
    "both": {"genre": ["comedy", "documentary"], "year": 2020.5},
    "text": {"genre": "1", "year": "2020"},
    "number": {"genre": 1},
    "nothing": {},
}


def test_the_nearest_come_first_with_the_cosine_as_score(receipts: pinecone.Index, seeded: Seeded):
    kept = seeded.namespaces["words"]
    ids, matrix = list(kept), np.array([vector.dense for vector in kept.values()], np.float64)
    query = np.linspace(-1, 1, 64)
    cosines = matrix @ query / np.linalg.norm(matrix, axis=1) / np.linalg.norm(query)
    found = receipts.query(vector=query.tolist(), top_k=10, namespace="words").matches
    assert [match.id for match in found] == [ids[row] for row in np.argsort(-cosines)[:10]]
    assert [match.score for match in found] == pytest.approx(np.sort(cosines)[::-1][:10], abs=1e-6)
    assert (found[0].values, found[0].metadata) == ([], None)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("cosine", [("a", 1.0), ("b", 0.8), ("c", -1.0)]),
        ("dotproduct", [("b", 8.0), ("a", 2.0), ("c", -4.0)]),
        ("euclidean", [("a", 1.0), ("c", 16.0), ("b", 37.0)]),  # squared, and small is near
    ],
)
def test_scores_are_what_pinecone_defines_for_a_metric(make_index: MakeIndex, metric: str, expected: list[Any]):
    index = make_index(metric=metric)
    index.upsert(vectors=[("a", [1, 0, 0]), ("b", [4, 3, 0]), ("c", [-2, 0, 0])])
    query = [2.0, 0.0, 0.0]
    if metric == "euclidean":  # 1; 4 + 9 + 24 = 37; 16
        index.upsert(vectors=[("b", [4, 3, 24**0.5])])
    found = index.query(vector=query, top_k=10).matches
    assert [(match.id, pytest.approx(match.score, abs=1e-5)) for match in found] == expected


def test_a_stored_vector_is_a_query(make_index: MakeIndex):
    index = make_index()
    index.upsert(vectors=[("a", [1, 0, 0]), ("b", [1, 0.1, 0]), ("c", [0, 0, 1])])
    assert [match.id for match in index.query(id="b", top_k=2).matches] == ["b", "a"]
    assert index.query(id="nobody", top_k=2).matches == []


def test_values_and_metadata_come_where_they_are_asked_for(make_index: MakeIndex):
    index = make_index(metric="dotproduct")
    sparse = {"indices": [1], "values": [0.5]}
    index.upsert(vectors=[{"id": "a", "values": [1, 0, 0], "metadata": {"k": "v"}, "sparse_values": sparse}])
    [match] = index.query(vector=[1, 0, 0], top_k=1, include_values=True, include_metadata=True).matches
    assert (match.values, match.sparse_values.values, match.metadata) == ([1.0, 0.0, 0.0], [0.5], {"k": "v"})
    [bare] = index.query(vector=[1, 0, 0], top_k=1).matches
    assert (bare.values, bare.sparse_values, bare.metadata) == ([], None, None)


def test_sparse_values_add_to_the_dotproduct(make_index: MakeIndex):
    index = make_index(metric="dotproduct")
    sparse = {"indices": [7, 9], "values": [0.5, 2.0]}
    index.upsert(vectors=[("a", [1, 0, 0]), {"id": "b", "values": [0.5, 0, 0], "sparse_values": sparse}])
    found = index.query(vector=[1, 0, 0], sparse_vector={"indices": [9], "values": [3.0]}, top_k=2).matches
    assert [(match.id, match.score) for match in found] == [("b", 6.5), ("a", 1.0)]


def test_sparse_values_are_no_query_where_the_metric_is_another(make_index: MakeIndex):
    index = make_index()
    index.upsert(vectors=[("a", [1, 0, 0])])
    with pytest.raises(ApiError, match="does not support sparse values"):
        index.query(vector=[1, 0, 0], sparse_vector={"indices": [9], "values": [3.0]}, top_k=2)


def test_an_index_of_sparse_vectors_finds_those_that_share_a_term(make_index: MakeIndex):
    index = make_index("terms", dimension=None, metric="dotproduct")
    for id_, indices in (("a", [1, 2]), ("b", [2, 3]), ("c", [4, 5])):
        index.upsert(vectors=[{"id": id_, "sparse_values": {"indices": indices, "values": [1.0, 2.0]}}])
    found = index.query(sparse_vector={"indices": [2], "values": [1.0]}, top_k=5).matches
    assert [(match.id, match.score) for match in found] == [("a", 2.0), ("b", 1.0)]


def test_a_change_is_seen_by_the_next_query(make_index: MakeIndex):
    index = make_index()
    index.upsert(vectors=[("a", [1, 0, 0])])
    assert index.query(vector=[1, 0, 0], top_k=1).matches[0].score == pytest.approx(1.0)
    index.update(id="a", values=[0, 1, 0])
    assert index.query(vector=[1, 0, 0], top_k=1).matches[0].score == pytest.approx(0.0)
    index.delete(ids=["a"])
    assert index.query(vector=[1, 0, 0], top_k=1).matches == []


def test_top_k_ends_at_ten_thousand_and_a_result_at_four_megabytes(receipts: pinecone.Index):
    query: dict[str, Any] = {"vector": [1.0] * 64, "namespace": "words"}
    assert len(receipts.query(top_k=10_000, **query).matches) == 10_000
    with pytest.raises(PineconeValueError):
        receipts.query(top_k=10_001, **query)
    with pytest.raises(ApiError, match="exceeds the limit"):
        receipts.query(top_k=10_000, include_values=True, **query)


def test_a_filter_leaves_the_best_of_those_that_match(receipts: pinecone.Index, seeded: Seeded):
    wanted = {"merchant_name": "東京ストア", "receipt_id": {"$lt": 10}, "labels": "LABEL_3"}
    found = receipts.query(
        vector=[1.0] * 64, top_k=1000, namespace="words", filter=wanted, include_metadata=True
    ).matches
    matching = [v.id for v in seeded.namespaces["words"].values() if compile_filter(wanted)(v.metadata or {})]
    assert {match.id for match in found} == set(matching)
    assert len(matching) > 5
    assert all("LABEL_3" in match.metadata["labels"] for match in found)


@pytest.mark.parametrize(
    ("condition", "matching"),
    [
        ({"genre": "comedy"}, {"comedy", "both"}),
        ({"genre": {"$eq": "documentary"}}, {"both"}),
        ({"genre": {"$ne": "comedy"}}, {"drama", "text", "number"}),
        ({"genre": {"$in": ["comedy", "drama"]}}, {"comedy", "drama", "both"}),
        ({"genre": {"$in": []}}, set()),
        ({"genre": {"$nin": ["comedy", "drama"]}}, {"text", "number"}),
        ({"genre": 1}, {"number"}),
        ({"genre": "1"}, {"text"}),
        ({"year": 2020}, {"drama"}),
        ({"year": {"$gt": 2019, "$lte": 2020}}, {"drama"}),
        ({"year": {"$gte": 2020}}, {"drama", "both"}),
        ({"year": {"$lt": 2020}}, {"comedy"}),
        ({"seen": True}, {"comedy"}),
        ({"seen": 1}, set()),
        ({"seen": {"$ne": True}}, {"drama"}),
        ({"seen": {"$exists": True}}, {"comedy", "drama"}),
        ({"seen": {"$exists": False}}, {"both", "text", "number", "nothing"}),
        ({"genre": "comedy", "year": 2019}, {"comedy"}),
        ({"$and": [{"genre": "comedy"}, {"year": {"$gt": 2019}}]}, {"both"}),
        ({"$or": [{"seen": False}, {"$and": [{"genre": "comedy"}, {"seen": True}]}]}, {"drama", "comedy"}),
    ],
)
def test_each_operator(make_index: MakeIndex, condition: dict[str, Any], matching: set[str]):
    index = make_index()
    index.upsert(vectors=[(id_, [1, 2, 3], metadata) for id_, metadata in ROWS.items()])
    found = index.query(vector=[1, 2, 3], top_k=10, filter=condition).matches
    assert {match.id for match in found} == matching


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({"genre": {"$regex": "c.*"}}, r"\$regex"),
        ({"$not": {"genre": "comedy"}}, r"\$not"),
        ({"$gt": 3}, r"\$gt"),
        ({"year": {"$gt": "2019"}}, "number"),
        ({"year": {"$gte": True}}, "number"),
        ({"genre": {"$in": "comedy"}}, "list"),
        ({"genre": ["comedy"]}, r"\$eq"),
        ({"genre": {"$in": [["comedy"]]}}, r"\$in"),
        ({"genre": None}, r"\$eq"),
        ({"genre": {"$exists": 1}}, "boolean"),
        ({"genre": {}}, "genre"),
        ({"$and": []}, r"\$and"),
        ({"$or": {"genre": "comedy"}}, r"\$or"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(make_index: MakeIndex, condition: dict[str, Any], said: str):
    with pytest.raises(ApiError, match=said) as refused:
        make_index().query(vector=[1, 2, 3], top_k=10, filter=condition)
    assert refused.value.status_code == 400
