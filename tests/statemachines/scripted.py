"""The function behind every state in these tests. It does what the test's script says, and records each call.

It is deployed once per state, under the state's name, and run by awslambdaric as the real ones are: Step Functions
sees real answers, real exception classes, real crashes and real timeouts. What is not scripted is answered as by a run
in which all goes well. A script is ``{"Merge" or "Merge/lines": [action of call 1, of call 2, ...]}``; see `stage`.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from siltstone import errors

Payload = Any
Action = dict[str, Any]


def handler(payload: Payload, _context: object) -> Any:
    state = os.environ["AWS_LAMBDA_FUNCTION_NAME"].partition("-")[0]
    folder = Path((Path(os.environ["SCRIPTS"]) / "current").read_text())
    script: dict[str, list[Action]] = json.loads((folder / "script.json").read_text())
    subject = subject_of(payload)
    with (folder / "calls.jsonl").open("a+") as calls:
        fcntl.flock(calls, fcntl.LOCK_EX)
        calls.seek(0)
        earlier = [json.loads(line) for line in calls]
        number = 1 + sum(call["state"] == state and call["subject"] == subject for call in earlier)
        action = choose(script.get(f"{state}/{subject}", script.get(state, [])), number)
        # Written down before it is done: a call that ends in a crash or a timeout counts, too.
        if "lists" in action:
            compacted = {call["subject"] for call in earlier if call["state"] == "PromotePointer" and call["answer"]}
            action = {"return": _list(payload, [name for name in action["lists"] if name not in compacted], action)}
        answer = None if "raise" in action or "die" in action else answer_of(state, payload, number, action)
        call = {"state": state, "subject": subject, "number": number, "payload": payload, "answer": answer}
        calls.write(json.dumps(call | {"at": time.time()}) + "\n")
    if action.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if "raise" in action:
        raise error_class(action["raise"])(action["message"])
    if action.get("parse"):
        _parse(state, payload)
    time.sleep(action.get("sleep", 0))
    return answer


def subject_of(payload: Payload) -> str:
    """The collection or batch that a call is about."""
    if not isinstance(payload, dict):
        return ""
    run = payload["run"] if isinstance(payload.get("run"), dict) else payload
    return run.get("batch_id") or run.get("collection") or ""


def choose(actions: list[Action], number: int) -> Action:
    """What the ``number``-th call does: its own action, or a last one that is for all calls after it, or the usual."""
    if number <= len(actions):
        return actions[number - 1]
    return actions[-1] if actions and actions[-1].get("always") else {}


def error_class(name: str) -> type[Exception]:
    """One of our own by its name, or one with a platform's name (``Lambda.ServiceException``)."""
    return getattr(errors, name, None) or type(name, (Exception,), {})


def answer_of(state: str, payload: Payload, number: int, action: Action) -> Any:
    if "return" in action:
        return action["return"]
    return _USUAL[state](payload, number) | action.get("answer", {})


def _list(payload: Payload, pending: list[str], action: Action) -> Any:
    from tests.statemachines.listing import list_for_real

    return list_for_real(payload, pending, action["at_most"])


def _parse(state: str, payload: Payload) -> None:
    """What every real handler does first."""
    from siltstone.compaction.messages import ListCollectionsInput

    from functions._entry import parse_event

    parse_event({"ListCollections": ListCollectionsInput}[state], payload)


def _ref(payload: Payload, state: str, number: int) -> dict[str, str]:
    """A reference that no other call answers."""
    run = payload["run"]
    key = f"staging/{run['collection']}/{run['execution']}-{run['index']}/{state}/{number}.json"
    return {"key": key, "etag": f'"{state}{number}"', "sha256": "0" * 64}


def _acquire_lock(payload: Payload, number: int) -> dict[str, Any]:
    token = payload["index"] + 1
    return {**payload, "token": token, "version": f"20260131_235959_{token:08d}", "acquired_at": 1.5}


def _record_outcome(payload: Payload, _number: int) -> dict[str, Any]:
    failed = payload.get("failed")
    return {
        "batch_id": payload["batch_id"],
        "collection": "lines",
        "status": "COMPLETE" if failed is None else "FAILED",
        "retry": False,
        "attempt": payload["attempt"],
        "counts": {"submitted": 3, "embedded": 3, "to_retry": 0, "rejected": 0, "outdated": 0},
        "cause": failed,
    }


_USUAL: dict[str, Callable[[Payload, int], dict[str, Any]]] = {
    "ListCollections": lambda payload, number: {
        "due": [],
        "more": False,
        "unknown": [],
        "pending_deltas": 0,
        "pending_bytes": 0,
        "oldest_age_seconds": 0.0,
    },
    "AcquireLock": _acquire_lock,
    "Download": lambda payload, number: {
        "plan": _ref(payload, "Download", number),
        "base_version": "20260130_000000_00000000",
        "deltas": 2,
        "parts": 3,
        "rows": 100,
        "quarantined": 0,
        "more": False,
    },
    "Merge": lambda payload, number: {
        "parts_done": 3,
        "parts_total": 3,
        "work": None,
        "sealed": _ref(payload, "Merge", number),
    },
    "RenewLock": lambda payload, number: {"expires": 1201.5},
    "Upload": lambda payload, number: {"manifest": _ref(payload, "Upload", number), "files": 7, "bytes": 1000},
    "PromotePointer": lambda payload, number: {
        "version": payload["run"]["version"],
        "previous": "20260130_000000_00000000",
        "etag": '"promoted"',
    },
    "Retire": lambda payload, number: {"deltas_deleted": 2, "versions_deleted": 0},
    "ReleaseLock": lambda payload, number: {"collection": payload["run"]["collection"], "released": True},
    "PlanBatches": lambda payload, number: {"batches": [], "sources": 0, "records": 0, "rejected": 0, "more": False},
    "SubmitBatch": lambda payload, number: {
        "batch_id": payload["batch_id"],
        "collection": "lines",
        "attempt": 1,
        "openai_batch_id": f"batch_{number}",
        "wait_seconds": 30,
    },
    "PollBatch": lambda payload, number: {
        "batch_id": payload["batch_id"],
        "attempt": payload["attempt"],
        "openai_batch_id": payload["openai_batch_id"],
        "state": "ready",
        "provider_status": "completed",
        "wait_seconds": 0,
        "polls": payload["polls"] + 1,
        "cause": None,
    },
    "CreateDelta": lambda payload, number: {
        "batch_id": payload["batch_id"],
        "collection": "lines",
        "attempt": payload["attempt"],
        "delta_keys": ["deltas/lines/x/embeddings.parquet"],
        "submitted": 3,
        "embedded": 3,
        "to_retry": 0,
        "rejected": 0,
        "outdated": 0,
    },
    "RecordOutcome": _record_outcome,
}
