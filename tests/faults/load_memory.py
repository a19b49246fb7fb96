"""The memory of one state in its own process: ``python -m tests.faults.load_memory STATE NUMBER ROWS DIMENSION DIR``.

The bucket is in the same process, so what lies in it is subtracted. The last line printed: ``own``, the most that the
state took of this process's memory, and ``reader``, of the process that read the deltas for it, in bytes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from siltstone.compaction.acquire_lock import acquire_lock
from siltstone.compaction.download import download
from siltstone.compaction.messages import AcquireLockInput, RunInput
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.vetting import vetting
from siltstone.settings import CollectionSettings, RunLimits
from siltstone.stores.objects_memory import MemoryObjects

from tests.faults.fuzz.watch import forget_peak, peak
from tests.faults.load import Stage

MB = 2**20
PART_ROWS = RunLimits().part_rows
ROW_BYTES = 4_000  # of a row besides its vector: id, document, metadata as Python has them


def download_bound(delta_rows: int, dimension: int, run_rows: int) -> int:
    """Download: 200 MB + 4 x the largest delta + 8 x a part + 200 bytes for each row of the run (its id is remembered).

    A delta's or part's size: its rows x (4 x dimension + `ROW_BYTES`). Of the process that reads deltas first: the same
    without parts.
    """
    row = 4 * dimension + ROW_BYTES
    return 200 * MB + 4 * delta_rows * row + (8 * min(PART_ROWS, run_rows) * row if run_rows else 0) + 200 * run_rows


def merge_bound(index_bytes: int, dimension: int) -> int:
    """Merge: 300 MB + 2 x the index file (it is held while it is written) + 6 x a part."""
    return 300 * MB + 2 * index_bytes + 6 * PART_ROWS * (4 * dimension + ROW_BYTES)


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
    if state == "download":
        fill(stage, "n", int(number), int(count), int(dimension))
    else:
        if int(number):
            fill(stage, "b", 1, int(number), int(dimension))
            stage.compact("lines")
        fill(stage, "n", 1, int(count), int(dimension))
    run = acquire_lock(AcquireLockInput(collection="lines", execution="measured", index=0), stage.stores, stage.clock)
    found: dict[str, int] = {}
    before, stored = forget_peak(), _stored(stage)
    downloaded = download(RunInput(run=run), stage.stores, stage.clock, workspace=stage.workspace / "download")
    found["rows"], found["reader"] = downloaded.rows, _peak_of_reader()
    if state == "merge":
        vetting.close()
        before, stored = forget_peak(), _stored(stage)
        stage.merge(run, downloaded)
        sizes = [info.size for info in stage.stores.snapshots.list("staging/") if info.key.endswith("data_level0.bin")]
        found["index"] = max(sizes)
        found["rows"] += int(number)
    found["own"] = peak() - before - (_stored(stage) - stored)
    sys.stdout.write(json.dumps(found) + "\n")


def _stored(stage: Stage) -> int:
    """Bytes in the bucket, older versions too."""
    store = stage.stores.snapshots
    assert isinstance(store, MemoryObjects)
    return sum(len(entry.body or b"") for entries in store._history.values() for entry in entries)


def _peak_of_reader() -> int:
    process = vetting._process
    if process is None:
        return 0
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    os.environ.setdefault("RAYON_NUM_THREADS", "2")
    main(*sys.argv[1:])
