"""Upserts, updates and deletes, through the real client, and what the server refuses where the client lets it pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pinecone
import pytest
from pinecone.errors.exceptions import ApiError, NotFoundError, PineconeTypeError
from siltstone_local.pinecone_server import PineconeThread

MakeIndex = Callable[..., pinecone.Index]


def refused(server: PineconeThread, vector: dict[str, Any], name: str = "small") -> str:
    """What the server says to an upsert of ``vector``, past the client's own checks."""
    reply = httpx.post(
        f"{server.host(name)}/vectors/upsert", json={"vectors": [vector]}, headers={"Api-Key": "any"}, timeout=10
    )
    assert reply.status_code == 400, reply.text
    assert (reply.json()["code"], reply.json()["details"]) == (3, [])
    return reply.json()["message"]


def test_an_upsert_adds_and_replaces_whole_vectors(make_index: MakeIndex):
    index = make_index()
    assert index.upsert(vectors=[("a", [1, 2, 3], {"k": "v"}), ("b", [4, 5, 6])], namespace="n").upserted_count == 2
    index.upsert(vectors=[{"id": "a", "values": [7, 8, 9]}], namespace="n")
    found = index.fetch(ids=["a", "b"], namespace="n")
    assert (found.vectors["a"].values, found.vectors["a"].metadata) == ([7.0, 8.0, 9.0], None)
    assert index.describe_index_stats().namespaces["n"].vector_count == 2


def test_values_are_kept_as_float32(make_index: MakeIndex):
    index = make_index()
    given = [0.1, 1 / 3, 1e-40]
    index.upsert(vectors=[("a", given)])
    fetched = np.asarray(index.fetch(ids=["a"]).vectors["a"].values, np.float32)
    assert fetched.tobytes() == np.asarray(given, np.float32).tobytes()


def test_metadata_keep_strings_numbers_booleans_and_lists_of_strings(make_index: MakeIndex):
    index = make_index()
    given = {"text": "ß\n", "whole": 3, "part": 0.1, "yes": True, "tags": ["a", "b"], "none": None, "": "empty"}
    index.upsert(vectors=[("a", [1, 2, 3], given)])
    kept = index.fetch(ids=["a"]).vectors["a"].metadata
    assert kept == {"text": "ß\n", "whole": 3.0, "part": 0.1, "yes": True, "tags": ["a", "b"], "": "empty"}
    assert isinstance(kept["whole"], float)
    assert kept["yes"] is True


@pytest.mark.parametrize("value", [["a", 1], [1.5], {"x": 1}, [None], [["a"]]])
def test_other_metadata_are_refused_by_the_client_and_by_the_server(
    make_index: MakeIndex, server: PineconeThread, value: object
):
    index = make_index()
    with pytest.raises(PineconeTypeError, match="string, number, boolean or list of strings"):
        index.upsert(vectors=[("a", [1, 2, 3], {"field": value})])
    said = refused(server, {"id": "a", "values": [1, 2, 3], "metadata": {"field": value}})
    assert "string, number, boolean or list of strings" in said
    assert "'field'" in said


def test_forty_kilobytes_of_metadata_are_taken_and_more_are_not(make_index: MakeIndex):
    index = make_index()
    index.upsert(vectors=[("a", [1, 2, 3], {"text": "x" * 40_000})])
    with pytest.raises(ApiError, match="exceeds the limit of 40960 bytes"):
        index.upsert(vectors=[("b", [1, 2, 3], {"text": "x" * 41_000})])


def test_a_thousand_vectors_are_taken_at_once_and_more_are_not(make_index: MakeIndex):
    index = make_index()
    vectors = [(f"v{i}", [1, 2, 3]) for i in range(1001)]
    assert index.upsert(vectors=vectors[:1000]).upserted_count == 1000
    with pytest.raises(ApiError, match="maximum of 1000"):
        index.upsert(vectors=vectors)
    assert index.upsert(vectors=vectors, batch_size=500, show_progress=False).upserted_count == 1001


def test_a_request_of_more_than_two_megabytes_is_refused_whole(make_index: MakeIndex):
    index = make_index()
    with pytest.raises(ApiError, match="exceeds the maximum supported size"):
        index.upsert(vectors=[(f"v{i}", [1, 2, 3], {"text": "x" * 30_000}) for i in range(80)])
    assert index.describe_index_stats().total_vector_count == 0


def test_another_dimension_is_refused(make_index: MakeIndex):
    with pytest.raises(ApiError, match="Vector dimension 2 does not match the dimension of the index 3"):
        make_index().upsert(vectors=[("a", [1, 2])])


