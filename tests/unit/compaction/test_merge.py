"""State Merge with the real Chroma: content for content what was sent, in a snapshot that anybody can open."""

from __future__ import annotations

import chromadb
import numpy as np
import pytest
from siltstone.deltas.batch import DeltaRows
from siltstone.settings import CollectionSettings, HnswSettings

from tests.unit.compaction.merging import DIMENSION, Bench, deletes, names, upserts


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


def again(rows: DeltaRows, **columns) -> DeltaRows:
    """The same vectors with other documents or metadata."""
    return DeltaRows.upserts(
        rows.ids, rows.embeddings, columns.get("documents", rows.documents), columns.get("metadatas", rows.metadatas)
    )


def test_the_first_version_of_a_collection(bench):
    manifest = bench.compact(upserts(names(300), 1), upserts(names(200, "s"), 1))
    assert (manifest.counts.before, manifest.counts.inserted, manifest.counts.after) == (0, 500, 500)
    assert manifest.dead_slots == 0
    bench.assert_content()


def test_rows_are_counted_by_what_differs(bench):
    first = upserts(names(100), 1)
    bench.compact(first)
    change = DeltaRows.concat(
        [
            first.slice(0, 10),  # unchanged
            again(first.slice(10, 30), metadatas=[{"n": 1, "batch_id": "b2"}] * 20),
            again(first.slice(30, 35), documents=["another text"] * 5),
            upserts(names(100)[35:42], 2),  # other vectors
            upserts(["new1", "new2", "new3"], 1),
            deletes(*names(100)[50:54], "never there"),
        ]
    )
    manifest = bench.compact(change)
    counts = manifest.counts
    assert (counts.before, counts.after) == (100, 99)
    assert (counts.unchanged, counts.metadata_only, counts.updated, counts.inserted) == (10, 25, 7, 3)
    assert counts.deleted == 4
    assert manifest.dead_slots == 5 + 7 + 4
    bench.assert_content()


def test_merging_the_same_delta_again_changes_nothing(bench):
    rows = DeltaRows.concat([upserts(names(50), 1), deletes("gone")])
    bench.compact(rows)
    manifest = bench.compact(rows)
    assert (manifest.counts.unchanged, manifest.counts.after, manifest.dead_slots) == (50, 50, 0)
    bench.assert_content()


def test_a_record_embedded_again_to_the_same_vector_gets_its_new_origin(bench):
    rows = upserts(["a"], 1, metadatas=[{"batch_id": "b1", "delta_id": "d1", "x": 0.5}])
    bench.compact(rows)
    manifest = bench.compact(again(rows, metadatas=[{"batch_id": "b2", "delta_id": "d2", "x": 0.5}]))
    assert (manifest.counts.metadata_only, manifest.counts.updated, manifest.dead_slots) == (1, 0, 0)
    bench.assert_content()


METADATA_CHANGES = [
    ({"a": 1, "b": 2}, {"b": 2}),
    ({"a": 1}, {}),
    ({}, {"a": 1}),
    ({"a": 1}, {"a": 1.0}),
    ({"a": 1}, {"a": True}),
    ({"a": "1"}, {"a": 1}),
    ({"a": ["x", "y"]}, {"a": ["y", "x"]}),
    ({"a": ["x", "y"]}, {"a": "x"}),
    ({"a": [1, 2]}, {"a": [1.0, 2.0]}),
    ({"a": [1, 2, 3]}, {"b": [True]}),
]
DOCUMENT_CHANGES = [("text", None), (None, "text"), ("text", "other"), ("", None), (None, "")]


@pytest.mark.parametrize("vector_seed", [1, 2], ids=["same vector", "another vector"])
def test_metadata_becomes_exactly_what_was_sent(bench, vector_seed):
    ids = names(len(METADATA_CHANGES))
    bench.compact(upserts(ids, 1, metadatas=[old for old, _ in METADATA_CHANGES]))
    counts = bench.compact(upserts(ids, vector_seed, metadatas=[new for _, new in METADATA_CHANGES])).counts
    changed = (len(ids), 0) if vector_seed == 1 else (0, len(ids))
    assert (counts.metadata_only, counts.updated) == changed
    bench.assert_content()


