"""Starting a state machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from siltstone.errors import StoreUnavailable


class Machine(Protocol):
    """One state machine."""

    def start(self, request: Mapping[str, Any]) -> str:
        """Start an execution and return its name. Raises `StoreUnavailable`: nothing is lost, start again."""
        ...


class StepFunctionsMachine:
    """`Machine` on Step Functions."""

    def __init__(self, arn: str, client: Any) -> None:
        self._arn = arn
        self._client = client

    def start(self, request: Mapping[str, Any]) -> str:
        try:
            started = self._client.start_execution(stateMachineArn=self._arn, input=json.dumps(request))
        except (BotoCoreError, ClientError) as error:
            raise StoreUnavailable(f"Step Functions did not start {self._arn}: {error}.") from error
        return str(started["executionArn"]).rpartition(":")[2]


class MemoryMachine:
    """In-memory twin: keeps what was asked."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []

    def start(self, request: Mapping[str, Any]) -> str:
        self.started.append(dict(request))
        return f"execution-{len(self.started)}"
