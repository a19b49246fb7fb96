"""Stops a function's process at an exact request: Python runs this file first, in the processes of these tests alone.

Every request that changes something (S3, DynamoDB, SQS, Step Functions, the provider) is counted and written to
``log.jsonl`` of the folder ``FAULT_SWITCH``. Whoever meets a rule of ``rules.json`` takes it out and obeys it, before
the request is sent or after its reply was received:

    {"state": "merge", "effect": "update lock", "number": 2, "when": "before", "action": "kill", "name": "x"}

``kill``: SIGKILL of this very process. ``block``: wait until the file ``x.go`` is there. ``short``: this invocation is
told that it has only ``seconds`` left. ``mute`` (stays in force): every state but ``state`` dies before its next
request.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["FAULT_SWITCH"])
STATE = os.environ.get("_HANDLER", "..").split(".")[-2]

_READS = ("Get", "List", "Head", "Query", "Scan", "BatchGet", "Describe")
_WITH_PROVIDER = {"submit_batch", "poll_batch", "create_delta", "embed_now"}
_VERBS = {"PutItem": "put", "UpdateItem": "update", "PutObject": "put", "CopyObject": "copy", "DeleteObject": "delete"}
_TABLES = {os.environ.get(f"{name.upper()}_TABLE"): name for name in ("lock", "ledger", "source")}


def label(operation: str, request: dict[str, Any]) -> str:
    """What a request does, in words that are the same for every run: ``put pointer``."""
    verb = _VERBS.get(operation, operation)
    if "TableName" in request:
        return f"{verb} {_TABLES.get(request['TableName'], request['TableName'])}"
    return f"{verb} {_thing(request['Key'])}" if "Key" in request else verb


def _thing(key: str) -> str:
    first, *rest = key.split("/")
    name = rest[-1]
    match first:
        case "snapshots" if "removing" in rest:
            return "removal mark"
        case "snapshots":
            return {"pointer.txt": "pointer", "manifest.json": "manifest"}.get(name, "version file")
        case "staging":
            return f"staged {name}" if name in {"plan.json", "work.json"} else "staged file"
        case "batches":
            return f"{rest[1]} {name}"
        case "quarantine":
            return f"quarantined {'reason' if name == 'reason.json' else 'delta'}"
        case _:
            return {"sources": "source body", "deltas": "delta"}.get(first, key)


@contextmanager
def _held() -> Iterator[None]:
    with (FOLDER / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _take(matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """The first rule that matches, taken out unless it is to stay. Under the lock."""
    rules: list[dict[str, Any]] = json.loads((FOLDER / "rules.json").read_text())
    found = next((rule for rule in rules if matches(rule)), None)
    if found is not None and found["action"] != "mute":
        rules.remove(found)
        _store(rules)
    return found


def _store(rules: list[dict[str, Any]]) -> None:
    part = FOLDER / "rules.part"
    part.write_text(json.dumps(rules))
    part.replace(FOLDER / "rules.json")


def _note(**line: Any) -> None:
    with (FOLDER / "log.jsonl").open("a") as log:
        log.write(json.dumps({"state": STATE, "pid": os.getpid(), **line}) + "\n")


def _meet(effect: str) -> dict[str, Any] | None:
    """Count one request, and return the rule that it meets."""
    with _held():
        rules: list[dict[str, Any]] = json.loads((FOLDER / "rules.json").read_text())
        for rule in rules:
            if rule["action"] in {"kill", "block"} and rule["state"] == STATE and rule["effect"] in {effect, None}:
                rule["number"] -= 1
        _store(rules)
        _note(effect=effect)
        rule = _take(lambda one: (one["action"] == "mute" and one["state"] != STATE) or one.get("number") == 0)
        if rule is not None:
            _note(obeyed=rule["name"], effect=effect)
        return rule


def _obey(rule: dict[str, Any]) -> None:
    if rule["action"] != "block":
        os.kill(os.getpid(), signal.SIGKILL)
    (FOLDER / f"{rule['name']}.reached").write_text(str(os.getpid()))
    while not (FOLDER / f"{rule['name']}.go").exists():
        time.sleep(0.01)


def guarded(effect: str, send: Callable[[], Any]) -> Any:
    """Send a request that changes something."""
    rule = _meet(effect)
    if rule is not None and rule["when"] == "before":
        _obey(rule)
    try:
        return send()
    finally:
        if rule is not None and rule["when"] == "after":
            _obey(rule)


def _watch_aws() -> None:
    from botocore.client import BaseClient

    original = BaseClient._make_api_call

    def call(self: Any, operation: str, request: dict[str, Any]) -> Any:
        if operation.startswith(_READS):
            return original(self, operation, request)
        return guarded(label(operation, request), lambda: original(self, operation, request))

    BaseClient._make_api_call = call


def _watch_provider() -> None:
    import httpx2

    original = httpx2.Client.send

    def send(self: Any, request: Any, **options: Any) -> Any:
        if request.method == "GET":
            return original(self, request, **options)
        effect = f"{request.method} {request.url.path.removeprefix('/v1')}"
        return guarded(effect, lambda: original(self, request, **options))

    httpx2.Client.send = send


def _watch_time() -> None:
    from awslambdaric.lambda_context import LambdaContext

    original = LambdaContext.get_remaining_time_in_millis
    told: dict[str, float | None] = {}

    def remaining(self: Any) -> int:
        if self.aws_request_id not in told:
            with _held():
                rule = _take(lambda one: one["action"] == "short" and one["state"] == STATE)
            told[self.aws_request_id] = rule["seconds"] if rule else None
        seconds = told[self.aws_request_id]
        return original(self) if seconds is None else int(seconds * 1000)

    LambdaContext.get_remaining_time_in_millis = remaining


def _remove_versions_at_once() -> None:
    """By S3's clock, which nobody here can move, a version is kept for a quarter of an hour at least."""
    from siltstone.compaction import retention

    retention.ATTEMPT_SECONDS = 0


if "_HANDLER" in os.environ:
    _watch_aws()
    _watch_time()
    if STATE == "retire":
        _remove_versions_at_once()
    if STATE in _WITH_PROVIDER:
        _watch_provider()
