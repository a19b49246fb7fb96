"""What Arrow does not survive, or not within its means, is a verdict over one delta."""

from __future__ import annotations

import gzip
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import decode, encode
from siltstone.deltas.delta_reader import memory_for
from siltstone.deltas.legacy_json import unpacked_size
from siltstone.deltas.listing import list_pending
from siltstone.deltas.quarantine import quarantine_delta, replay
from siltstone.deltas.vetting import Vetting, vetting
from siltstone.errors import BadDelta, SchemaTooNew, StoreUnavailable

from tests.faults.fuzz import parquet
from tests.faults.fuzz.bombs import aborting, page_bomb
from tests.faults.fuzz.watch import peak_of, peak_of_reading
from tests.unit.deltas.house import House, header, settings, upserts


@pytest.fixture
def vet() -> Iterator[Vetting]:
    found = Vetting()
    yield found
    found.close()


def written(folder: Path, body: bytes) -> Path:
    path = folder / "delta.parquet"
    path.write_bytes(body)
    return path


def test_a_healthy_delta_is_told_by_its_header(vet: Vetting, tmp_path: Path) -> None:
    rows = upserts(["a", "b"])
    assert vet.header(written(tmp_path, encode(rows, header(rows)))) == header(rows)


def test_what_ends_the_reader_is_a_verdict_and_the_next_delta_gets_another_reader(vet: Vetting, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(BadDelta, match="its reader ended with SIGABRT"):
            vet.header(written(tmp_path, aborting()))
        assert vet.header(written(tmp_path, parquet.seeds()[2])).count == 300


@pytest.mark.parametrize("column", range(5))
def test_a_small_file_that_asks_for_two_gigabytes_does_not_get_them(vet: Vetting, tmp_path: Path, column: int) -> None:
    body = page_bomb(column)
    assert len(body) < 100_000
    with pytest.raises(BadDelta, match="takes more than"):
        vet.header(written(tmp_path, body))
    assert peak_of_reading(tmp_path / "delta.parquet") < 200 * 2**20


def test_one_that_keeps_the_processor_too_long_is_stopped(tmp_path: Path) -> None:
    hasty = Vetting(patience=0.0)
    rows = DeltaRows.upserts([f"{n}" for n in range(50_000)], np.ones((50_000, 512), np.float32))
    path = written(tmp_path, encode(rows, header(rows)))
    try:
        with pytest.raises(BadDelta, match="SIGXCPU"):
            for _ in range(100):  # the system counts whole seconds
                hasty.header(path)
    finally:
        hasty.close()


def test_the_reader_gives_back_what_a_large_delta_took(vet: Vetting, tmp_path: Path) -> None:
    rows = DeltaRows.upserts([f"{n}" for n in range(50_000)], np.ones((50_000, 1_024), np.float32))
    large, small = written(tmp_path, encode(rows, header(rows))), tmp_path / "small.parquet"
    small.write_bytes(parquet.seeds()[0])
    assert vet.header(large).count == 50_000
    pid = pid_of(vet)
    assert vet.header(small).count == 1
    assert pid_of(vet) == pid
    assert memory_of(vet) < 200 * 2**20 < peak_of_reading(large)


def test_a_newer_schema_is_not_quarantined(vet: Vetting, tmp_path: Path) -> None:
    rows = upserts(["a"])
    with pytest.raises(SchemaTooNew):
        vet.header(written(tmp_path, encode(rows, header(rows, schema_version=2))))


def test_a_reader_that_was_killed_has_no_verdict(vet: Vetting, tmp_path: Path) -> None:
    path = written(tmp_path, parquet.seeds()[0])
    vet.header(path)
    os.kill(pid_of(vet), signal.SIGKILL)
    with pytest.raises(StoreUnavailable, match="ended with -9"):
        vet.header(path)
    assert vet.header(path).count == 1


def test_a_file_that_the_system_does_not_give_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "gone.parquet")


def test_gzip_that_becomes_gigabytes_of_empty_lists_does_not_get_them(vet: Vetting, tmp_path: Path) -> None:
    body = gzip.compress(b"[" + b"[]," * (12 * 2**20) + b"[]]", 1)  # 36 MB of text, 800 MB of lists
    path = written(tmp_path, body)
    with pytest.raises(BadDelta, match="takes more than"):
        vet.convert(path, tmp_path / "out.parquet", "texts", settings())
    code = (
        f"from siltstone.deltas.delta_reader import *; convert(Path({str(path)!r}), Path('/dev/null'), 'texts', None)"
    )
    assert peak_of(code) < 600 * 2**20
    assert not (tmp_path / "out.parquet").exists()


def test_the_size_of_what_is_packed_is_known_before_it_is_unpacked() -> None:
    assert unpacked_size(gzip.compress(b"x" * 3_000_001)) == 3_000_001
    assert unpacked_size(b"no gzip") == 0


def test_the_largest_deltas_that_are_allowed_fit_their_memory(vet: Vetting, tmp_path: Path) -> None:
    texts = [random.Random(n).randbytes(2**19).hex() for n in range(20)]
    rows = DeltaRows.upserts([f"{n}" for n in range(20)], np.ones((20, 8), np.float32), texts)
    path = written(tmp_path, encode(rows, header(rows)))
    assert vet.header(path).count == 20
    assert peak_of_reading(path) < memory_for(20, 8)


def test_what_crashed_its_readers_can_be_asked_for_again_without_a_crash(tmp_path: Path) -> None:
    house = House()
    house.deltas.put("deltas/texts/bad/embeddings.parquet", aborting())
    house.settle()
    [delta] = list_pending(house.deltas, "texts", house.stores.settings).deltas
    quarantine_delta(delta, "why", header=None, run="r", stores=house.stores, clock=house.clock)
    with pytest.raises(BadDelta, match="SIGABRT"):
        replay("texts", "bad", stores=house.stores, clock=house.clock, workspace=tmp_path)
    assert list(tmp_path.iterdir()) == []
    vetting.close()


def pid_of(vet: Vetting) -> int:
    assert vet._process is not None
    return vet._process.pid


def memory_of(vet: Vetting) -> int:
    lines = Path(f"/proc/{pid_of(vet)}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
