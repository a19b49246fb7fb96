"""What Chroma itself must keep doing for a snapshot to be one: measured on 1.5.9, checked on every upgrade."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import chromadb
import numpy as np
import pytest
from siltstone.compaction.merge_rows import FLOAT_TOLERANCE, same_vectors
from siltstone.settings import HnswSettings
from siltstone.snapshots.chroma import SQLITE_FILE, open_chroma
from siltstone.stores.vectors import CollectionSpec, Rows

SPEC = CollectionSpec("lines", 8, "cosine", HnswSettings(ef_construction=50, ef_search=60, max_neighbors=12))


def rows(count: int, start: int = 0) -> Rows:
    ids = [f"r{number:05d}" for number in range(start, start + count)]
    vectors = np.random.default_rng(start).normal(size=(count, 8)).astype(np.float32)
    return Rows(ids, vectors, [f"text {row}" for row in ids], [{"n": number % 7} for number in range(count)])


def ask(folder: Path, statement: str) -> list[tuple]:
    with closing(sqlite3.connect(folder / SQLITE_FILE)) as database:
        return database.execute(statement).fetchall()


def test_a_finished_directory_is_flushed_vacuumed_and_analyzed(tmp_path):
    store = open_chroma(tmp_path / "s", SPEC)
    store.insert(rows(400))
    store.delete(rows(400).ids[:300])
    findings = store.finish()
    assert {finding.name: finding.passed for finding in findings} == {"sqlite_integrity": True, "queue_flushed": True}
    assert ask(tmp_path / "s", "SELECT count(*) FROM embeddings_queue") == [(1,)]
    assert ask(tmp_path / "s", "PRAGMA freelist_count") == [(0,)]
    assert ask(tmp_path / "s", "SELECT count(*) > 0 FROM sqlite_stat1") == [(1,)]


def test_opening_a_directory_that_others_wrote_empties_its_queue(tmp_path):
    with chromadb.PersistentClient(str(tmp_path / "s")) as client:
        collection = client.create_collection(
            "lines",
            configuration={"hnsw": {"space": "cosine", "ef_construction": 50, "ef_search": 60, "max_neighbors": 12}},
            embedding_function=None,
        )
        tail = rows(700)
        collection.upsert(ids=tail.ids, embeddings=tail.embeddings)
    assert ask(tmp_path / "s", "SELECT count(*) FROM embeddings_queue") == [(700,)]
    with closing(open_chroma(tmp_path / "s", SPEC)) as store:
        assert ask(tmp_path / "s", "SELECT count(*) FROM embeddings_queue") == [(1,)]
        assert store.count() == 700
        assert store.spec() == SPEC


def test_every_writing_call_empties_the_queue(tmp_path):
    with closing(open_chroma(tmp_path / "s", SPEC)) as store:
        for write in (
            lambda: store.insert(rows(30)),
            lambda: store.patch_metadata(["r00001", "r00002"], [{"n": 9}, {"n": None}]),
            lambda: store.delete(["r00003", "r00004"]),
        ):
            write()
            assert ask(tmp_path / "s", "SELECT count(*) FROM embeddings_queue") == [(1,)]


def test_a_finished_directory_takes_a_plain_clients_writes_at_chromas_own_pace(tmp_path):
    store = open_chroma(tmp_path / "s", SPEC)
    store.insert(rows(100))
    store.finish()
    with chromadb.PersistentClient(str(tmp_path / "s")) as client:
        collection = client.get_collection("lines", embedding_function=None)
        assert collection.configuration_json["hnsw"]["sync_threshold"] == 1_000
        more = rows(5, start=1_000)
        collection.upsert(ids=more.ids, embeddings=more.embeddings)
        assert collection.count() == 105  # the queue's last row was kept, so sequence numbers went on
        assert collection.query(query_embeddings=more.embeddings[:1], n_results=1)["ids"] == [["r01000"]]


def test_floats_come_back_to_the_last_bit_or_nearly(tmp_path):
    """`siltstone.compaction.merge_rows.FLOAT_TOLERANCE` rests on it: an unchanged row must not look changed."""
    some = rows(1_000)
    values = np.random.default_rng(0).uniform(-2, 2, 1_000) * np.logspace(-200, 200, 1_000)
    short = [float(f"{value:.15g}") for value in np.random.default_rng(1).uniform(-1e3, 1e3, 1_000)]
    metadatas = [{"x": float(value), "short": few} for value, few in zip(values, short, strict=True)]
    with closing(open_chroma(tmp_path / "s", SPEC)) as store:
        store.insert(Rows(some.ids, some.embeddings, some.documents, metadatas))
        found = store.get(some.ids).metadatas
    np.testing.assert_allclose([metadata["x"] for metadata in found], values, rtol=FLOAT_TOLERANCE)
    assert [metadata["short"] for metadata in found] == short


def test_closing_releases_every_file(tmp_path):
    if not Path("/proc/self/fd").exists():
        pytest.skip("only where open files can be listed")
    store = open_chroma(tmp_path / "s", SPEC)
    store.insert(rows(10))
    assert opened(tmp_path)
    store.close()
    until = time.monotonic() + 2  # Chroma's threads let go about a millisecond later
    while opened(tmp_path) and time.monotonic() < until:
        time.sleep(0.001)
    assert not opened(tmp_path)


def test_deleting_and_inserting_again_takes_a_new_slot_and_an_index_keeps_the_dead_one(tmp_path):
    """The arithmetic of ``dead_slots`` rests on it."""
    with closing(open_chroma(tmp_path / "s", SPEC)) as store:
        store.insert(rows(100))
        slot = index_bytes(tmp_path / "s") / 100
        store.delete(rows(100).ids[:40])
        store.insert(rows(100).take(range(40)))
        assert index_bytes(tmp_path / "s") == slot * 140


def test_rebuilding_again_and_again_does_not_wear_the_vectors_off(tmp_path):
    """Under cosine a vector comes back rounded: were that to add up, unchanged rows would look changed some day."""
    first = rows(50)
    with closing(open_chroma(tmp_path / "s", SPEC)) as store:
        store.insert(first)
        for _ in range(30):
            found = store.get(first.ids)
            store.delete(first.ids)
            store.insert(found)
        worn = store.get(first.ids).embeddings
    assert same_vectors(worn, first.embeddings, "cosine").all()


def test_list_values_go_with_their_rows_though_row_ids_are_given_again(tmp_path):
    """sqlite gives the largest row id again once its row is gone: values left behind would turn up in another row."""
    lists = [{"l": [number, -number], "s": ["b", "a", "b"], "f": [0.5], "t": [True]} for number in range(50)]
    with closing(open_chroma(tmp_path / "s", SPEC)) as store:
        store.insert(replace(rows(50), metadatas=lists))
        given = dict(ask(tmp_path / "s", "SELECT embedding_id, id FROM embeddings"))
        store.delete(rows(50).ids[25:])
        store.patch_metadata(
            rows(50).ids[:2], [{"l": None, "s": "now one", "f": [2.5, 1.5, 2.5]}, dict.fromkeys("lsft")]
        )
        store.finish()
    with closing(open_chroma(tmp_path / "s", SPEC)) as store:
        store.insert(replace(rows(25, start=100), metadatas=[{"n": 1}, {}, {"l": [7]}, *[{}] * 22]))
        store.finish()
    again = dict(ask(tmp_path / "s", "SELECT embedding_id, id FROM embeddings"))
    assert {again[row] for row in rows(25, start=100).ids} == {given[row] for row in rows(50).ids[25:]}
    with closing(open_chroma(tmp_path / "s", SPEC)) as store:
        found = store.get([*rows(25).ids, *rows(25, start=100).ids]).metadatas
        assert found[:4] == [{"s": "now one", "f": [2.5, 1.5, 2.5], "t": [True]}, {}, *lists[2:4]]
        assert found[4:25] == lists[4:25]
        assert found[25:] == [{"n": 1}, {}, {"l": [7]}, *[{}] * 22]
        assert store.collection.get(where={"l": {"$contains": 30}}, include=[])["ids"] == []
    left = "SELECT count(*) FROM embedding_metadata_array WHERE id NOT IN (SELECT id FROM embeddings)"
    assert ask(tmp_path / "s", left) == [(0,)]


def test_a_deleted_collection_leaves_list_values_behind_so_nothing_here_deletes_one(tmp_path):
    """Chroma 1.5.9. On the day that it mends this, the first half fails and both may go."""
    with chromadb.PersistentClient(str(tmp_path / "s")) as client:
        first = client.create_collection("first", embedding_function=None)
        first.upsert(ids=["a"], embeddings=[[1.0, 0.0]], metadatas=[{"l": [1, 2]}])
        client.delete_collection("first")
        second = client.create_collection("second", embedding_function=None)
        second.upsert(ids=["b"], embeddings=[[1.0, 0.0]], metadatas=[{"n": 1}])
        assert second.get(ids=["b"])["metadatas"] == [{"n": 1, "l": [1, 2]}]
    project = Path(__file__).parents[3]
    parts = ("core", "functions", "cli", "local", "scripts")
    code = [path for part in parts for path in (project / part).rglob("*.py")]
    assert len(code) > 100
    assert [path for path in code if re.search(r"\bdelete_collection\b|\.reset\(\)", path.read_text())] == []


def opened(folder: Path) -> list[str]:
    found: list[str] = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found.append(str(link.readlink()))
    return [target for target in found if target.startswith(str(folder))]


def index_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("data_level0.bin"))


def test_a_full_disk_is_told_from_damage(tmp_path):
    """On a real disk of 8 MB: Chroma itself says no more than that its index could not be written."""
    (tmp_path / "disk").mkdir()
    mounted = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=8m tmpfs {tmp_path}/disk && exec "$@"', "sh"]
    try:
        subprocess.run([*mounted, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only where a small disk can be mounted")
    program = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from siltstone.errors import DiskFull\n"
        "from siltstone.settings import HnswSettings; from siltstone.snapshots.chroma import open_chroma\n"
        "from siltstone.stores.vectors import CollectionSpec, Rows\n"
        "store = open_chroma(Path(sys.argv[1]) / 's', CollectionSpec('lines', 512, 'cosine', HnswSettings()))\n"
        "vectors = np.random.default_rng(0).normal(size=(1000, 512)).astype(np.float32)\n"
        "try:\n"
        "    for batch in range(10):\n"
        "        store.insert(Rows([f'{batch}-{n}' for n in range(1000)], vectors, [None] * 1000, [{}] * 1000))\n"
        "except DiskFull: sys.exit(42)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [*mounted, sys.executable, "-c", program, str(tmp_path / "disk")]
    assert subprocess.run(command, env=environment, check=False).returncode == 42
