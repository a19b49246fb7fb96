"""The main job as a newcomer runs it: the demo as a command, on receipts and texts, twice, with processes killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromadb
import pytest
from siltstone.records.record import make_records
from siltstone.settings import CollectionBook
from siltstone.sources.receipt import Receipt
from siltstone.sources.receipts import read_receipts
from siltstone_local.sample import RECEIPTS, TEXTS

pytestmark = pytest.mark.e2e

_RECEIPTS = 6
_TEXTS = 5
_KEYS = {
    "receipts", "submitted", "embedded", "rejected", "deltas", "vectors", "versions", "snapshots", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("demo")
    for source, kept in ((RECEIPTS, _RECEIPTS), (TEXTS, _TEXTS)):
        lines = source.read_text().splitlines(keepends=True)[:kept]
        (folder / source.name).write_text("".join(lines))
    with (folder / RECEIPTS.name).open("a") as receipts:
        receipts.write('{"image_id": "not a uuid", "receipt_id": 1, "merchant_name": null, "lines": []}\n')
    yield folder
    shutil.rmtree(folder)


def _demo(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "siltstone_local.demo", "--state", str(folder / "state")]
    command += ["--receipts", str(folder / RECEIPTS.name), "--texts", str(folder / TEXTS.name), *more]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400, check=False)


def _result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def first(inputs: Path) -> dict[str, Any]:
    """A run during which every warm function process is killed again and again: no state may rest on one."""
    killed: list[int] = []
    stop = threading.Event()

    def kill_idle_processes() -> None:
        # Between two states of a run a function's process has nothing to do; a busy one would be a crash, which is
        # another test's subject. A process that burnt no processor time for a while is idle.
        used: dict[int, tuple[int, float]] = {}
        while not stop.wait(0.1):
            for folder in (inputs / "state" / "aws" / "scratch").glob("*/*"):
                if folder.name.isdigit() and _idle(int(folder.name), used):
                    os.kill(int(folder.name), signal.SIGKILL)
                    killed.append(int(folder.name))

    killer = threading.Thread(target=kill_idle_processes)
    killer.start()
    try:
        result = _result(_demo(inputs))
    finally:
        stop.set()
        killer.join()
    assert len(killed) >= 5
    return result


def _idle(pid: int, used: dict[int, tuple[int, float]]) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    ticks = int(fields[11]) + int(fields[12])
    if used.get(pid, (-1, 0.0))[0] != ticks:
        used[pid] = (ticks, time.monotonic())
    return fields[0] == "S" and time.monotonic() - used[pid][1] > 3.0


@pytest.fixture(scope="module")
def second(inputs: Path, first: dict[str, Any]) -> dict[str, Any]:
    return _result(_demo(inputs))


def _expected_ids(inputs: Path, collection: str) -> list[str]:
    settings = CollectionBook().resolve(collection)
    receipts = [item for item in read_receipts(inputs / RECEIPTS.name) if isinstance(item, Receipt)]
    return sorted(record.record_id for each in receipts for record in make_records(each, collection, settings))


def test_the_last_line_is_one_object_with_exactly_the_promised_keys(first: dict[str, Any]) -> None:
    assert set(first) == _KEYS


@pytest.mark.parametrize("collection", ["lines", "words"])
def test_plain_chroma_finds_each_record_of_each_receipt_exactly_once(
    inputs: Path, first: dict[str, Any], collection: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(first["snapshots"][collection], tmp_path / collection)
    client = chromadb.PersistentClient(str(copy))
    found = client.get_collection(collection).get(include=["documents", "metadatas"])
    assert sorted(found["ids"]) == _expected_ids(inputs, collection)
    assert all(found["documents"] or []) and all("delta_id" in metadata for metadata in found["metadatas"] or [])


def test_texts_have_a_collection_of_their_own(first: dict[str, Any]) -> None:
    assert first["vectors"]["texts"] == _TEXTS


def test_the_ledger_balances(inputs: Path, first: dict[str, Any]) -> None:
    records = sum(len(_expected_ids(inputs, collection)) for collection in ("lines", "words")) + _TEXTS
    assert first["submitted"] == first["embedded"] + first["rejected"] == records
    assert first["receipts"] == _RECEIPTS


def test_a_second_run_submits_nothing_doubles_nothing_and_moves_no_version(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert {**second, "seconds": None} == {**first, "seconds": None}


def test_nothing_that_was_started_is_left_running(inputs: Path, second: dict[str, Any]) -> None:
    ours = str(inputs / "state").encode()
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if ours in _read(path)]
    assert left == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--receipts", "no/such/folder"], "no/such/folder does not exist"),
        (["--embeddings", "magic"], "EMBEDDINGS is `local`, or `openai`"),
    ],
)
def test_a_wrong_argument_is_one_clear_line_and_nothing_is_started(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = _demo(tmp_path, *arguments)
    assert done.returncode == 1
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "state").exists()
