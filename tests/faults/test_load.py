"""Many deltas, large ones, many collections, a long life, memory, no disk: small here, in earnest in `make faults`."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chromadb
import numpy as np
import pytest
from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.compaction import list_collections as listing
from siltstone.compaction.retention import ATTEMPT_SECONDS
from siltstone.compaction.rollback import rollback
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.legacy_chroma import write_chroma_delta
from siltstone.errors import DiskFull
from siltstone.settings import CollectionBook, CollectionSettings, RetentionSettings
from siltstone.stores.objects_memory import MemoryObjects

from tests.faults.load import Oracle, Stage
from tests.faults.load_memory import download_bound, merge_bound

SMALL = CollectionSettings(dimension=8, retention=RetentionSettings(keep_seconds=0, keep_at_least=3, grace_seconds=0))
IN_EARNEST = pytest.mark.faults


def rows(ids: list[str], seed: int, dimension: int = 8) -> DeltaRows:
    vectors = np.random.default_rng(seed).normal(size=(len(ids), dimension)).astype(np.float32)
    return DeltaRows.upserts(ids, vectors, [f"text {row_id} of {seed}" for row_id in ids])


@pytest.mark.parametrize("deltas", [100, pytest.param(10_000, marks=IN_EARNEST)])
def test_many_small_deltas_are_merged_in_their_order(tmp_path: Path, deltas: int) -> None:
    stage, oracle, rng = Stage(tmp_path / "scratch", {"lines": SMALL}), Oracle(), random.Random(deltas)
    for number in range(deltas):
        ids = [f"r{each}" for each in rng.sample(range(deltas // 2), 10)]
        change = DeltaRows.deletions(ids, 8) if number % 7 == 6 else rows(ids, number)
        stage.write(change, "lines", oracle)
    stage.settle()
    runs = 0
    while stage.pending("lines"):
        stage.compact("lines")
        runs += 1
        assert runs <= 1 + deltas * 10 // SMALL.limits.max_rows
    stage.check("lines", oracle, tmp_path / "read")


@pytest.mark.parametrize(("collections", "at_once"), [(5, 2), pytest.param(300, listing.MAX_DUE, marks=IN_EARNEST)])
def test_the_machine_starts_itself_again_until_no_collection_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collections: int, at_once: int
) -> None:
    monkeypatch.setattr(listing, "MAX_DUE", at_once)
    stage = Stage(tmp_path / "scratch", {"tenant-*": SMALL})
    oracles: dict[str, Oracle] = {f"tenant-{number:03d}": {} for number in range(collections)}
    for number, (name, oracle) in enumerate(oracles.items()):
        stage.write(rows([f"{name}-{each}" for each in range(3)], number), name, oracle)
    stage.settle()
    done: list[str] = []
    more = True
    while more:
        names, more = stage.execute()
        assert len(names) <= at_once
        done += names
    assert done == list(oracles)  # the oldest first, none twice, none forgotten
    for name, oracle in oracles.items():
        stage.check(name, oracle, tmp_path / "read" / name)


@pytest.mark.parametrize("compactions", [10, pytest.param(300, marks=IN_EARNEST)])
def test_a_collection_lives_long(tmp_path: Path, compactions: int) -> None:
    """Upserts, deletes and rollbacks; dead slots gather and the index is rebuilt; retention removes what is old."""
    stage, oracle, rng = Stage(tmp_path / "scratch", {"lines": SMALL}), Oracle(), random.Random(compactions)
    past: dict[str, Oracle] = {}
    rebuilds = rollbacks = dead = 0
    for number in range(compactions):
        for part in range(rng.choice((1, 1, 3))):
            ids = [f"r{each}" for each in rng.sample(range(60), rng.choice((1, 8, 25)))]
            change = DeltaRows.deletions(ids, 8) if rng.random() < 0.3 else rows(ids, 10 * number + part)
            stage.write(change, "lines", oracle)
        stage.settle()
        stage.clock.advance(ATTEMPT_SECONDS)
        stage.compact("lines")
        assert stage.pending("lines") == 0
        manifest = stage.manifest("lines")
        assert manifest.counts.after == len(oracle)
        rebuilds += manifest.dead_slots < dead
        dead = manifest.dead_slots
        assert dead <= 0.2 * (dead + len(oracle)) or not dead
        past[manifest.version] = dict(oracle)
        if number % 5 == 4:
            stage.check("lines", oracle, tmp_path / f"read-{number}")
            kept = [version for version in past if version in _versions(stage) and version != manifest.version]
            back = rng.choice(kept)
            stage.clock.advance(1)
            now = rollback("lines", back, stage.stores, stage.clock).version
            rollbacks += 1
            oracle = dict(past[back])
            past[now] = dict(oracle)
            dead = stage.manifest("lines").dead_slots
            stage.check("lines", oracle, tmp_path / f"back-{number}")
        assert len(_versions(stage)) <= 6
    assert rebuilds >= compactions // 20
    assert rollbacks == compactions // 5
    assert not stage.locked("lines")


def _versions(stage: Stage) -> set[str]:
    prefixes = stage.stores.snapshots.list_prefixes(keys.versions("lines"))
    return {prefix.split("/")[-2] for prefix in prefixes} - {"latest", "pins"}


def measured(state: str, deltas: int, count: int, dimension: int, folder: Path) -> dict[str, int]:
    """What one state takes in a process of its own, bytes; see `tests.faults.load_memory`."""
    command = [sys.executable, "-m", "tests.faults.load_memory", state, str(deltas), str(count), str(dimension)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("deltas", "count", "dimension"),
    [
        (3, 500, 256),
        pytest.param(1, 50_000, 1_536, marks=IN_EARNEST),
        pytest.param(20, 5_000, 1_536, marks=IN_EARNEST),
        pytest.param(4, 50_000, 256, marks=IN_EARNEST),
        pytest.param(500, 200, 768, marks=IN_EARNEST),
    ],
)
def test_download_takes_what_the_formula_says(tmp_path: Path, deltas: int, count: int, dimension: int) -> None:
    found = measured("download", deltas, count, dimension, tmp_path)
    assert found["rows"] == deltas * count
    assert found["own"] <= download_bound(count, dimension, deltas * count), found
    assert found["reader"] <= download_bound(count, dimension, 0), found


@pytest.mark.parametrize(
    ("base", "count", "dimension"),
    [
        (1_000, 500, 256),
        pytest.param(20_000, 5_000, 1_536, marks=IN_EARNEST),
        pytest.param(50_000, 5_000, 768, marks=IN_EARNEST),
        pytest.param(0, 50_000, 1_536, marks=IN_EARNEST),
    ],
)
def test_merge_takes_what_the_formula_says(tmp_path: Path, base: int, count: int, dimension: int) -> None:
    found = measured("merge", base, count, dimension, tmp_path)
    assert found["rows"] == base + count
    assert found["own"] <= merge_bound(found["index"], dimension), found


@IN_EARNEST
@pytest.mark.parametrize("threshold", [1_000, 50_000])
def test_a_large_chroma_directory_is_no_bad_delta(tmp_path: Path, threshold: int) -> None:
    """Its reader's memory and time are limited: healthy ones must fit, flushed or all in the queue."""
    book = CollectionBook(collections={"lines": CollectionSettings()}, legacy_delta_collection="lines")
    count = 20_000 if threshold == 1_000 else 5_000
    with chromadb.PersistentClient(str(tmp_path / "made")) as client:
        configuration = {"hnsw": {"space": "cosine", "sync_threshold": threshold}}
        made = client.create_collection("lines", embedding_function=None, configuration=configuration)  # type: ignore[arg-type]
        for start in range(0, count, 2_500):
            some = rows([f"r{number}" for number in range(start, start + 2_500)], start, 1_536)
            made.upsert(some.ids, some.embeddings, documents=some.documents)  # type: ignore[arg-type]
    store = MemoryObjects(ManualClock())
    write_chroma_delta(tmp_path / "made", "lines", store=store, settings=book, workspace=tmp_path)
    assert any(info.key.endswith("chroma.sqlite3") for info in store.list("delta/"))


@contextmanager
def disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A small file system in memory at ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


@pytest.mark.parametrize("kilobytes", [500, *(pytest.param(size, marks=IN_EARNEST) for size in range(100, 2_000, 100))])
def test_a_disk_that_is_full_in_the_middle_of_a_merge_costs_nothing(tmp_path: Path, kilobytes: int) -> None:
    stage, oracle = Stage(tmp_path / "scratch", {"lines": SMALL}), Oracle()
    stage.write(rows([f"r{number}" for number in range(1_000)], 1), "lines", oracle)
    stage.settle()
    stage.compact("lines")
    before = stage.version("lines")
    stage.write(rows([f"r{number}" for number in range(500, 3_000)], 2), "lines", oracle)
    stage.settle()
    with disk(tmp_path / "scratch" / "merge", kilobytes), pytest.raises(DiskFull):
        stage.compact("lines")
    assert stage.version("lines") == before
    assert stage.pending("lines") == 1
    assert not stage.locked("lines")
    stage.compact("lines")
    stage.check("lines", oracle, tmp_path / "read")
