"""Runs a deployed state machine and follows it to its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from siltstone_local.deployment import Deployment
from siltstone_local.errors import ExecutionFailed

_POLL_FIRST, _POLL_LAST = 0.05, 0.5  # seconds
_PATIENCE = 900.0  # seconds


@dataclass(frozen=True)
class Step:
    """One event of an execution as a person would follow it.

    ``kind``: ``entered``, ``failed`` (an attempt of the state; it may be retried or caught) or ``ended``.
    ``detail``: ``error: cause`` of a failed one.
    """

    kind: str
    state: str
    detail: str = ""


def run_machine(
    deployment: Deployment,
    machine: str,
    input: Any,  # noqa: A002 - the service's own word
    *,
    name: str | None = None,
    on_progress: Callable[[Step], None] = lambda _: None,
    patience: float = _PATIENCE,
) -> Any:
    """Start an execution, follow it, and return its output.

    ``machine``: see `Deployment.machine`. ``patience``: seconds to wait. Raises `ExecutionFailed`, `UnknownName`.
    """
    arn = deployment.machine(machine)
    named = {"name": name} if name else {}
    started = deployment.client("stepfunctions").start_execution(stateMachineArn=arn, input=json.dumps(input), **named)
    return wait_for_execution(deployment, started["executionArn"], on_progress=on_progress, patience=patience)


def wait_for_execution(
    deployment: Deployment,
    execution: str,
    *,
    on_progress: Callable[[Step], None] = lambda _: None,
    patience: float = _PATIENCE,
) -> Any:
    """Follow an execution (by ARN) that something else started. As `run_machine`."""
    client = deployment.client("stepfunctions")
    deadline, pause, told = time.monotonic() + patience, _POLL_FIRST, 0
    while True:
        described = client.describe_execution(executionArn=execution)
        for event_id, step in _steps(history(deployment, execution)):
            if event_id > told:
                told = event_id
                on_progress(step)
        if described["status"] == "SUCCEEDED":
            return json.loads(described["output"])
        if described["status"] != "RUNNING" or time.monotonic() > deadline:
            raise _failure(deployment, execution, described)
        time.sleep(pause)
        pause = min(pause * 1.5, _POLL_LAST)


def history(deployment: Deployment, execution: str) -> list[dict[str, Any]]:
    """All events of an execution, oldest first."""
    pages = deployment.client("stepfunctions").get_paginator("get_execution_history")
    return [event for page in pages.paginate(executionArn=execution) for event in page["events"]]


def _steps(events: list[dict[str, Any]]) -> Iterator[tuple[int, Step]]:
    """A failed attempt names no state itself: the way back through ``previousEventId`` leads to where it was entered.
    So do the branches of a Map, which write into one history."""
    by_id = {event["id"]: event for event in events}
    for event in events:
        kind: str = event["type"]
        if kind.endswith("StateEntered"):
            yield event["id"], Step("entered", event["stateEnteredEventDetails"]["name"])
        elif kind in {"ExecutionSucceeded", "ExecutionAborted", "ExecutionTimedOut", "ExecutionFailed"}:
            yield event["id"], Step("ended", "", kind.removeprefix("Execution"))
        elif kind.endswith(("Failed", "TimedOut")):
            details = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
            detail = f"{details.get('error', kind)}: {details.get('cause', '')}"
            yield event["id"], Step("failed", _state_of(event, by_id), detail)


def _state_of(event: dict[str, Any], by_id: dict[int, dict[str, Any]]) -> str:
    current: dict[str, Any] | None = event
    while current is not None:
        entered = current.get("stateEnteredEventDetails")
        if entered:
            return entered["name"]
        current = by_id.get(current.get("previousEventId", 0))
    return ""


def _failure(deployment: Deployment, execution: str, described: dict[str, Any]) -> ExecutionFailed:
    events = history(deployment, execution)
    state, error, cause = "", described.get("error", ""), described.get("cause", "")
    for _, step in _steps(events):
        if step.kind in {"entered", "failed"} and step.state:
            state = step.state
    machine = described["stateMachineArn"].rpartition(":")[2]
    return ExecutionFailed(
        machine=machine,
        execution=described["name"],
        status=described["status"],
        state=state,
        error=error,
        cause=cause,
    )
