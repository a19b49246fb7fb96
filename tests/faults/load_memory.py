"""The memory of one state in its own process: ``python -m tests.faults.load_memory STATE NUMBER ROWS DIMENSION DIR``.

The buckets are on disk. The last line printed: ``own``, the most that the state took of this process's memory, and
``reader``, of the process that read the deltas for it, in bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from siltstone.clock import ManualClock
from siltstone.compaction.acquire_lock import acquire_lock
from siltstone.compaction.download import download
from siltstone.compaction.messages import AcquireLockInput, RunInput
from siltstone.deltas.batch import DeltaRows
from siltstone.settings import CollectionSettings, RunLimits
from siltstone.stores.objects import StoredObject
from siltstone.stores.objects_memory import MemoryObjects, _Entry
from ulid import ULID

from tests.faults.fuzz.watch import forget_peak, peak, peak_of_reading
from tests.faults.load import Stage

MB = 2**20
PART_ROWS = RunLimits().part_rows
ROW_BYTES = 4_000  # of a row besides its vector: id, document, metadata as Python has them


class DiskBody:
    """A body in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return self.path.stat().st_size


class DiskObjects(MemoryObjects):
    """The store in memory, but for the bodies: every read is a new copy, as from S3."""

    def __init__(self, clock: ManualClock, folder: Path) -> None:
        super().__init__(clock)
        self._folder = folder
        folder.mkdir(parents=True)

    def get(self, key: str, *, if_match: str | None = None) -> StoredObject:
        found = super().get(key, if_match=if_match)
        return StoredObject(found.info, cast(DiskBody, found.body).path.read_bytes())

    def get_file(self, key: str, path: Path, *, if_match: str | None = None) -> None:
        shutil.copyfile(cast(DiskBody, super().get(key, if_match=if_match).body).path, path)

    def put_file(self, key: str, path: Path, *, sha256: str) -> str:
        copy = self._folder / str(ULID())
        shutil.copyfile(path, copy)
        return self._add(key, copy).etag

    def _append(self, key: str, body: bytes | None) -> _Entry:
        if body is None:
            return super()._append(key, None)
        path = self._folder / str(ULID())
        path.write_bytes(body)
        return self._add(key, path)

    def _add(self, key: str, path: Path) -> _Entry:
        with path.open("rb") as file:
            etag = hashlib.file_digest(file, "md5").hexdigest()
        entry = replace(super()._append(key, b""), body=cast(bytes, DiskBody(path)), etag=etag)
        self._history[key][-1] = entry
        return entry


def download_bound(delta_rows: int, dimension: int, run_rows: int) -> int:
    """Download: 150 MB + 3 x the largest delta + 5 x a part + 200 bytes for each row of the run (its id is remembered).

    A delta's or part's size: its rows x (4 x dimension + `ROW_BYTES`). The process that reads deltas first: the same
    without parts and ids (``run_rows`` 0). Measured with 50,000 rows of 1,536: 1,260 and 1,360 MB, one after the other.
    """
    row = 4 * dimension + ROW_BYTES
    return 150 * MB + 3 * delta_rows * row + (5 * min(PART_ROWS, run_rows) * row if run_rows else 0) + 200 * run_rows


def merge_bound(index_bytes: int, dimension: int) -> int:
    """Merge: 250 MB + 2 x the index file (it is held while it is written) + 2 x a part.

    Measured with 5,000 rows of 1,536 merged into 20,000, an index of 157 MB: 440 MB.
    """
    return 250 * MB + 2 * index_bytes + 2 * PART_ROWS * (4 * dimension + ROW_BYTES)


def fill(stage: Stage, prefix: str, deltas: int, count: int, dimension: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(deltas):
        ids = [f"{prefix}{number}-{each}" for each in range(count)]
        metadatas = [{"line_id": each, "merchant_name": "Kiosk", "x": each / 7} for each in range(count)]
        vectors = rng.normal(size=(count, dimension)).astype(np.float32)
        stage.write(DeltaRows.upserts(ids, vectors, [f"text {row_id}" for row_id in ids], metadatas), "lines")
    stage.settle()


def main(state: str, number: str, count: str, dimension: str, folder: str) -> None:
    limits = RunLimits(max_rows=10**7, max_bytes=2**40)
    stage = Stage(Path(folder), {"lines": CollectionSettings(dimension=int(dimension), limits=limits)})
    buckets = [DiskObjects(stage.clock, Path(folder) / name) for name in ("deltas", "snapshots")]
    stage.stores = replace(stage.stores, deltas=buckets[0], snapshots=buckets[1])
    if state == "download":
        fill(stage, "n", int(number), int(count), int(dimension))
    else:
        if int(number):
            fill(stage, "b", 1, int(number), int(dimension))
            stage.compact("lines")
        fill(stage, "n", 1, int(count), int(dimension))
    run = acquire_lock(AcquireLockInput(collection="lines", execution="measured", index=0), stage.stores, stage.clock)
    found: dict[str, int] = {}
    stage.workspace.mkdir(parents=True, exist_ok=True)
    largest = max(stage.stores.deltas.list("deltas/"), key=lambda info: info.size)
    stage.stores.deltas.get_file(largest.key, stage.workspace / "largest.parquet")
    reader = peak_of_reading(stage.workspace / "largest.parquet")
    before = forget_peak()
    downloaded = download(RunInput(run=run), stage.stores, stage.clock, workspace=stage.workspace / "download")
    found["rows"], found["own"], found["reader"] = downloaded.rows, peak() - before, reader
    if state == "merge":
        before = forget_peak()
        stage.merge(run, downloaded)
        sizes = [info.size for info in stage.stores.snapshots.list("staging/") if info.key.endswith("data_level0.bin")]
        found["index"] = max(sizes)
        found["rows"] += int(number)
        found["own"] = peak() - before
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("RAYON_NUM_THREADS", "2")
    main(*sys.argv[1:])
