"""The command as an operator uses it, against the local stack: what it shows is there, what was damaged it finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from siltstone import Client, Collection, keys
from siltstone import connect as siltstone_connect
from siltstone.clients.stage import StageOutputs
from siltstone.clock import SystemClock
from siltstone.compaction.acquire_lock import acquire_lock
from siltstone.compaction.messages import AcquireLockInput
from siltstone.sources.loading import load_sources
from siltstone.sources.text import Text
from siltstone.stores import Stores
from siltstone_local.aws import CREDENTIALS, REGION
from siltstone_local.connect import connect
from siltstone_local.deployment import Deployment
from siltstone_local.machines import run_machine
from siltstone_local.sample import RECEIPTS
from siltstone_local.stack import LocalStack

from tests.contracts.collections import ReadingContract, RefusalContract, WritingContract, fill

pytestmark = pytest.mark.e2e
NOTES = "notes-client"
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


def test_sources_go_in_and_are_listed_and_shown(siltstone: Run, tmp_path: Path) -> None:
    some = tmp_path / "receipts.jsonl"
    some.write_text("\n".join([*RECEIPTS.read_text(encoding="utf-8").splitlines()[:3], "{"]), encoding="utf-8")
    for expected in ((3, 0), (0, 3)):
        done = siltstone("receipts", "load", str(some), "--json")
        assert done.returncode == 1
        found = json.loads(done.stdout)
        assert ((found["new"], found["unchanged"]), found["rejected"]) == (expected, 1)
        assert f"{some}, line 4" in done.stderr
    page = _json(siltstone("receipts", "list", "--limit", "2", "--json"))
    assert [row["statuses"] for row in page["receipts"]] == [{"lines": "NONE", "words": "NONE"}] * 2
    assert len(_json(siltstone("receipts", "list", "--after", page["next"], "--json"))["receipts"]) == 1
    row = page["receipts"][0]
    assert row["merchant_name"] in siltstone("receipts", "show", f"{row['image_id']}#{row['receipt_id']}").stdout
    notes = tmp_path / "notes.csv"
    notes.write_text("id,text,year\ncli-1,A blue teapot,2024\n")
    dry = siltstone("texts", "load", str(notes), "--collection", "texts", "--dry-run")
    assert (dry.returncode, "1 new" in dry.stdout, "Nothing was loaded" in dry.stdout) == (0, True, True)
    assert siltstone("texts", "load", str(notes), "--collection", "nowhere").returncode == 2


def test_a_rollback_leaves_everything_as_promised(siltstone: Run) -> None:
    first = _json(siltstone("versions", "texts", "--json"))["versions"][-1]["version"]
    done = _json(siltstone("rollback", "texts", "--to", first, "--yes", "--json"))
    assert done["restored_from"] == first
    answer = _json(siltstone("query", "texts", "apple", "--json"))
    assert answer["version"] == done["version"]
    assert "t3" not in answer["results"]["ids"]
    assert _json(siltstone("lock", "show", "texts", "--json"))["locks"][0]["state"] == "free"
    assert _reports(siltstone("verify", "texts", "--deep", "--json"))["texts"]["findings"] == []


def test_a_stage_that_was_just_made_is_healthy(siltstone: Run) -> None:
    checks = _json(siltstone("doctor", "--json"))["checks"]
    assert {check["level"] for check in checks} == {"ok", "not checked"}, checks
    assert {check["name"] for check in checks if check["level"] == "not checked"} == {
        "lifecycle", "recovery", "concurrency",
    }  # fmt: skip
    assert siltstone("doctor").returncode == 0


def test_compaction_by_hand_paused_and_resumed(siltstone: Run, deployment: Deployment) -> None:
    _embed(deployment, collection="notes", n1="a note", n2="another one")
    assert siltstone("compact", "pause", "notes", "--reason", "a look first").returncode == 0
    refused = siltstone("compact", "start", "notes", "--wait")
    assert refused.returncode == 1
    assert "a look first" in refused.stderr
    listed = run_machine(deployment, "compaction", {"operation": "compact", "collections": ["notes"], "force": True})
    assert listed["collections"] == [], "nor by another hand"
    assert [each["collection"] for each in _json(siltstone("status", "--json"))["paused"]] == ["notes"]
    assert siltstone("compact", "resume", "notes").returncode == 0
    done = _json(siltstone("compact", "start", "notes", "--wait", "--json"))
    (outcome,) = done["outcome"]["collections"]
    assert (outcome["status"], outcome["rows"]) == ("compacted", 2)
    latest = _json(siltstone("compact", "status", "-n", "1", "--json"))["executions"]
    assert [each["name"] for each in latest] == [done["execution"]]
    assert done["execution"] in siltstone("status").stdout
    shown = siltstone("logs", "promote_pointer", "--since", "1h")
    assert f"version={outcome['version']}" in shown.stdout
    assert siltstone("logs", "nothing").returncode == 2


def test_a_lock_that_nobody_will_release_is_broken_by_hand(siltstone: Run, stores: Stores) -> None:
    acquire_lock(AcquireLockInput(collection="words", execution="stopped", index=0), stores, SystemClock())
    done = siltstone("lock", "break", "words")
    assert done.returncode == 1, "nobody answers the question"
    assert "held by stopped-0 (token 1)" in done.stdout
    assert _json(siltstone("lock", "break", "words", "--yes", "--json"))["broken"]
    assert _json(siltstone("lock", "show", "words", "--json"))["locks"][0]["state"] == "free"


def test_up_finds_the_stack_that_runs(siltstone: Run, deployment: Deployment) -> None:
    assert _json(siltstone("up", "--json"))["endpoint"] == deployment.endpoint


def test_a_source_is_deleted_and_then_forgotten(siltstone: Run, deployment: Deployment) -> None:
    _embed(deployment, collection="notes-forget", a="a xylophone", b="a harmless note")
    _compact(deployment, "notes-forget")
    source = "text.notes-forget.a"
    (info,) = _json(siltstone("sources", "status", source, "--json"))["sources"]
    assert [(each["status"], each["settled"]) for each in info["collections"]] == [("SUCCESS", 1)]
    assert siltstone("sources", "delete", source).returncode == 1, "nobody answers the question"
    done = _json(siltstone("sources", "delete", source, "--yes", "--json"))
    assert (done["deleted"], done["records"]) == (1, {"notes-forget": 1})
    answer = _json(siltstone("query", "notes-forget", "xylophone", "--strong", "--json"))
    assert answer["results"]["ids"] == ["b"]
    first = siltstone("sources", "purge", source, "--yes", "--json")
    assert first.returncode == 1
    report = json.loads(first.stdout)
    assert {each["kind"] for each in report["held"]} == {"delta", "version"}
    assert report["removed"]["delta"] == 1
    _compact(deployment, "notes-forget")
    report = json.loads(siltstone("sources", "purge", source, "--yes", "--json").stdout)
    assert {each["kind"] for each in report["held"]} == {"version"}  # its grace period
    assert all(each["until"] for each in report["held"])
    assert "still held until" in siltstone("sources", "purge", source, "--yes").stdout
    found = _reports(siltstone("verify", "notes-forget", "--deep", "--json"))["notes-forget"]["findings"]
    assert {each["severity"] for each in found} <= {"info"}, found


def test_texts_are_embedded_now_or_in_a_batch_and_a_batch_can_be_cancelled(
    siltstone: Run, stores: Stores, deployment: Deployment
) -> None:
    # In a collection of their own: the tests around this one count what is in the others.
    notes = [Text(collection="notes-embed", id=f"n{number}", text=f"note number {number}") for number in range(6)]
    load_sources(notes, stores, SystemClock())
    (planned,) = _json(siltstone("embed", "plan", "notes-embed", "--json"))["collections"]
    assert (planned["records"], planned["batches"], planned["failed"]) == (6, 1, 0)
    assert _json(siltstone("embed", "now", "text.notes-embed.n0", "--json"))["embedded"] == 1
    with _full_queue(deployment):  # so that the batch is still open when it is cancelled
        (execution,) = _json(siltstone("embed", "start", "notes-embed", "--json")).values()
        batch_id = _submitted(stores, execution)
        cancelled = _json(siltstone("embed", "cancel", batch_id, "--yes", "--wait", "--json"))
    assert [(each["status"], each["counts"]["to_retry"]) for each in cancelled["batches"]] == [("CANCELLED", 5)]
    assert siltstone("embed", "cancel", batch_id, "--yes").returncode == 0
    done = _json(siltstone("embed", "auto", "notes-embed", "--now-records", "2", "--wait", "--json"))
    assert done["choice"]["way"] == "batch"
    assert [(each["status"], each["counts"]["embedded"]) for each in done["batches"]] == [("COMPLETE", 5)]
    assert "CANCELLED" in siltstone("embed", "status").stdout
    assert siltstone("embed", "status", "nope").returncode == 2
    assert _json(siltstone("embed", "plan", "notes-embed", "--json"))["records"] == 0
    delta = stores.ledger.read(done["batches"][0]["batch_id"]).delta_keys
    assert all(key.startswith(keys.deltas("notes-embed")) for key in delta)


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


@pytest.fixture(scope="module", params=["stage", "url"])
def client(deployment: Deployment, filled: None, request: pytest.FixtureRequest) -> Iterator[Client]:
    """As a user's program has it: by the stage's name, and by the query function's URL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", deployment.endpoint)
        session = boto3.Session(**CREDENTIALS, region_name=REGION)
        stage = StageOutputs(session, "local")
        # The emulator serves the host {id}.lambda-url.{region}.on.aws under a path of its own.
        identity = deployment.output("QueryUrl").removeprefix("https://").partition(".")[0]
        place = {"url": f"{deployment.endpoint}/_aws/lambda-url/{identity}/"} if request.param == "url" else {}
        if not place:
            made = siltstone_connect("local", session=session)
        else:
            made = siltstone_connect(**place, producer=stage.producer(), provider=stage.provider, session=session)
        with made:
            yield made


