"""20,000 vectors over the real client, throttled, and killed at ten places, end up with identical content."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from siltstone.clients.in_process import StoresTransport
from siltstone.clock import SystemClock
from siltstone.deltas.codec import decode
from siltstone.migration.patience import PatientIndex
from siltstone.migration.source_pinecone import open_pinecone
from siltstone.migration.verifying import verify_migration
from siltstone.query.index_chroma import open_index
from siltstone_local.emulator import Emulator
from siltstone_local.paths import PROJECT
from siltstone_local.pinecone_server import Faults, PineconeServer

from tests.faults.migrating import jobs, make_stage

PATH = os.pathsep.join(str(PROJECT / each) for each in (".", "core", "cli", "local"))
pytestmark = pytest.mark.faults

# Whose, which call, the how many-th of this process, and whether it was done. In this order, one after the other.
PLACES = [
    ("index", "list_ids", 1, False),
    ("index", "fetch", 3, True),
    ("deltas", "put", 1, False),
    ("deltas", "put", 1, True),
    ("ledger", "save_migration", 1, False),
    ("ledger", "save_migration", 1, True),
    ("index", "list_ids", 33, True),
    ("deltas", "put", 4, True),
    ("ledger", "save_migration", 5, False),
    ("ledger", "save_migration", 6, True),
]


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(tmp_path / "aws") as emulator:
        yield emulator


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PineconeServer]:
    with PineconeServer(tmp_path / "pinecone") as server:
        yield server


def migrate(**asked: Any) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.migrating", json.dumps(asked)],
        cwd=PROJECT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(PROJECT / each) for each in (".", "core", "cli", "local")),
        },
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()[-2_000:]
    return done.returncode


def test_killed_at_ten_places_and_throttled_it_ends_with_identical_content(
    emulator: Emulator, server: PineconeServer, tmp_path: Path
) -> None:
    seeded = server.fill("receipts", old_metadata=True)
    server.set_faults(Faults(throttle_every_nth=9, retry_after_seconds=0.0, fail_every_nth=31))
    stores, clock = make_stage(emulator.endpoint), SystemClock()
    where = {"endpoint": emulator.endpoint, "host": server.host("receipts")}

    for place in PLACES:
        assert migrate(**where, place=place) == -signal.SIGKILL, place
    assert migrate(**where) == 0
    assert any(answer.endswith(" 429") for answer in server.requests())

    # Every row was written exactly once: killed after the delta, the page's delta was found and left as it was.
    written = [row for each in stores.deltas.list("deltas/") for row in decode(stores.deltas.get(each.key).body)[1].ids]
    assert len(written) == len(seeded) == 20_000
    versions = list(stores.deltas.list_versions("deltas/"))
    assert len(versions) == len({each.key for each in versions}) == 20
    for namespace, count in {"words": 12_000, "lines": 7_000, "__default__": 1_000}.items():
        item = stores.ledger.read_migration("crash", namespace)
        assert item is not None
        assert (item.status, item.counts.listed, item.counts.written) == ("COPIED", count, count)

    index = PatientIndex(open_pinecone(host=server.host("receipts"), api_key="any"), clock, first_pause=0.05)
    here = StoresTransport(stores, clock, pytest.fail, open_index, tmp_path / "reading")
    report = verify_migration(jobs(index, stores), index, here, clock)
    here.close()
    assert report.equal, report.text()
    assert sum(each.bitwise for each in report.namespaces) == 20_000


def test_it_goes_on_after_the_index_itself_was_killed(emulator: Emulator, server: PineconeServer) -> None:
    seeded = server.fill("receipts", vectors=3_000)
    stores = make_stage(emulator.endpoint)
    where = {"endpoint": emulator.endpoint, "host": server.host("receipts")}
    assert migrate(**where, place=("deltas", "put", 2, True)) == -signal.SIGKILL
    server.kill()
    server.start()
    assert migrate(**where) == 0
    written = [row for each in stores.deltas.list("deltas/") for row in decode(stores.deltas.get(each.key).body)[1].ids]
    assert len(written) == len(seeded)