@pytest.mark.parametrize("vector_seed", [1, 2], ids=["same vector", "another vector"])
def test_a_document_becomes_exactly_what_was_sent(bench, vector_seed):
    ids = names(len(DOCUMENT_CHANGES))
    bench.compact(upserts(ids, 1, documents=[old for old, _ in DOCUMENT_CHANGES]))
    counts = bench.compact(upserts(ids, vector_seed, documents=[new for _, new in DOCUMENT_CHANGES])).counts
    assert counts.unchanged == 0
    bench.assert_content()


def test_a_row_deleted_and_written_again_has_no_past(bench):
    bench.compact(upserts(["a", "b"], 1, metadatas=[{"old": 1}, {"old": 1}]))
    bench.compact(deletes("a"))
    manifest = bench.compact(upserts(["a"], 1, metadatas=[{"new": 1}]))
    assert (manifest.counts.inserted, manifest.counts.after) == (1, 2)
    bench.assert_content()


def test_a_collection_may_become_empty_and_fill_again(bench):
    bench.compact(upserts(names(40), 1))
    manifest = bench.compact(deletes(*names(40)))
    assert (manifest.counts.after, manifest.dead_slots) == (0, 0)
    assert bench.content().ids == []
    with chromadb.PersistentClient(str(bench.download())) as client:
        assert client.get_collection("lines", embedding_function=None).count() == 0
    bench.compact(upserts(names(10), 2))
    bench.assert_content()


def test_the_first_version_may_be_empty(bench):
    assert bench.compact(deletes("never there")).counts.after == 0
    assert bench.content().ids == []


@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
def test_every_space_compares_its_own_vectors_as_equal(tmp_path, space):
    bench = Bench(tmp_path, CollectionSettings(dimension=DIMENSION, space=space))
    ids = names(200)
    scale = np.logspace(-3, 3, 200, dtype=np.float32)[:, None]
    rows = DeltaRows.upserts(ids, upserts(ids, 1).embeddings * scale)
    bench.compact(rows)
    assert bench.compact(rows).counts.unchanged == 200


def test_a_snapshot_is_a_plain_chroma_directory(tmp_path):
    hnsw = HnswSettings(ef_construction=64, ef_search=77, max_neighbors=8)
    bench = Bench(tmp_path, CollectionSettings(dimension=DIMENSION, hnsw=hnsw))
    rows = upserts(names(300), 1, metadatas=[{"page": number % 3} for number in range(300)])
    bench.compact(rows)
    with chromadb.PersistentClient(str(bench.download())) as client:
        collection = client.get_collection("lines", embedding_function=None)
        found = collection.query(query_embeddings=rows.embeddings[:20], n_results=1)
        assert [ids[0] for ids in found["ids"]] == rows.ids[:20]
        assert len(collection.get(where={"page": 1})["ids"]) == 100
        assert collection.get(where_document={"$contains": "r00042"})["ids"] == ["r00042"]
        assert {name: collection.configuration_json["hnsw"][name] for name in hnsw.model_dump()} == hnsw.model_dump()
        more = upserts(["plain"], 3)
        collection.upsert(ids=more.ids, embeddings=more.embeddings)
        assert collection.count() == 301


def test_a_shards_collection_has_the_logical_name(tmp_path):
    bench = Bench(tmp_path, CollectionSettings(dimension=DIMENSION, shards=4), collection="lines.s01")
    bench.compact(upserts(names(5), 1))
    with chromadb.PersistentClient(str(bench.download())) as client:
        assert [collection.name for collection in client.list_collections()] == ["lines"]


def test_every_check_passed_and_is_named(bench):
    checks = bench.compact(upserts(names(100), 1)).checks
    assert [check.name for check in checks] == [
        "count",
        "operations",
        "settings",
        "self_search",
        "sqlite_integrity",
        "queue_flushed",
    ]
    assert all(check.passed for check in checks)


def test_the_index_is_rebuilt_when_a_fifth_of_it_is_dead(bench):
    first = bench.compact(upserts(names(200), 1))
    some = bench.compact(deletes(*names(39)))
    assert some.dead_slots == 39
    assert index_bytes(some) == index_bytes(first)
    rebuilt = bench.compact(deletes(*names(40)))
    assert rebuilt.dead_slots == 0
    assert index_bytes(rebuilt) == index_bytes(first) * 160 // 200
    bench.assert_content()


def index_bytes(manifest) -> int:
    return next(file.size for file in manifest.files if file.path.endswith("data_level0.bin"))
