"""A state machine of the repository on the emulated AWS: its functions scripted, its executions followed to the end."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from siltstone.compaction import messages as compaction
from siltstone.embedding import messages as embedding
from siltstone_local.emulator import Emulator
from siltstone_local.runtime import FunctionRuntime

from scripts.validate_asl import DEFINITIONS

Action = dict[str, Any]
Script = Mapping[str, Iterable[Action]]

_ROLE = "arn:aws:iam::000000000000:role/states"
_LONGEST_CHAIN = 8  # executions; the longest here has 5
_PATIENCE = 60.0  # seconds; the longest execution here takes 5

MESSAGES: dict[str, tuple[type[BaseModel], type[BaseModel]]] = {
    "ListCollections": (compaction.ListCollectionsInput, compaction.ListCollectionsOutput),
    "AcquireLock": (compaction.AcquireLockInput, compaction.Run),
    "Download": (compaction.RunInput, compaction.DownloadOutput),
    "Merge": (compaction.MergeInput, compaction.MergeOutput),
    "RenewLock": (compaction.RunInput, compaction.RenewLockOutput),
    "Upload": (compaction.UploadInput, compaction.UploadOutput),
    "PromotePointer": (compaction.PromotePointerInput, compaction.PromotePointerOutput),
    "Retire": (compaction.RetireInput, compaction.RetireOutput),
    "ReleaseLock": (compaction.ReleaseLockInput, compaction.ReleaseLockOutput),
    "PlanBatches": (embedding.PlanBatchesInput, embedding.PlanBatchesOutput),
    "SubmitBatch": (embedding.SubmitBatchInput, embedding.SubmitBatchOutput),
    "PollBatch": (embedding.PollBatchInput, embedding.PollBatchOutput),
    "CreateDelta": (embedding.CreateDeltaInput, embedding.CreateDeltaOutput),
    "RecordOutcome": (embedding.RecordOutcomeInput, embedding.RecordOutcomeOutput),
}


def answers(**fields: Any) -> Action:
    """The usual answer, but for these fields."""
    return {"answer": fields}


def returns(value: Any) -> Action:
    """Exactly this, be it no answer at all."""
    return {"return": value}


def raises(error: str, message: str = "it is scripted") -> Action:
    return {"raise": error, "message": message}


def dies() -> Action:
    """The process is killed at work."""
    return {"die": True}


def sleeps(seconds: float) -> Action:
    return {"sleep": seconds}


def parses() -> Action:
    """The event is parsed as the real handler parses it."""
    return {"parse": True}


def lists(*pending: str, at_most: int = 100) -> Action:
    """`ListCollections` for real, over a bucket where these collections have deltas, the oldest first.

    A collection that was compacted in this test has none any more. ``at_most``: how many may be due at once.
    """
    return {"lists": list(pending), "at_most": at_most}


def always(action: Action) -> Action:
    """For this call and all after it."""
    return action | {"always": True}


@dataclass(frozen=True)
class Call:
    """One call of a function. ``answer``: ``None`` if it raised or died. ``at``: epoch seconds."""

    state: str
    subject: str
    number: int
    payload: Any
    answer: Any
    at: float


@dataclass(frozen=True)
class Execution:
    """One that ended."""

    arn: str
    name: str
    status: str
    input: Any
    output: Any
    error: str
    cause: str


class Stage:
    """One machine on one emulator. Every test sets its own `script`, which forgets all calls before."""

    def __init__(self, emulator: Emulator, machine: str, scripts: Path) -> None:
        self._emulator = emulator
        self._scripts = scripts
        self._tests = 0
        self._folder = scripts
        self._sfn = emulator.client("stepfunctions")
        self._package = FunctionRuntime(emulator.scratch).package()
        self.machine = machine
        self.definition = (DEFINITIONS / f"{machine}.asl.json").read_text()
        self._functions: set[str] = set()
        self.arn = self.deploy(machine, self.definition)

    def deploy(self, machine: str, definition: str, *, suffix: str = "", timeout: int = 60) -> str:
        """Create ``machine``, each placeholder a function of its own. ``timeout``: of the functions, in seconds."""
        for state in sorted(set(re.findall(r"\$\{(\w+)\}", definition))):
            self._create_function(state + suffix, timeout)
        arns = re.sub(r"\$\{(\w+)\}", rf"arn:aws:lambda:us-east-1:000000000000:function:\1{suffix}", definition)
        return self._sfn.create_state_machine(name=machine, definition=arns, roleArn=_ROLE)["stateMachineArn"]

    def change(self, change: Callable[[dict[str, Any]], object], **settings: Any) -> str:
        """Deploy the definition with a change, under another name. Returns its ARN."""
        definition = json.loads(self.definition)
        change(definition["States"])
        return self.deploy(f"{self.machine}-{time.monotonic_ns()}", json.dumps(definition), **settings)

    def script(self, script: Script) -> None:
        self._tests += 1
        self._folder = self._scripts / str(self._tests)
        self._folder.mkdir(parents=True)
        (self._folder / "script.json").write_text(json.dumps({key: list(each) for key, each in script.items()}))
        (self._scripts / "current").write_text(str(self._folder))

    def run(self, event: Any, *, name: str | None = None, machine: str = "") -> Execution:
        """Run one execution to its end, however it ends."""
        named = {"name": name} if name else {}
        started = self._sfn.start_execution(stateMachineArn=machine or self.arn, input=json.dumps(event), **named)
        return self.wait(started["executionArn"])

    def run_all(self, event: Any, **settings: Any) -> list[Execution]:
        """Run one and all that start one another from it, to their end; in the order of their start."""
        before = set(self._list())
        first = self.run(event, **settings)
        found = {first.arn: first}
        while new := [arn for arn in self._list() if arn not in before and arn not in found]:
            if len(found) > _LONGEST_CHAIN:
                self.script({})  # nothing is due, nothing is planned: it ends by itself
                raise AssertionError(
                    f"{len(found)} executions, and there is no end: {[each.input for each in found.values()]}"
                )
            found |= {arn: self.wait(arn) for arn in new}
        return [first, *(found[arn] for arn in reversed(self._list()) if arn in found and arn != first.arn)]

    def wait(self, arn: str) -> Execution:
        deadline = time.monotonic() + _PATIENCE
        while (told := self._sfn.describe_execution(executionArn=arn))["status"] == "RUNNING":
            if time.monotonic() > deadline:
                raise TimeoutError(f"{arn} still runs; calls so far: {[call.state for call in self.calls()]}")
            time.sleep(0.06)
        return Execution(
            arn=arn,
            name=told["name"],
            status=told["status"],
            input=json.loads(told["input"]),
            output=json.loads(told["output"]) if told["status"] == "SUCCEEDED" else None,
            error=told.get("error", ""),
            cause=told.get("cause", ""),
        )

    @contextmanager
    def waiting(self, scale: float) -> Iterator[None]:
        """Waits and pauses between retries take this part of their time, not none."""
        self._emulator.set_wait_scale(scale)
        try:
            yield
        finally:
            self._emulator.set_wait_scale(0)

    def calls(self, state: str = "", subject: str = "") -> list[Call]:
        """The calls so far, in order: all, or of one state, or about one collection or batch."""
        try:
            lines = (self._folder / "calls.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        calls = [Call(**json.loads(line)) for line in lines]
        return [call for call in calls if state in ("", call.state) and subject in ("", call.subject)]

    def order(self, subject: str = "") -> list[str]:
        """The names of the states whose functions were called."""
        return [call.state for call in self.calls(subject=subject)]

    def history(self, execution: Execution) -> list[dict[str, Any]]:
        pages = self._sfn.get_paginator("get_execution_history").paginate(executionArn=execution.arn)
        return [event for page in pages for event in page["events"]]

    def failures(self, execution: Execution) -> list[str]:
        """The error of each attempt that failed, retried or not."""
        events = self.history(execution)
        return [each["taskFailedEventDetails"]["error"] for each in events if each["type"] == "TaskFailed"]

    def check_messages(self) -> None:
        """Every payload and every answer is what core's typed messages say."""
        for call in self.calls():
            request, reply = MESSAGES[call.state]
            request.model_validate(call.payload)
            if call.answer is not None:
                reply.model_validate(call.answer)

    def _list(self) -> list[str]:
        """All executions, the newest first."""
        pages = self._sfn.get_paginator("list_executions").paginate(stateMachineArn=self.arn)
        return [each["executionArn"] for page in pages for each in page["executions"]]

    def _create_function(self, name: str, timeout: int) -> None:
        if name in self._functions:
            return
        self._functions.add(name)
        self._emulator.client("lambda").create_function(
            FunctionName=name,
            Runtime="provided.al2023",
            Handler="tests.statemachines.scripted.handler",
            Role=_ROLE,
            Code={"ZipFile": self._package},
            Timeout=timeout,
            Environment={"Variables": {"SCRIPTS": str(self._scripts)}},
        )
