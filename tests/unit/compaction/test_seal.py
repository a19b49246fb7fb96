"""Sealing finds what is wrong with a directory before it is published."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from siltstone.compaction.documents import Part, RowCounts, StagedFile
from siltstone.compaction.seal import seal
from siltstone.errors import CheckFailed, SnapshotDamaged
from siltstone.settings import HnswSettings
from siltstone.snapshots.chroma import SQLITE_FILE, open_chroma
from siltstone.snapshots.files import files_in, sha256_of
from siltstone.stores.vectors import CollectionSpec, Rows

SPEC = CollectionSpec("lines", 16, "cosine", HnswSettings())
ROWS = 300


def part(upserts: int, deletes: int = 0) -> Part:
    file = StagedFile(path="0.parquet", key="k", etag="e", size=1, sha256="0" * 64)
    return Part(file=file, upserts=upserts, deletes=deletes)


def rows(count: int, dimension: int = 16) -> Rows:
    vectors = np.random.default_rng(0).normal(size=(count, dimension)).astype(np.float32)
    return Rows([f"r{number:04d}" for number in range(count)], vectors, [None] * count, [{}] * count)


@pytest.fixture
def folder(tmp_path) -> Path:
    with closing(open_chroma(tmp_path / "s", SPEC)) as store:
        store.insert(rows(ROWS))
    return tmp_path / "s"


COUNTS = RowCounts(inserted=ROWS, after=ROWS)


def test_a_good_directory_passes_every_check_and_its_hashes_stay(folder):
    checks = seal(folder, SPEC, COUNTS, [part(ROWS)], open_chroma)
    assert {check.name for check in checks} >= {"count", "operations", "settings", "self_search", "sqlite_integrity"}
    assert all(check.passed for check in checks)
    before = {path: sha256_of(folder / path) for path in files_in(folder)}
    assert set(before) >= {SQLITE_FILE}
    assert {path: sha256_of(folder / path) for path in files_in(folder)} == before


def test_sealing_again_passes_again(folder):
    for _ in range(2):
        assert seal(folder, SPEC, COUNTS, [part(ROWS)], open_chroma)


@pytest.mark.parametrize("space", ["cosine", "l2", "ip"])
def test_vectors_of_any_length_and_their_twins_find_themselves(tmp_path, space):
    spec = CollectionSpec("lines", 16, space, HnswSettings())
    some = rows(ROWS)
    some.embeddings[:] *= np.logspace(-2, 2, ROWS, dtype=np.float32)[:, None]
    some.embeddings[1::2] = some.embeddings[::2]  # each vector twice
    with closing(open_chroma(tmp_path / "s", spec)) as store:
        store.insert(some)
    assert seal(tmp_path / "s", spec, COUNTS, [part(ROWS)], open_chroma)


@pytest.mark.parametrize(
    ("counts", "parts", "named"),
    [
        (RowCounts(inserted=ROWS + 1, after=ROWS + 1), [part(ROWS + 1)], "count: 300 rows, 300 ids, 301 expected"),
        (RowCounts(inserted=ROWS, after=ROWS + 1), [part(ROWS)], "count"),
        (COUNTS, [part(ROWS), part(1)], "operations: 300 of 301 upserts"),
        (RowCounts(before=ROWS + 2, deleted=2, after=ROWS), [part(0, deletes=1)], "operations"),
    ],
)
def test_counts_that_do_not_add_up_are_named(folder, counts, parts, named):
    with pytest.raises(CheckFailed, match=named):
        seal(folder, SPEC, counts, parts, open_chroma)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (CollectionSpec("lines", 16, "l2", SPEC.hnsw), "space is 'cosine' instead of 'l2'"),
        (CollectionSpec("lines", 8, "cosine", SPEC.hnsw), "dimension is 16 instead of 8"),
        (CollectionSpec("lines", 16, "cosine", HnswSettings(max_neighbors=32)), "hnsw"),
    ],
)
def test_settings_that_differ_are_named(folder, spec, named):
    with pytest.raises(CheckFailed, match=named):
        seal(folder, spec, COUNTS, [part(ROWS)], open_chroma)


def test_an_index_that_answers_wrongly_is_found(folder):
    """Other vectors inside the index file: it opens, counts right, and no row is near itself."""
    overwrite(folder, 0, np.random.default_rng(1).normal(size=(ROWS, 16)).astype(np.float32))
    with pytest.raises(CheckFailed, match="self_search"):
        seal(folder, SPEC, COUNTS, [part(ROWS)], open_chroma)


def test_an_index_that_is_half_blank_is_found(folder):
    """As after a write that stopped: every size and count is right."""
    overwrite(folder, ROWS // 2, np.zeros((ROWS // 2, 16), np.float32))
    with pytest.raises(CheckFailed, match="self_search"):
        seal(folder, SPEC, COUNTS, [part(ROWS)], open_chroma)


def test_an_index_that_is_cut_is_found(folder):
    path = next(folder.rglob("data_level0.bin"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises((CheckFailed, SnapshotDamaged)):
        seal(folder, SPEC, COUNTS, [part(ROWS)], open_chroma)


def overwrite(folder: Path, first: int, vectors: np.ndarray) -> None:
    """Put other vectors into the index's slots from ``first`` on."""
    path = next(folder.rglob("data_level0.bin"))
    slots = np.frombuffer(path.read_bytes(), np.uint8).copy().reshape(ROWS, -1)
    links = 4 + 4 * 2 * SPEC.hnsw.max_neighbors  # of level 0, before the vector
    slots[first:, links : links + 4 * SPEC.dimension] = vectors.view(np.uint8)
    path.write_bytes(slots.tobytes())


def test_a_damaged_database_is_found(folder):
    with closing(sqlite3.connect(folder / SQLITE_FILE)) as database:
        roots = dict(database.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'").fetchall())
        size = database.execute("PRAGMA page_size").fetchone()[0]
    body = bytearray((folder / SQLITE_FILE).read_bytes())
    start = (roots["embeddings_queue_config"] - 1) * size
    body[start : start + 8] = b"\xff" * 8
    (folder / SQLITE_FILE).write_bytes(bytes(body))
    with pytest.raises((CheckFailed, SnapshotDamaged)):
        seal(folder, SPEC, COUNTS, [part(ROWS)], open_chroma)


def test_an_empty_collection_can_be_sealed(tmp_path):
    open_chroma(tmp_path / "s", SPEC).close()
    checks = seal(tmp_path / "s", SPEC, RowCounts(), [part(0, deletes=3)], open_chroma)
    assert all(check.passed for check in checks)


def test_a_store_with_a_filled_queue_is_not_published(folder, monkeypatch):
    monkeypatch.setattr("siltstone.snapshots.chroma._LOADING_THRESHOLD", 1_000)
    with closing(open_chroma(folder, SPEC)) as store:
        store.collection.modify(configuration={"hnsw": {"sync_threshold": 1_000}})
        store.delete(["r0000", "r0001"])
    with pytest.raises(CheckFailed, match=r"queue_flushed: [23] rows"):
        seal(folder, SPEC, RowCounts(inserted=ROWS, deleted=2, after=ROWS - 2), [part(ROWS, 2)], open_chroma)
