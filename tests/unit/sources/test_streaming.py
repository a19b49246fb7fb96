"""Large files are loaded in bounded memory: measured as the peak of a process that does only this."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FILE_BYTES = 80 * 2**20
BOUND = 48 * 2**20  # over what the process needs for a small file; measured: 16 MB, of Parquet 32 MB
TEXT_CHARACTERS = 20_000  # digits: many characters to a token, so that the text is long and its tokens quick to count
DIGITS = (b"0123456789" * 26)[:256]
TEXTS = FILE_BYTES // TEXT_CHARACTERS

LOAD = """
import sys
from siltstone.clock import SystemClock
from siltstone.settings import CollectionBook
from siltstone.sources.files import Input
from siltstone.sources.intake import take_in
from siltstone.sources.texts import read_texts
from siltstone.stores import Stores
from siltstone.stores.hints import MemoryHints
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.sources_memory import MemorySources


class Bodies(MemoryObjects):
    "S3 as far as this process's memory goes: what is put is elsewhere."

    def put(self, key, body, **_):
        return ""


def load(path):
    clock = SystemClock()
    deltas, snapshots = Bodies(clock), Bodies(clock)
    stores = Stores(deltas, snapshots, MemoryLeases(), MemoryLedger(), MemorySources(), MemoryHints(), CollectionBook())
    return take_in(read_texts(Input.of(path), "texts"), stores, clock)


def status(field):
    with open("/proc/self/status") as lines:
        return next(int(each.split()[1]) * 1024 for each in lines if each.startswith(field))


load(sys.argv[1])
before = status("VmRSS")
loaded = load(sys.argv[2])
print(loaded.report.new, loaded.rejected, status("VmHWM") - before)
"""


def texts(number: int) -> Iterator[str]:
    chance = random.Random(7)
    for _ in range(number):
        yield chance.randbytes(TEXT_CHARACTERS).translate(DIGITS).decode()


def write(path: Path, number: int) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "text", "year"])
            rows.writerows([f"n{place}", text, "2024"] for place, text in enumerate(texts(number)))
    elif path.suffix == ".parquet":
        table = pa.table({"id": [f"n{place}" for place in range(number)], "text": list(texts(number))})
        # One row group, as pandas writes it, in pages of 1 MB, as they are with texts of a usual length.
        pq.write_table(
            table, path, row_group_size=number, compression="none", use_dictionary=False, write_batch_size=50
        )
    else:
        path.write_text(
            "\n".join(json.dumps({"id": f"n{place}", "text": text}) for place, text in enumerate(texts(number)))
        )
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is asked of Linux")
@pytest.mark.parametrize("name", ["texts.jsonl", "texts.csv", "texts.parquet"])
def test_a_file_far_larger_than_the_bound_is_loaded_within_it(tmp_path: Path, name: str) -> None:
    small, large = write(tmp_path / f"small-{name}", 10), write(tmp_path / f"large-{name}", TEXTS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(small), str(large)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    loaded, rejected, peak = map(int, done.stdout.split())
    assert (loaded, rejected) == (TEXTS, 0)
    assert peak < BOUND < 0.7 * large.stat().st_size
