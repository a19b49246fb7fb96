"""The command as an operator uses it, against the local stack: what it shows is there, what was damaged it finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from siltstone import keys
from siltstone.stores import Stores
from siltstone_local.connect import connect
from siltstone_local.deployment import Deployment
from siltstone_local.machines import run_machine
from siltstone_local.stack import LocalStack

pytestmark = pytest.mark.e2e
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def deployment(state: Path) -> Iterator[Deployment]:
    """Two versions of the collection ``texts``, and a delta that waits."""
    stack = LocalStack(state)
    deployed = stack.start()
    try:
        _embed(deployed, t1="a teapot of blue china", t2="an old bicycle")
        _compact(deployed)
        _embed(deployed, t2="a new bicycle", t3="three red apples")
        _compact(deployed)
        _embed(deployed, t4="it waits")
        yield deployed
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def stores(deployment: Deployment) -> Stores:
    return connect(deployment)


@pytest.fixture(scope="module")
def siltstone(deployment: Deployment, state: Path) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.run(
            [sys.executable, "-m", "siltstone_cli", *arguments],
            capture_output=True,
            text=True,
            env=environment | {"SILTSTONE_LOCAL": str(state)},
            timeout=120,
            check=False,
        )

    return run


def test_what_was_made_is_shown_found_and_undamaged(siltstone: Run) -> None:
    status = {each["collection"]: each for each in _json(siltstone("status", "--json"))["collections"]}
    assert (status["texts"]["rows"], status["texts"]["pending_deltas"]) == (3, 1)
    assert siltstone("status").returncode == 0
    versions = _json(siltstone("versions", "texts", "--json"))["versions"]
    assert [each["rows"] for each in versions] == [3, 2]
    assert versions[0]["version"] == status["texts"]["version"]
    answer = _json(siltstone("query", "texts", "red", "apple", "-n", "1", "--json"))
    assert answer["results"]["ids"] == ["t3"]
    assert "it waits" in siltstone("query", "texts", "it waits", "--strong").stdout
    assert siltstone("query", "nowhere", "x").returncode == 2
    report = _reports(siltstone("verify", "--deep", "--json"))["texts"]
    assert report["findings"] == []
    assert (report["figures"]["versions_rebuilt"], report["figures"]["deltas_accounted"]) == (2, 2)


def test_a_rollback_leaves_everything_as_promised(siltstone: Run) -> None:
    first = _json(siltstone("versions", "texts", "--json"))["versions"][-1]["version"]
    done = _json(siltstone("rollback", "texts", "--to", first, "--yes", "--json"))
    assert done["restored_from"] == first
    answer = _json(siltstone("query", "texts", "apple", "--json"))
    assert answer["version"] == done["version"]
    assert "t3" not in answer["results"]["ids"]
    assert _json(siltstone("lock", "show", "texts", "--json"))["locks"][0]["state"] == "free"
    assert _reports(siltstone("verify", "texts", "--deep", "--json"))["texts"]["findings"] == []


def test_damage_of_several_kinds_is_found(siltstone: Run, stores: Stores) -> None:
    current, _, first = _json(siltstone("versions", "texts", "--json"))["versions"]
    prefix = keys.version("texts", first["version"])
    sqlite = stores.snapshots.get(f"{prefix}chroma.sqlite3").body
    stores.snapshots.put(f"{prefix}chroma.sqlite3", sqlite[:-1] + bytes([sqlite[-1] ^ 1]))
    gone = next(found.key for found in stores.snapshots.list(prefix) if found.key.endswith("header.bin"))
    stores.snapshots.delete(gone)
    stores.snapshots.put(keys.pointer("texts"), prefix.encode())
    (waiting,) = stores.deltas.list(keys.deltas("texts"))
    stores.deltas.delete(waiting.key)
    done = siltstone("verify", "texts", "--json")
    assert done.returncode == 1
    found = {each["code"]: each for each in json.loads(done.stdout)["reports"][0]["findings"]}
    assert set(found) == {"file-damaged", "file-missing", "pointer-moved-back", "delta-lost"}
    assert found["file-missing"]["key"] == gone
    assert found["delta-lost"]["key"] == waiting.key
    assert current["version"] in found["pointer-moved-back"]["remedy"]


def _json(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    return json.loads(done.stdout)


def _reports(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return {report["collection"]: report for report in _json(done)["reports"]}


def _embed(deployment: Deployment, **texts: str) -> None:
    event = {"texts": [{"collection": "texts", "id": name, "text": text} for name, text in texts.items()]}
    reply = deployment.client("lambda").invoke(
        FunctionName=deployment.function("embed_now").name, Payload=json.dumps(event).encode()
    )
    assert "FunctionError" not in reply, reply["Payload"].read()


def _compact(deployment: Deployment) -> None:
    """A delta must have settled before a run takes it."""
    request = {"operation": "compact", "collections": ["texts"], "force": True}
    for _ in range(30):
        time.sleep(1.0)
        (result,) = run_machine(deployment, "compaction", request)["collections"]
        if result["status"] == "compacted" and not _pending(deployment):
            return
    pytest.fail("the delta was never compacted")


def _pending(deployment: Deployment) -> bool:
    return bool(list(connect(deployment).deltas.list(keys.deltas("texts"))))
