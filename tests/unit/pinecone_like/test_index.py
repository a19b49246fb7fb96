"""The calls of Pinecone's index, over collections."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pinecone
import pytest
from siltstone import Client, connect
from siltstone.errors import BadDelta, BadQuery, BadRecord, BadSettings, InvalidInput, SiltstoneError, UnknownCollection
from siltstone.pinecone_like import Index, SparseValues, Vector
from siltstone.pinecone_like import search as searching
from siltstone.settings import CollectionSettings

from tests.unit.query.house import DIMENSION, House


def vector(place: int) -> list[float]:
    return np.random.default_rng([5, place]).normal(size=DIMENSION).astype(np.float32).tolist()


def fill(index: Index, count: int, **more: Any) -> None:
    index.upsert(vectors=[(f"r{n:04d}", vector(n), {"n": n, "even": n % 2 == 0}) for n in range(count)], **more)


def nearness(place: int) -> float:
    """To the vector 99."""
    return float(np.dot(vector(place), vector(99)) / np.linalg.norm(vector(place)))


# Writing ----------------------------------------------------------------------------------------------
def test_every_shape_that_pinecones_client_takes_is_taken(index: Index) -> None:
    given = [
        {"id": "a", "values": vector(0)},
        {"id": "b", "values": tuple(vector(0)), "metadata": {"n": 1}, "sparse_values": None},
        ("c", vector(0)),
        ("d", np.array(vector(0)), {"n": 1}),
        Vector("e", vector(0)),
        Vector(id="f", values=vector(0), metadata={"n": 1}),
        pinecone.Vector("g", vector(0)),
        pinecone.Vector(id="h", values=vector(0), metadata={"n": 1}),
    ]
    assert index.upsert(vectors=given).upserted_count == 8
    found = index.fetch(ids=list("abcdefgh")).vectors
    assert [found[each].metadata for each in "abcdefgh"] == [None, {"n": 1.0}] * 4
    assert all(each.values == found["a"].values for each in found.values())
    assert np.array_equal(np.float32(found["a"].values), np.float32(vector(0)))
    assert index.upsert(iter(given), None, 3)["total_batch_count"] == 3


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (("a",), r"vectors\[1\].*tuple"),
        (("a", [1.0], {}, {}), r"vectors\[1\].*tuple"),
        ({"values": [1.0]}, r"vectors\[1\] has no id"),
        ({"id": 3, "values": [1.0]}, r"vectors\[1\] has no id"),
        ({"id": "a", "values": [1.0], "score": 1}, "score"),
        ({"id": "a"}, "'a'.*values"),
        ({"id": "a", "values": []}, "'a'.*values"),
        ({"id": "a", "values": ["x"]}, "'a'.*values"),
        ({"id": "a", "values": [[1.0]]}, "'a'.*values"),
        ({"id": "a", "values": [1.0]}, "have 1, 32 values"),
        ({"id": "a", "values": [1.0] * DIMENSION, "sparse_values": {"indices": [1], "values": [1.0]}}, "'a'.*sparse"),
        (Vector("a", [1.0] * DIMENSION, SparseValues([1], [1.0])), "'a'.*sparse"),
        (("a", [1.0] * DIMENSION, {"x": {"y": 1}}), "'a'.*'x'"),
        (("a", [1.0] * DIMENSION, {"x": [1, 2]}), "'a'.*'x'"),
        (("a", [1.0] * DIMENSION, {"$x": 1}), r"'a'.*\$x"),
        (("a", [1.0] * DIMENSION, [1]), "'a'.*metadata"),
        ("text", "str"),
    ],
)
def test_a_wrong_vector_is_refused_by_its_place_and_nothing_is_written(index: Index, wrong: Any, named: str) -> None:
    with pytest.raises(BadRecord, match=named):
        index.upsert(vectors=[("fine", vector(0)), wrong])
    assert index.fetch(["fine"]).vectors == {}


def test_what_the_store_refuses_is_refused_by_its_id(index: Index) -> None:
    for values, metadata in (([float("nan")] * DIMENSION, None), ([0.0] * DIMENSION, None), (vector(0), {"x": np.nan})):
        with pytest.raises(BadDelta, match="'bad'"):
            index.upsert(vectors=[("fine", vector(0)), ("bad", values, metadata)])
    with pytest.raises(BadRecord, match="empty"):
        index.upsert(vectors=[])
    with pytest.raises(InvalidInput, match="batch_size"):
        index.upsert(vectors=[("fine", vector(0))], batch_size=0)
    assert index.list_paginated().vectors == []


def test_of_two_with_one_id_the_last_counts(index: Index) -> None:
    assert index.upsert(vectors=[("a", vector(0), {"n": 0}), ("a", vector(1), {"n": 1})]).upserted_count == 2
    assert index.fetch(["a"]).vectors["a"].metadata == {"n": 1.0}


def test_an_upsert_replaces_a_row_as_a_whole_and_is_one_delta(index: Index, house: House) -> None:
    index.upsert(vectors=[("a", vector(0), {"old": 1, "both": 1})])
    index.upsert(vectors=[("a", vector(1), {"both": 2}), ("b", vector(2))], batch_size=1)
    assert index.fetch(["a"]).vectors["a"].metadata == {"both": 2.0}
    assert len(list(house.deltas.list("deltas/receipts/"))) == 2


def test_an_update_changes_what_it_names_and_keeps_the_rest(index: Index, client: Client, house: House) -> None:
    index.upsert(vectors=[("a", vector(0), {"n": 1, "tags": ["x"], "model": "mine", "text": "old", "e": []})])
    house.compact("receipts")
    before = client.collection("receipts", consistency="strong").get(["a"])
    assert before["documents"] == ["old"]
    index.update(id="a", set_metadata={"n": 2, "new": True, "dropped": None})
    kept = {"tags": ["x"], "model": "mine", "text": "old", "e": [], "new": True}
    assert index.fetch(["a"]).vectors["a"].metadata == {"n": 2.0, **kept}
    assert np.allclose(index.fetch(["a"]).vectors["a"].values, vector(0), rtol=1e-6)
    index.update("a", values=vector(9))
    assert index.fetch(["a"]).vectors["a"].metadata == {"n": 2.0, **kept}
    assert index.query(vector=vector(9), top_k=1).matches[0].score == pytest.approx(1, abs=1e-5)
    index.update("a", vector(8), {"text": "new"})
    after = client.collection("receipts", consistency="strong").get(["a"])
    assert after["documents"] == ["new"]
    assert after["metadatas"][0]["delta_id"] != before["metadatas"][0]["delta_id"]
    index.update(id="nobody", set_metadata={"n": 1}, namespace="words")
    assert index.list_paginated(namespace="words").vectors == []


def test_an_update_by_filter_changes_the_rows_that_pass(index: Index) -> None:
    fill(index, 6)
    filters = {"n": {"$gte": 3}, "even": True}
    assert index.update(filter=filters, set_metadata={"seen": True}, dry_run=True).matched_records == 1
    assert index.query(filter={"seen": True}, top_k=9).matches == []
    assert index.update(filter=filters, set_metadata={"seen": True})["matched_records"] == 1
    (match,) = index.query(filter={"seen": True}, top_k=9, include_metadata=True).matches
    assert (match.id, match.metadata) == ("r0004", {"n": 4.0, "even": True, "seen": True})


def test_an_update_keeps_what_the_rows_own_vector_was_made_with(index: Index, client: Client) -> None:
    receipts = client.collection("receipts", consistency="strong")
    receipts.upsert(["a"], [vector(0)], [{"n": 1, "input_sha256": "abc", "batch_id": "b1"}], ["a text"])
    index.update(id="a", set_metadata={"n": 2})
    row = receipts.get(["a"])
    assert (row["documents"], row["metadatas"][0]["input_sha256"]) == (["a text"], "abc")
    assert index.fetch(["a"]).vectors["a"].metadata == {"n": 2.0}
    index.update(id="a", values=vector(1))
    assert "batch_id" not in receipts.get(["a"])["metadatas"][0]


def test_deletes_by_ids_by_filter_and_all(index: Index) -> None:
    fill(index, 10)
    index.delete(ids=["r0001", "r0001", "nobody"])
    index.delete(filter={"n": {"$lt": 3}})
    assert [each.id for each in index.list_paginated().vectors] == [f"r{n:04d}" for n in range(3, 10)]
    index.delete(delete_all=True)
    assert index.list_paginated().vectors == []
    for never in ({"ids": ["x"]}, {"filter": {"n": 1}}, {"delete_all": True}):
        index.delete(**never, namespace="words")


# Reading ----------------------------------------------------------------------------------------------
def test_answers_are_read_by_attribute_and_by_key(index: Index) -> None:
    fill(index, 3)
    answer = index.query(vector=vector(1), top_k=2, include_metadata=True, include_values=True)
    assert answer.matches is answer["matches"]
    match = answer["matches"][0]
    assert (match["id"], match.get("score"), match.get("nothing", 7)) == ("r0001", match.score, 7)
    assert np.array_equal(np.float32(match.values), np.float32(vector(1)))
    assert answer.to_dict()["matches"][0]["metadata"] == {"n": 1.0, "even": False}
    assert ("matches" in answer, "nothing" in answer, answer.usage["read_units"]) == (True, False, 0)
    with pytest.raises(KeyError):
        _ = answer["nothing"]
    bare = index.query(vector=vector(1), top_k=1).matches[0]
    assert (bare.values, bare.metadata) == ([], None)


@pytest.mark.parametrize(
    "call", ["upsert", "update", "delete", "query", "fetch", "list", "list_paginated", "describe_index_stats"]
)
def test_a_call_takes_the_arguments_that_pinecones_own_takes(call: str) -> None:
    theirs = inspect.signature(getattr(pinecone.Index, call)).parameters
    assert set(theirs) <= set(inspect.signature(getattr(Index, call)).parameters)
    assert len(theirs) > 1


def test_shapes_have_the_fields_that_pinecones_own_have() -> None:
    from pinecone.models.vectors import responses
    from pinecone.models.vectors import vector as vectors
    from siltstone.pinecone_like import shapes

    for name in (
        "QueryResponse", "FetchResponse", "UpsertResponse", "UpdateResponse", "ListResponse", "ListItem", "Pagination",
        "NamespaceSummary", "DescribeIndexStatsResponse",
    ):  # fmt: skip
        assert list(getattr(shapes, name).__dataclass_fields__) == list(getattr(responses, name).__struct_fields__)
    for name in ("Vector", "ScoredVector"):
        assert list(getattr(shapes, name).__dataclass_fields__) == list(getattr(vectors, name).__struct_fields__)


@pytest.mark.parametrize(
    ("filters", "keeps"),
    [
        (None, lambda n: True),
        ({"even": True}, lambda n: n % 2 == 0),
        ({"n": {"$ne": 7}}, lambda n: n != 7),
        ({"n": {"$gte": 20}, "even": {"$ne": True}}, lambda n: n >= 20 and n % 2),
    ],
)
def test_more_than_the_index_gives_at_once_are_found_all_the_same(
    index: Index, filters: dict[str, Any] | None, keeps: Callable[[int], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MAX_RESULTS", 10)  # of 1,000
    fill(index, 60)
    expected = sorted(filter(keeps, range(60)), key=lambda n: -nearness(n))
    for top_k in (3, 9, 25, 60):
        found = index.query(vector=vector(99), top_k=top_k, filter=filters).matches
        assert [match.id for match in found] == [f"r{n:04d}" for n in expected[:top_k]]


def test_a_filter_that_the_index_can_not_see_finds_the_few_rows_that_pass(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MAX_RESULTS", 10)
    fill(index, 60)
    far = sorted(range(60), key=nearness)[:3]
    for n in far:
        index.update(f"r{n:04d}", set_metadata={"rare": "x"})
    found = index.query(vector=vector(99), top_k=5, filter={"rare": {"$exists": True}}).matches
    assert [match.id for match in found] == [f"r{n:04d}" for n in reversed(far)]


def test_a_filter_alone_is_a_question(index: Index) -> None:
    fill(index, 6)
    for zeros in ({}, {"vector": [0.0] * DIMENSION}):
        found = index.query(filter={"even": True}, top_k=2, include_metadata=True, **zeros)
        assert [(match.id, match.score, match.metadata["n"]) for match in found.matches] == [
            ("r0000", 0.0, 0.0),
            ("r0002", 0.0, 2.0),
        ]


def test_a_row_is_asked_with_by_its_id(index: Index) -> None:
    fill(index, 6)
    found = index.query(id="r0003", top_k=2, filter={"n": {"$ne": 3}})
    assert found.matches == index.query(vector=vector(3), top_k=2, filter={"n": {"$ne": 3}}).matches
    assert len(found.matches) == 2
    assert index.query(id="nobody", top_k=2).matches == []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"top_k": 0, "vector": [1.0]}, "top_k"),
        ({"top_k": 10_001, "vector": [1.0]}, "top_k"),
        ({"top_k": 1}, "vector or id"),
        ({"top_k": 1, "vector": [1.0], "id": "a"}, "vector or id"),
        ({"top_k": 1, "vector": [1.0], "sparse_vector": {"indices": [1], "values": [1.0]}}, "sparse"),
        ({"top_k": 1, "vector": ["x"]}, "numbers"),
        ({"top_k": 1, "vector": [1.0]}, "1.*32"),
        ({"top_k": 1, "vector": [float("nan")] * DIMENSION}, "NaN"),
        ({"top_k": 1, "vector": [1.0] * DIMENSION, "filter": {"a": {"$like": 1}}}, r"\$like"),
    ],
)
def test_a_wrong_question_is_refused_by_name(index: Index, wrong: dict[str, Any], named: str) -> None:
    fill(index, 1)
    with pytest.raises(BadQuery, match=named):
        index.query(**wrong)


def test_wrong_calls_are_refused_by_name(index: Index) -> None:
    fill(index, 1)
    for named, call in [
        ("id or filter", lambda: index.update(set_metadata={})),
        ("id or filter", lambda: index.update("a", filter={"n": 1})),
        ("by id", lambda: index.update(filter={"n": 1}, values=vector(0))),
        ("sparse", lambda: index.update("a", sparse_values={"indices": [1], "values": [1.0]})),
        ("'a'.*nested", lambda: index.update("a", set_metadata={"nested": {}})),
        ("filter is empty", lambda: index.update(filter={}, set_metadata={"n": 1})),
        ("filter is empty", lambda: index.delete(filter={})),
        ("exactly one", index.delete),
        ("exactly one", lambda: index.delete(ids=["a"], delete_all=True)),
        ("ids is empty", lambda: index.delete(ids=[])),
        ("ids is empty", lambda: index.fetch(ids=[])),
        ("a text", lambda: index.fetch(ids="r0000")),
        ("a text", lambda: index.delete(ids="r0000")),
        ("limit", lambda: index.list_paginated(limit=101)),
        ("limit", lambda: list(index.list(limit=0))),
        ("pagination_token", lambda: index.list_paginated(pagination_token="é")),
        ("filter", lambda: index.describe_index_stats(filter={"n": 1})),
    ]:
        with pytest.raises(SiltstoneError, match=named):
            call()
    assert len(index.list_paginated().vectors) == 1


def test_pages_hold_every_id_once_while_others_write(index: Index, house: House) -> None:
    fill(index, 250)
    house.compact("receipts")
    first = index.list_paginated(limit=100)
    assert first.pagination is not None
    index.delete(ids=["r0000", "r0001"])
    index.upsert(vectors=[("a-new-one", vector(0))])
    second = index.list_paginated(limit=100, pagination_token=first.pagination.next)
    third = index.list_paginated(limit=100, pagination_token=second["pagination"]["next"])
    assert third.pagination is None
    assert [each.id for page in (first, second, third) for each in page] == [f"r{n:04d}" for n in range(250)]


def test_ids_are_listed_by_prefix_the_prefix_itself_too(index: Index) -> None:
    names = ["a", "a#", "a#1", "a#2", "a#3", "b#1"]
    index.upsert(vectors=[(name, vector(0)) for name in names])
    assert [[each.id for each in page] for page in index.list(prefix="a#", limit=2)] == [["a#", "a#1"], ["a#2", "a#3"]]
    page = index.list_paginated(prefix="a#", limit=4)
    assert (page.pagination, page[0].id, len(page), page["namespace"]) == (None, "a#", 4, "")
    assert list(index.list(prefix="c")) == []


# Namespaces -------------------------------------------------------------------------------------------
def test_a_namespace_is_a_collection(index: Index, client: Client) -> None:
    fill(index, 3)
    fill(index, 2, namespace="words")
    assert index.query(vector=vector(0), top_k=9, namespace="words").namespace == "words"
    assert client.collection("words", consistency="strong").count() == 2
    stats = index.describe_index_stats()
    counts = {name: each.vector_count for name, each in stats.namespaces.items()}
    assert counts == {"__default__": 3, "words": 2}
    assert (stats.dimension, stats.metric, stats["total_vector_count"]) == (DIMENSION, "cosine", 5)
    index.delete(delete_all=True, namespace="words")
    assert index.describe_index_stats().namespaces["words"].vector_count == 0
    assert index.describe_index_stats().dimension == DIMENSION


def test_a_namespace_may_stand_for_a_collection_of_another_name(client: Client) -> None:
    index = Index(client, namespaces={"": "receipts", "2024 words": "words"})
    fill(index, 2, namespace="2024 words")
    fill(index, 1, namespace="__default__")
    assert client.collection("words", consistency="strong").count() == 2
    assert [each.id for each in index.list_paginated().vectors] == ["r0000"]
    assert set(index.describe_index_stats().namespaces) == {"__default__", "2024 words"}


def test_what_no_namespace_stands_for_is_said(client: Client) -> None:
    index = Index(client)
    with pytest.raises(BadSettings, match="SILTSTONE_COLLECTION"):
        index.upsert(vectors=[("a", vector(0))])
    with pytest.raises(UnknownCollection, match="nowhere"):
        index.upsert(vectors=[("a", vector(0))], namespace="nowhere")
    with pytest.raises(InvalidInput, match="not usable"):
        index.fetch(["a"], namespace="not usable")


def test_a_namespace_that_nothing_was_written_to_is_empty(index: Index) -> None:
    assert index.query(vector=vector(0), top_k=3).matches == []
    assert index.query(id="a", top_k=3).matches == []
    assert index.fetch(["a"]).vectors == {}
    assert list(index.list()) == []
    assert index.describe_index_stats().to_dict()["namespaces"] == {}


def test_a_snapshot_index_sees_what_is_compacted(client: Client, house: House) -> None:
    strong, index = Index(client, default="receipts"), Index(client, default="receipts", consistency="snapshot")
    fill(strong, 3)
    house.compact("receipts")
    strong.delete(ids=["r0000"])
    assert (index.describe_index_stats().total_vector_count, strong.describe_index_stats().total_vector_count) == (3, 2)


def test_a_change_through_a_snapshot_index_rests_on_what_is_there_now(client: Client, house: House) -> None:
    strong, index = Index(client, default="receipts"), Index(client, default="receipts", consistency="snapshot")
    fill(strong, 2)
    house.compact("receipts")
    strong.upsert(vectors=[("r0000", vector(7), {"pending": True}), ("new", vector(8), {"pending": True})])
    index.update(id="r0000", set_metadata={"more": 1})
    assert strong.fetch(["r0000"]).vectors["r0000"].metadata == {"pending": True, "more": 1.0}
    index.delete(filter={"pending": True})
    assert [each.id for each in strong.list_paginated()] == ["r0001"]


def test_a_sharded_collection_answers_as_one(tmp_path: Path) -> None:
    house = House(tmp_path / "house", collections=("receipts",), shards=3)
    with connect(stores=house.stores, clock=house.clock) as client:
        index = Index(client, default="receipts")
        fill(index, 40)
        assert [each.id for page in index.list(limit=7) for each in page] == [f"r{n:04d}" for n in range(40)]
        assert index.query(vector=vector(5), top_k=1, filter={"n": {"$ne": 6}}).matches[0].id == "r0005"
        index.delete(filter={"even": {"$ne": True}})
        assert index.describe_index_stats().total_vector_count == 20
    house.close()


# What the migration wrote -----------------------------------------------------------------------------
def test_what_the_migration_kept_aside_is_seen(index: Index, house: House) -> None:
    from siltstone.migration.convert import convert
    from siltstone.migration.source import SourceVector

    settings = CollectionSettings(dimension=DIMENSION)
    sparse = {"indices": [3], "values": [0.5]}
    metadata = {"n": 1.0, "model": "T", "empty": [], "text": "x"}
    rows = convert([SourceVector("a", np.float32(vector(0)), metadata, sparse)], settings).rows
    house.write(rows, "receipts")
    fetched = index.fetch(["a"]).vectors["a"]
    assert fetched.metadata == metadata
    assert fetched.sparse_values == SparseValues([3], [0.5])
    index.update("a", set_metadata={"n": 2})
    fetched = index.fetch(["a"]).vectors["a"]
    assert (fetched.sparse_values, fetched.metadata["n"]) == (SparseValues([3], [0.5]), 2.0)
    assert [match.id for match in index.query(filter={"model": "T"}, top_k=3).matches] == ["a"]


@pytest.mark.parametrize("text", ["not JSON", "[1]", "7"])
def test_what_somebody_else_wrote_where_the_migration_keeps_things_is_a_field(
    index: Index, client: Client, text: str
) -> None:
    client.collection("receipts").upsert(["a"], [vector(0)], [{"pinecone_json": text}])
    index.update("a", set_metadata={"n": 1})
    assert index.fetch(["a"]).vectors["a"].metadata == {"pinecone_json": text, "n": 1.0}
    assert len(index.query(filter={"pinecone_json": text, "n": {"$exists": True}}, top_k=1).matches) == 1


def test_pinecones_own_package_is_not_needed(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['pinecone'] = None\n"
        "from siltstone.pinecone_like import Pinecone, Vector\n"
        "print('boto3' in sys.modules and 'chromadb' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert (done.stdout.strip(), done.returncode) == ("False", 0), done.stderr