def test_nothing_of_an_upsert_is_kept_where_one_vector_is_refused(make_index: MakeIndex):
    index = make_index()
    with pytest.raises(ApiError, match=r"non-zero value. Vector ID 'b' contains only zeros"):
        index.upsert(vectors=[("a", [1, 2, 3]), ("b", [0, 0, 0])])
    assert index.fetch(ids=["a"]).vectors == {}


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        ({"id": "é", "values": [1, 2, 3]}, "ASCII"),
        ({"id": "", "values": [1, 2, 3]}, "1 to 512"),
        ({"id": "x" * 513, "values": [1, 2, 3]}, "1 to 512"),
        ({"id": 7, "values": [1, 2, 3]}, "must be a string"),
        ({"id": "a\0b", "values": [1, 2, 3]}, "NUL"),
        ({"id": "a", "values": [1, "2", 3]}, "list of numbers"),
        ({"id": "a", "values": [1, 1e39, 3]}, "32-bit"),
        ({"id": "a", "values": [1, 2, 3], "metadata": {"$set": 1}}, r"'$'"),
        ({"id": "a", "values": [1, 2, 3], "sparseValues": {"indices": [1, 2], "values": [0.5]}}, "same length"),
        ({"id": "a", "values": [1, 2, 3], "sparseValues": {"indices": [1, 1], "values": [1, 2]}}, "unique"),
        ({"id": "a", "values": [1, 2, 3], "sparseValues": {"indices": [-1], "values": [1]}}, "32-bit"),
        ({"id": "a", "sparseValues": {"indices": [1], "values": [1]}}, "dimension"),
    ],
)
def test_what_pinecone_can_not_hold_is_refused(
    make_index: MakeIndex, server: PineconeThread, vector: dict[str, Any], said: str
):
    make_index()
    assert said in refused(server, vector)


def test_sparse_values_are_kept_beside_the_dense(make_index: MakeIndex):
    index = make_index()
    sparse = {"indices": [4_294_967_295, 3], "values": [0.1, 0.5]}
    index.upsert(vectors=[{"id": "a", "values": [1, 2, 3], "sparse_values": sparse}])
    kept = index.fetch(ids=["a"]).vectors["a"].sparse_values
    assert kept.indices == sparse["indices"]
    assert kept.values == pytest.approx(sparse["values"])


def test_an_update_changes_what_it_names(make_index: MakeIndex):
    index = make_index()
    index.upsert(vectors=[("a", [1, 2, 3], {"x": 1, "y": "z"})])
    index.update(id="a", set_metadata={"x": 2, "new": True})
    index.update(id="a", values=[4, 5, 6], sparse_values={"indices": [1], "values": [0.5]})
    kept = index.fetch(ids=["a"]).vectors["a"]
    assert kept.metadata == {"x": 2.0, "y": "z", "new": True}
    assert (kept.values, kept.sparse_values.indices) == ([4.0, 5.0, 6.0], [1])
    index.update(id="nobody", values=[4, 5, 6])
    assert index.describe_index_stats().total_vector_count == 1


def test_an_update_by_filter_says_how_many_it_changes_and_changes_none_on_a_dry_run(make_index: MakeIndex):
    index = make_index()
    index.upsert(vectors=[(f"v{i}", [1, 2, 3], {"odd": bool(i % 2)}) for i in range(10)])
    wanted = {"odd": {"$eq": True}}
    assert index.update(filter=wanted, set_metadata={"seen": True}, dry_run=True).matched_records == 5
    assert index.fetch(ids=["v1"]).vectors["v1"].metadata == {"odd": True}
    assert index.update(filter=wanted, set_metadata={"seen": True}).matched_records == 5
    assert index.fetch(ids=["v1"]).vectors["v1"].metadata == {"odd": True, "seen": True}


def test_vectors_are_deleted_by_id_by_filter_and_all(make_index: MakeIndex):
    index = make_index()
    index.upsert(vectors=[(f"v{i}", [1, 2, 3], {"i": i}) for i in range(10)], namespace="n")
    index.delete(ids=["v0", "nobody"], namespace="n")
    index.delete(filter={"i": {"$gte": 5}}, namespace="n")
    assert [item.id for page in index.list(namespace="n") for item in page] == ["v1", "v2", "v3", "v4"]
    index.delete(delete_all=True, namespace="n")
    assert index.describe_index_stats().total_vector_count == 0
    with pytest.raises(NotFoundError, match="Namespace not found"):
        index.delete(delete_all=True, namespace="nowhere")


def test_a_namespace_is_made_and_deleted_with_all_that_is_in_it(make_index: MakeIndex):
    index = make_index()
    index.create_namespace(name="odd/name here")
    index.upsert(vectors=[("a", [1, 2, 3])], namespace="odd/name here")
    assert index.describe_namespace(name="odd/name here").record_count == 1
    index.delete_namespace(name="odd/name here")
    assert list(index.list_namespaces()) == []
    assert index.query(vector=[1, 2, 3], top_k=1, namespace="odd/name here").matches == []


def test_an_index_of_sparse_vectors_takes_no_others(make_index: MakeIndex, server: PineconeThread):
    index = make_index("terms", dimension=None, metric="dotproduct")
    index.upsert(vectors=[{"id": "a", "sparse_values": {"indices": [1, 2], "values": [0.5, 1.0]}}])
    kept = index.fetch(ids=["a"]).vectors["a"]
    assert (kept.values, kept.sparse_values.values) == ([], [0.5, 1.0])
    assert "at least one value" in refused(server, {"id": "b", "values": []}, "terms")
    assert "does not match" in refused(server, {"id": "b", "values": [1, 2]}, "terms")