@pytest.fixture(scope="module")
def filled(deployment: Deployment) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", deployment.endpoint)
        with siltstone_connect("local", session=boto3.Session(**CREDENTIALS, region_name=REGION)) as client:
            fill(client.collection(NOTES))
    _compact(deployment, NOTES)


class TestClientReads(ReadingContract, RefusalContract):
    @pytest.fixture
    def collection(self, client: Client) -> Collection:
        return client.collection(NOTES)


class TestClientWrites(WritingContract):
    @pytest.fixture
    def strong(self, client: Client) -> Collection:
        return client.collection(NOTES, consistency="strong")


def _json(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    return json.loads(done.stdout)


def _reports(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return {report["collection"]: report for report in _json(done)["reports"]}


def _embed(deployment: Deployment, *, collection: str = "texts", **texts: str) -> None:
    event = {"texts": [{"collection": collection, "id": name, "text": text} for name, text in texts.items()]}
    reply = deployment.client("lambda").invoke(
        FunctionName=deployment.function("embed_now").name, Payload=json.dumps(event).encode()
    )
    assert "FunctionError" not in reply, reply["Payload"].read()


@contextmanager
def _full_queue(deployment: Deployment) -> Generator[None]:
    """Every batch fails its validation: the provider's queue has no room for it."""
    board = deployment.environment["OPENAI_BASE_URL"].removesuffix("/v1") + "/_faults"
    faults = json.dumps({"batch": {"token_limit_exceeded": True}}).encode()
    httpx.post(board, content=faults).raise_for_status()
    try:
        yield
    finally:
        httpx.delete(board).raise_for_status()


def _submitted(stores: Stores, plan: str) -> str:
    for _ in range(300):
        found = [batch for batch in stores.ledger.list() if batch.plan == plan and batch.status == "SUBMITTED"]
        if found:
            return found[0].batch_id
        time.sleep(0.2)
    pytest.fail("the batch was never submitted")


def _compact(deployment: Deployment, collection: str = "texts") -> None:
    """A delta must have settled before a run takes it."""
    request = {"operation": "compact", "collections": [collection], "force": True}
    for _ in range(30):
        time.sleep(1.0)
        (result,) = run_machine(deployment, "compaction", request)["collections"]
        if result["status"] == "compacted" and not _pending(deployment, collection):
            return
    pytest.fail("the delta was never compacted")


def _pending(deployment: Deployment, collection: str) -> bool:
    return bool(list(connect(deployment).deltas.list(keys.deltas(collection))))
