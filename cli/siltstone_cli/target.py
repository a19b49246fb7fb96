"""Where a command works: a deployed stage, found by the outputs of its stack, or the local stack that runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import typer
from botocore.exceptions import ClientError
from siltstone import errors
from siltstone.clock import Clock, SystemClock
from siltstone.errors import SiltstoneError
from siltstone.settings import CollectionBook
from siltstone.stores import Stores
from siltstone.stores.aws import CLIENT_CONFIG
from siltstone.stores.hints_sqs import SqsHints
from siltstone.stores.leases_dynamo import DynamoLeases
from siltstone.stores.ledger_dynamo import DynamoLedger
from siltstone.stores.machines import Machine, StepFunctionsMachine
from siltstone.stores.objects_s3 import S3Objects
from siltstone.stores.sources_dynamo import DynamoSources

from siltstone_cli.exits import BadUsage, TargetMissing

STAGE_VARIABLE = "SILTSTONE_STAGE"
LOCAL_VARIABLE = "SILTSTONE_LOCAL"


@dataclass(frozen=True)
class Target:
    """One stage. ``outputs``: of its ``stack``; ``make_client``: a boto3 client by its service's name.

    ``emulated``: it is the local stack.
    """

    name: str
    outputs: dict[str, str]
    make_client: Callable[[str], Any]
    clock: Clock = field(default_factory=SystemClock)
    stack: str = ""
    emulated: bool = False

    @cached_property
    def stores(self) -> Stores:
        """The product's stores over the stage's buckets and tables."""
        s3, dynamo = self.make_client("s3"), self.make_client("dynamodb")
        return Stores(
            deltas=S3Objects(self.output("DeltaBucketName"), s3),
            snapshots=S3Objects(self.output("SnapshotBucketName"), s3),
            leases=DynamoLeases(self.output("LockTableName"), dynamo),
            ledger=DynamoLedger(self.output("LedgerTableName"), dynamo),
            sources=DynamoSources(self.output("SourceTableName"), dynamo),
            hints=SqsHints(self.output("DeltaQueueUrl"), self.make_client("sqs")),
            settings=CollectionBook.parse(self.output("Collections")),
        )

    def output(self, name: str) -> str:
        """An output of the stack. Raises `TargetMissing`: an older release deployed it."""
        if name not in self.outputs:
            raise TargetMissing(f"The stack of {self.name} has no output {name}.", remedy="Deploy this release.")
        return self.outputs[name]

    def machine(self, name: str) -> Machine:
        """A deployed state machine by its CamelCase name: ``Embedding``, ``Compaction``."""
        return StepFunctionsMachine(self.output(f"{name}MachineArn"), self.make_client("stepfunctions"))

    def invoke(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """Call a deployed function by its CamelCase name. What it raises is raised here, as the same class."""
        reply = self.make_client("lambda").invoke(
            FunctionName=self.output(f"{function}Function"), Payload=json.dumps(event).encode()
        )
        answer = json.loads(reply["Payload"].read())
        if "FunctionError" not in reply:
            return answer
        name, message = str(answer.get("errorType", "")), str(answer.get("errorMessage", ""))
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, SiltstoneError):
            raise kind(message)
        raise errors.Refused(f"The function {function} failed: {name}: {message}", remedy="Its log says more.")


def find_target(context: typer.Context, stage: str | None, local: bool) -> Target:
    """By ``--stage`` or ``--local``, given to the command or before it, else by the environment.

    Raises `BadUsage` for both or neither, `TargetMissing` where nothing is deployed or runs.
    """
    before: dict[str, Any] = context.find_root().params
    stage, local = stage or before.get("stage"), local or bool(before.get("local"))
    if stage and local:
        raise BadUsage("--stage and --local are two places.", remedy="Give one of them.")
    if local:
        return _local(os.environ.get(LOCAL_VARIABLE, ""))
    if stage:
        return _deployed(stage)
    if os.environ.get(STAGE_VARIABLE):
        return _deployed(os.environ[STAGE_VARIABLE])
    if os.environ.get(LOCAL_VARIABLE, "0") not in {"", "0"}:
        return _local(os.environ[LOCAL_VARIABLE])
    raise BadUsage(
        "It is not said where.",
        remedy=f"Give --stage dev or --local, or set {STAGE_VARIABLE} or {LOCAL_VARIABLE}=1.",
    )


def _deployed(stage: str) -> Target:
    stack = f"siltstone-{stage}"
    session = boto3.Session(region_name=os.environ.get("AWS_REGION"))  # boto3 itself knows only AWS_DEFAULT_REGION

    def client(service: str) -> Any:
        return session.client(service, config=CLIENT_CONFIG)  # pyright: ignore[reportCallIssue, reportArgumentType]

    try:
        found = client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "ValidationError":
            raise TargetMissing(
                f"There is no stack {stack} in this account and region.",
                remedy=f"Check AWS_PROFILE and AWS_REGION, or deploy it: cdk deploy -c stage={stage}.",
            ) from error
        raise
    return Target(stage, _outputs(found), client, stack=stack)


def _local(where: str) -> Target:
    """``where``: the state folder of a local stack; a bare ``1`` or nothing is the one of ``make up``."""
    # The local stack's own requirements are an extra: only who asks for it needs them.
    from siltstone_local.aws import aws_client  # noqa: PLC0415
    from siltstone_local.emulator import Emulator  # noqa: PLC0415

    state = local_state(where)
    emulator = Emulator.attach(state / "aws")
    if emulator is None:
        raise TargetMissing(f"No local stack runs in {state}.", remedy="Start it: siltstone up (or make up).")

    def client(service: str) -> Any:
        return aws_client(service, emulator.endpoint)

    stack = "siltstone-local"
    found = client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return Target("the local stack", _outputs(found), client, stack=stack, emulated=True)


def local_state(where: str) -> Path:
    """The state folder of a local stack by ``SILTSTONE_LOCAL``; a bare ``1`` or nothing is that of ``siltstone up``."""
    from siltstone_local.paths import STATE  # noqa: PLC0415

    return STATE / "stack" if where in {"", "0", "1"} else Path(where).expanduser()


def _outputs(stack: dict[str, Any]) -> dict[str, str]:
    return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
