"""The whole product, deployed from its synthesized template, with the switch in every function's process.

Executions are started from here and followed to their end, with all that they start themselves.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siltstone.stores import Stores
from siltstone_local.batch_server import BatchServer
from siltstone_local.connect import connect
from siltstone_local.deploy import deploy
from siltstone_local.deployment import Deployment
from siltstone_local.emulator import Emulator
from siltstone_local.machines import start_machine
from siltstone_local.node import use_node
from siltstone_local.paths import PROJECT
from siltstone_local.runtime import FunctionRuntime

from tests.faults.crashes.switchboard import Switchboard

DIMENSION = 32
PART_ROWS = 5
_PATIENCE = 120.0  # seconds
_BATCH_SPEED = 2_000.0  # a batch takes a tenth of a second
_COLLECTION = {
    "dimension": DIMENSION,
    "limits": {"part_rows": PART_ROWS},
    "retention": {"keep_seconds": 0, "keep_at_least": 1, "grace_seconds": 0},
    "due": {"max_age_seconds": 30 * 86_400, "min_deltas": 10_000},  # never by itself: a test says when
}
_STAGE = {
    "retain": False,
    "log_days": 1,
    "collections": {"crash*": _COLLECTION, "crash-hinted*": {**_COLLECTION, "due": {"min_deltas": 1}}},
    "settle_seconds": 0,
    "functions": {"start_compaction": {"timeout_seconds": 3}},  # a message comes back after six times as long
    "triggers": {"hint_window_seconds": 1, "compact_every_minutes": 720},
}
_SYNTH = """
import sys
from pathlib import Path
from app import build
build("faults", sys.argv[1], Path(sys.argv[2])).synth()
"""


@dataclass(frozen=True)
class Ended:
    """An execution that came to its end."""

    name: str
    status: str
    output: Any
    error: str
    cause: str

    @property
    def results(self) -> list[dict[str, Any]]:
        """Of a compaction: what became of each collection, where the execution did not fail."""
        return self.output["collections"]


class House:
    """One deployed stage. ``stores``: the same, in process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.switch = Switchboard(folder / "switch")
        self.emulator = Emulator(folder / "aws", wait_scale=0)
        self.batch_server = BatchServer(folder / "provider", speed=_BATCH_SPEED)

    def __enter__(self) -> House:
        assembly = _synthesize(self.folder)
        try:
            self.emulator.start()
            self.batch_server.start()
            self.deployment = self._deploy(assembly)
        except BaseException:
            self.close()
            raise
        self.stores: Stores = connect(self.deployment)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.batch_server.stop()
        self.emulator.stop()

    def start(self, machine: str, event: Any, name: str | None = None) -> str:
        """Start an execution; its ARN."""
        return start_machine(self.deployment, machine, event, name=name)

    def run(self, machine: str, event: Any) -> list[Ended]:
        """Run one execution and all that it starts to their ends; the first one first."""
        before = set(self._list(machine))
        first = self.start(machine, event)
        return self.wait_for_all(machine, first, before)

    def compact(self, *collections: str) -> list[Ended]:
        """Compact at once whatever has settled."""
        return self.run("compaction", {"operation": "compact", "collections": list(collections), "force": True})

    def wait_for_all(self, machine: str, first: str, before: set[str]) -> list[Ended]:
        done = {first: self.wait(first)}
        while new := [arn for arn in self._list(machine) if arn not in before and arn not in done]:
            done |= {arn: self.wait(arn) for arn in new}
        return list(done.values())

    def wait(self, arn: str) -> Ended:
        client = self.deployment.client("stepfunctions")
        deadline = time.monotonic() + _PATIENCE
        while (told := client.describe_execution(executionArn=arn))["status"] == "RUNNING":
            if time.monotonic() > deadline:
                raise TimeoutError(f"{arn} still runs")
            time.sleep(0.03)
        output = json.loads(told["output"]) if told["status"] == "SUCCEEDED" else None
        return Ended(told["name"], told["status"], output, told.get("error") or "", told.get("cause") or "")

    def invoke(self, function: str, event: Any) -> Any:
        """Call a function and return its answer. Raises `FunctionFailed`."""
        name = self.deployment.function(function).name
        reply = self.deployment.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
        answer = json.loads(reply["Payload"].read())
        if "FunctionError" in reply:
            raise FunctionFailed(str(answer.get("errorType")), str(answer.get("errorMessage")))
        return answer

    def let_time_pass(self, seconds: float = 3 * 3_600.0) -> None:
        """What the tables say is as much older: leases have expired, dead claims can be told from living ones."""
        client, names = self.deployment.client("dynamodb"), self.deployment.environment
        for variable in ("LOCK_TABLE", "LEDGER_TABLE", "SOURCE_TABLE"):
            for item in client.scan(TableName=names[variable], ConsistentRead=True)["Items"]:
                client.put_item(TableName=names[variable], Item=_older(item, seconds))

    def executions(self, machine: str) -> set[str]:
        """ARNs of all executions so far."""
        return set(self._list(machine))

    def _list(self, machine: str) -> list[str]:
        pages = self.deployment.client("stepfunctions").get_paginator("list_executions")
        found = pages.paginate(stateMachineArn=self.deployment.machine(machine))
        return [each["executionArn"] for page in found for each in page["executions"]]

    def _deploy(self, assembly: Path) -> Deployment:
        # A copy: a run of many minutes must not see a file that is being edited.
        code = self.folder / "project"
        for part in ("functions", "core"):
            shutil.copytree(PROJECT / part, code / part, ignore=shutil.ignore_patterns("__pycache__"))
        runtime = FunctionRuntime(self.emulator.scratch, project=code, python=self.switch.python())
        environment = {"OPENAI_BASE_URL": self.batch_server.base_url}
        deployment = deploy(assembly, self.emulator, environment=environment, runtime=runtime)
        for secret in deployment.physical_ids("AWS::SecretsManager::Secret").values():
            deployment.client("secretsmanager").put_secret_value(SecretId=secret, SecretString="local")
        return deployment


class FunctionFailed(Exception):
    """A function raised, or its process ended. ``name``: the error's class, or ``Runtime.ExitError``."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


_TIMES = {"expires", "heartbeat", "acquired_at", "created_at", "updated_at", "seen_at", "submitting_at", "at"}


def _older(value: Any, seconds: float) -> Any:
    """A DynamoDB item, or a part of one, with every time in it moved back."""
    if not isinstance(value, dict):
        return value
    return {
        key: {"N": repr(float(inner["N"]) - seconds)}
        if key in _TIMES and isinstance(inner, dict) and set(inner) == {"N"}
        else _older(inner, seconds)
        for key, inner in value.items()
    }


def _synthesize(folder: Path) -> Path:
    use_node()
    config, output = folder / "cdk.json", folder / "cdk.out"
    config.write_text(json.dumps({"stages": {"faults": _STAGE}}))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "core")])}
    command = [sys.executable, "-c", _SYNTH, str(output), str(config)]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The app can't be synthesized: {done.stderr[-2000:]}")
    return output
