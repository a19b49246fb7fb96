"""One contract for Chroma and its in-memory twin."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from siltstone.errors import BadRecord, SnapshotDamaged
from siltstone.settings import HnswSettings
from siltstone.snapshots.chroma import open_chroma
from siltstone.stores.vectors import CollectionSpec, OpenStore, Rows
from siltstone.stores.vectors_memory import open_memory

SPEC = CollectionSpec("lines", 8, "cosine", HnswSettings(ef_construction=50, ef_search=60, max_neighbors=12))


@pytest.fixture(params=[open_chroma, open_memory], ids=["chroma", "memory"])
def open_store(request) -> OpenStore:
    return request.param


def rows(ids: list[str], seed: int = 0, **columns) -> Rows:
    vectors = np.random.default_rng(seed).normal(size=(len(ids), 8)).astype(np.float32)
    return Rows(
        ids,
        vectors,
        columns.get("documents", [f"text {row}" for row in ids]),
        columns.get("metadatas", [{"n": number} for number in range(len(ids))]),
    )


def assert_same(found: Rows, wanted: Rows) -> None:
    assert (found.ids, found.documents, found.metadatas) == (wanted.ids, wanted.documents, wanted.metadatas)
    np.testing.assert_allclose(found.embeddings, wanted.embeddings, rtol=1e-6)


def test_rows_come_back_in_the_order_they_are_asked_for(tmp_path, open_store):
    with closing(open_store(tmp_path / "s", SPEC)) as store:
        store.insert(rows(["c", "a", "b"]))
        assert_same(store.get(["b", "missing", "c"]), rows(["c", "a", "b"]).take([2, 0]))
        assert store.ids() == ["a", "b", "c"]
        assert store.known(["a", "x"]) == {"a"}
        assert store.count() == 3


def test_rows_outlive_closing_and_opening_again(tmp_path, open_store):
    many = rows([f"r{number:05d}" for number in range(3_000)])  # more than one batch
    with closing(open_store(tmp_path / "s", SPEC)) as store:
        store.insert(many)
    with closing(open_store(tmp_path / "s", SPEC)) as store:
        assert_same(store.get(many.ids), many)
        assert store.spec() == SPEC


def test_nothing_asked_for_is_nothing_found(tmp_path, open_store):
    with closing(open_store(tmp_path / "s", SPEC)) as store:
        store.insert(rows([]))
        store.delete([])
        store.patch_metadata([], [])
        assert len(store.get([])) == len(store.get(["x"])) == store.count() == 0
        assert (store.known([]), store.ids()) == (set(), [])
        assert store.spec().dimension == 0


def test_rows_may_lack_documents_and_metadata(tmp_path, open_store):
    bare = rows(["a", "b", "c"], documents=[None, "", "x"], metadatas=[{}, {}, {"k": 1}])
    with closing(open_store(tmp_path / "s", SPEC)) as store:
        store.insert(bare)
        assert_same(store.get(["a", "b", "c"]), bare)


def test_a_patch_sets_clears_and_leaves_keys(tmp_path, open_store):
    with closing(open_store(tmp_path / "s", SPEC)) as store:
        store.insert(rows(["a", "b"], metadatas=[{"k": 1, "stays": True, "tags": ["x", "y"]}, {"k": 1}]))
        store.patch_metadata(["b", "a"], [{"k": None}, {"k": 1.5, "tags": ["z"], "new": "n"}])
        found = store.get(["a", "b"])
        assert found.metadatas == [{"k": 1.5, "stays": True, "tags": ["z"], "new": "n"}, {}]
        assert found.documents == ["text a", "text b"]


def test_a_deleted_row_comes_back_as_new_without_its_past(tmp_path, open_store):
    with closing(open_store(tmp_path / "s", SPEC)) as store:
        store.insert(rows(["a", "b"], metadatas=[{"old": 1}, {"old": 1}]))
        store.delete(["a"])
        assert store.ids() == ["b"]
        again = rows(["a"], seed=1, documents=[None], metadatas=[{"new": 2}])
        store.insert(again)
        assert_same(store.get(["a"]), again)


@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
def test_the_nearest_distance_is_the_spaces_own(tmp_path, open_store, space):
    spec = CollectionSpec("lines", 8, space, HnswSettings())
    some = rows([f"r{number}" for number in range(50)])
    query = np.random.default_rng(7).normal(size=(3, 8)).astype(np.float32)
    with closing(open_store(tmp_path / "s", spec)) as store:
        assert store.nearest(query) == [float("inf")] * 3
        store.insert(some)
        found = store.nearest(query)
    stored = some.embeddings
    if space == "l2":
        exact = ((stored[None] - query[:, None]) ** 2).sum(axis=2)
    elif space == "ip":
        exact = 1 - query @ stored.T
    else:
        exact = 1 - (query @ stored.T) / np.outer(np.linalg.norm(query, axis=1), np.linalg.norm(stored, axis=1))
    np.testing.assert_allclose(found, exact.min(axis=1), rtol=1e-4, atol=1e-5)


def test_a_vector_of_another_dimension_is_refused(tmp_path, open_store):
    with closing(open_store(tmp_path / "s", SPEC)) as store:
        store.insert(rows(["a"]))
        with pytest.raises(BadRecord):
            store.insert(Rows(["b"], np.ones((1, 9), np.float32), [None], [{}]))


def test_repeated_ids_are_refused(tmp_path, open_store):
    with closing(open_store(tmp_path / "s", SPEC)) as store, pytest.raises(BadRecord):
        store.insert(rows(["a", "a"]))


def test_another_collections_directory_is_refused(tmp_path, open_store):
    with closing(open_store(tmp_path / "s", SPEC)) as store:
        store.insert(rows(["a"]))
    other = CollectionSpec("words", 8, "cosine", SPEC.hnsw)
    with pytest.raises(SnapshotDamaged):
        open_store(tmp_path / "s", other)


def test_a_directory_without_its_main_file_is_damaged_and_not_made_anew(tmp_path, open_store):
    with closing(open_store(tmp_path / "s", SPEC)) as store:
        store.insert(rows(["a"]))
    for path in (tmp_path / "s").iterdir():
        if path.is_file() and path.suffix in {".sqlite3", ".json"}:
            path.unlink()
    with pytest.raises(SnapshotDamaged):
        open_store(tmp_path / "s", SPEC)


def test_finishing_passes_its_findings_and_leaves_the_files_alone_afterwards(tmp_path, open_store):
    store = open_store(tmp_path / "s", SPEC)
    store.insert(rows(["a", "b"]))
    findings = store.finish()
    assert findings
    assert all(finding.passed for finding in findings)
    before = contents(tmp_path / "s")
    store.close()
    assert contents(tmp_path / "s") == before


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
