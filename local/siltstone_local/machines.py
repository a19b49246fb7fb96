"""Runs a deployed state machine and follows it to its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from siltstone_local.deployment import Deployment
from siltstone_local.errors import ExecutionFailed
from siltstone_local.progress import Follower, Step

_POLL_FIRST, _POLL_LAST = 0.05, 0.5  # seconds
_PATIENCE = 900.0  # seconds


def start_machine(
    deployment: Deployment,
    machine: str,
    input: Any,  # noqa: A002 - the service's own word
    *,
    name: str | None = None,
) -> str:
    """Start an execution and return its ARN. ``machine``: see `Deployment.machine`. Raises `UnknownName`."""
    named = {"name": name} if name else {}
    started = deployment.client("stepfunctions").start_execution(
        stateMachineArn=deployment.machine(machine), input=json.dumps(input), **named
    )
    return started["executionArn"]


def run_machine(
    deployment: Deployment,
    machine: str,
    input: Any,  # noqa: A002 - the service's own word
    *,
    name: str | None = None,
    on_progress: Callable[[Step], None] | None = None,
    patience: float = _PATIENCE,
) -> Any:
    """Start an execution, follow it, and return its output.

    ``patience``: seconds to wait. Raises `ExecutionFailed`, `UnknownName`.
    """
    execution = start_machine(deployment, machine, input, name=name)
    return wait_for_execution(deployment, execution, on_progress=on_progress, patience=patience)


def wait_for_execution(
    deployment: Deployment,
    execution: str,
    *,
    on_progress: Callable[[Step], None] | None = None,
    patience: float = _PATIENCE,
) -> Any:
    """Follow an execution (by ARN) to its end and return its output. Raises `ExecutionFailed`."""
    client = deployment.client("stepfunctions")
    described = client.describe_execution(executionArn=execution)
    follower = Follower(deployment, described)
    deadline, pause = time.monotonic() + patience, _POLL_FIRST
    while described["status"] == "RUNNING" and time.monotonic() < deadline:
        _tell(follower, on_progress)
        time.sleep(pause)
        pause = min(pause * 1.5, _POLL_LAST)
        described = client.describe_execution(executionArn=execution)
    _tell(follower, on_progress)
    if described["status"] != "SUCCEEDED":
        raise _failure(deployment, described)
    return json.loads(described["output"])


def _tell(follower: Follower, on_progress: Callable[[Step], None] | None) -> None:
    if on_progress is not None:
        for step in follower.news():
            on_progress(step)


def _failure(deployment: Deployment, described: dict[str, Any]) -> ExecutionFailed:
    states = [step.state for step in Follower(deployment, described).news() if step.kind in {"entered", "failed"}]
    return ExecutionFailed(
        machine=described["stateMachineArn"].rpartition(":")[2],
        execution=described["name"],
        status=described["status"],
        state=states[-1] if states else "",
        error=described.get("error", ""),
        cause=described.get("cause", ""),
    )
