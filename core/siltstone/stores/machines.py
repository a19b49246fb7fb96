"""Starting a state machine, and looking at what became of it."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from siltstone.errors import BadSettings, StoreUnavailable, UnknownExecution
from siltstone.stores.aws import code_of, store_errors


@dataclass(frozen=True)
class Execution:
    """What became of an execution. ``status``: Step Functions' own word; ``output``: once it has succeeded.

    Times are epoch seconds. `Machine.list` knows name, status and times alone.
    """

    name: str
    status: str
    output: Any = None
    error: str = ""
    cause: str = ""
    started_at: float = 0.0
    stopped_at: float | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.status in {"RUNNING", "PENDING_REDRIVE"}


class Machine(Protocol):
    """One state machine. Every method may raise `StoreUnavailable`, and `BadSettings` where it is not allowed."""

    def start(self, request: Mapping[str, Any], *, name: str | None = None) -> str:
        """Start an execution and return its name, by default a new one.

        Raises `StoreUnavailable`: nothing is lost, start again.
        """
        ...

    def look(self, name: str) -> Execution:
        """The execution as it is now. Raises `UnknownExecution`."""
        ...

    def list(self, limit: int) -> list[Execution]:
        """The latest executions, newest first."""
        ...

    def output_of(self, name: str, state: str) -> Any:
        """What a top-level state of an execution handed on, also of one that failed later; ``None`` before that."""
        ...

    def status(self) -> str:
        """The machine's own: ``ACTIVE`` or ``DELETING``."""
        ...


class StepFunctionsMachine:
    """`Machine` on Step Functions."""

    def __init__(self, arn: str, client: Any) -> None:
        self._arn = arn
        self._client = client

    def start(self, request: Mapping[str, Any], *, name: str | None = None) -> str:
        named = {"name": name} if name else {}
        try:
            started = self._client.start_execution(stateMachineArn=self._arn, input=json.dumps(request), **named)
        except (BotoCoreError, ClientError) as error:
            raise StoreUnavailable(f"Step Functions did not start {self._arn}: {error}.") from error
        return str(started["executionArn"]).rpartition(":")[2]

    def look(self, name: str) -> Execution:
        with _errors(f"Looking at the execution {name}", self._arn, name):
            return _execution(self._client.describe_execution(executionArn=self._execution_arn(name)))

    def list(self, limit: int) -> list[Execution]:
        with _errors(f"Listing the executions of {self._arn}", self._arn):
            pages = self._client.get_paginator("list_executions").paginate(
                stateMachineArn=self._arn, PaginationConfig={"MaxItems": limit}
            )
            found = [_execution(each) for page in pages for each in page["executions"]]
        return sorted(found, key=lambda each: each.started_at, reverse=True)[:limit]

    def output_of(self, name: str, state: str) -> Any:
        with _errors(f"Reading the history of {name}", self._arn, name):
            pages = self._client.get_paginator("get_execution_history").paginate(
                executionArn=self._execution_arn(name), reverseOrder=True, includeExecutionData=True
            )
            for event in (event for page in pages for event in page["events"]):
                left = event.get("stateExitedEventDetails", {})
                if left.get("name") == state and left.get("output"):
                    return json.loads(left["output"])
        return None

    def status(self) -> str:
        with _errors(f"Looking at {self._arn}", self._arn):
            return str(self._client.describe_state_machine(stateMachineArn=self._arn)["status"])

    def _execution_arn(self, name: str) -> str:
        return f"{self._arn.replace(':stateMachine:', ':execution:')}:{name}"


class MemoryMachine:
    """In-memory twin: keeps what was asked, by execution; a test says what becomes of it in ``executions``."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.executions: dict[str, Execution] = {}
        self.outputs: dict[tuple[str, str], Any] = {}  # by execution and state

    def start(self, request: Mapping[str, Any], *, name: str | None = None) -> str:
        self.started.append(dict(request))
        name = name or f"execution-{len(self.started)}"
        self.executions.setdefault(name, Execution(name, "RUNNING", started_at=float(len(self.started))))
        return name

    def look(self, name: str) -> Execution:
        if name not in self.executions:
            raise UnknownExecution(f"There is no execution {name!r}.")
        return self.executions[name]

    def list(self, limit: int) -> list[Execution]:
        return list(islice(reversed(self.executions.values()), limit))

    def output_of(self, name: str, state: str) -> Any:
        self.look(name)
        return self.outputs.get((name, state))

    def status(self) -> str:
        return "ACTIVE"


def _execution(found: Mapping[str, Any]) -> Execution:
    output, stopped = found.get("output"), found.get("stopDate")
    return Execution(
        name=found["name"],
        status=found["status"],
        output=None if output is None else json.loads(output),
        error=found.get("error", ""),
        cause=found.get("cause", ""),
        started_at=found["startDate"].timestamp(),
        stopped_at=None if stopped is None else stopped.timestamp(),
    )


@contextmanager
def _errors(what: str, arn: str, name: str = "") -> Generator[None]:
    try:
        with store_errors(what):
            yield
    except ClientError as error:
        match code_of(error):
            case "ExecutionDoesNotExist" | "InvalidArn":
                raise UnknownExecution(
                    f"There is no execution {name!r} of {arn}.", remedy="Executions are kept for 90 days."
                ) from error
            case "StateMachineDoesNotExist":
                raise BadSettings(f"There is no machine {arn}.", remedy="Deploy the stage again.") from error
            case _:
                raise
