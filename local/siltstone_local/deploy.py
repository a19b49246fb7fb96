"""Deploys a cloud assembly to the emulated AWS with boto3: what `cdk bootstrap` and `cdk deploy` do."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from siltstone_local.assembly import Stack, read_assembly
from siltstone_local.aws import ACCOUNT, REGION
from siltstone_local.deployment import Deployment, describe
from siltstone_local.emulator import Emulator
from siltstone_local.errors import DeployFailed
from siltstone_local.runtime import FunctionRuntime
from siltstone_local.template import Package, transform

Progress = Callable[[str], None]

_BUCKET = f"siltstone-local-{ACCOUNT}-{REGION}"  # the rewritten templates and the functions' package
_DEPLOY_WITHIN = 300.0  # seconds
_POLL = 0.1
_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
_NEVER_CREATED = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS"}
_GOOD = {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
_ENVIRONMENT_LIMIT = 4096  # bytes; Lambda's, which the emulator does not enforce


def deploy(
    assembly: Path,
    emulator: Emulator,
    *,
    parameters: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    runtime: FunctionRuntime | None = None,
    on_progress: Progress = lambda _: None,
) -> Deployment:
    """Create or update every stack of the assembly, and return what is deployed.

    ``parameters`` go to the stacks that declare them; ``environment`` (``OPENAI_BASE_URL``) to every image function.
    Deploying the same again changes nothing. Raises `DeployFailed`, `TemplateUnsupported`.
    """
    stacks = read_assembly(assembly)
    package = _upload_package(emulator, runtime or FunctionRuntime(emulator.scratch))
    for stack in stacks:
        template = transform(stack.template, package, environment or {})
        _bootstrap(emulator, stack)
        _deploy_stack(emulator, stack, template, parameters or {}, on_progress)
    deployment = describe(emulator.endpoint, [stack.name for stack in stacks])
    _check_environments(deployment)
    return deployment


def _upload_package(emulator: Emulator, runtime: FunctionRuntime) -> Package:
    body = runtime.package()
    package = Package(_BUCKET, f"{hashlib.sha256(body).hexdigest()}.zip")
    s3 = emulator.client("s3")
    s3.create_bucket(Bucket=_BUCKET)
    s3.put_object(Bucket=package.bucket, Key=package.key, Body=body)
    return package


def _bootstrap(emulator: Emulator, stack: Stack) -> None:
    s3, ssm = emulator.client("s3"), emulator.client("ssm")
    version = stack.template.get("Parameters", {}).get("BootstrapVersion", {}).get("Default")
    if version:
        ssm.put_parameter(Name=version, Value="30", Type="String", Overwrite=True)
    for asset in stack.assets:
        s3.create_bucket(Bucket=asset.bucket)
        s3.put_object(Bucket=asset.bucket, Key=asset.key, Body=asset.read())


def _deploy_stack(
    emulator: Emulator,
    stack: Stack,
    template: dict[str, Any],
    parameters: Mapping[str, str],
    on_progress: Progress,
) -> None:
    body = json.dumps(template, sort_keys=True).encode()
    key = f"{stack.name}/{hashlib.sha256(body).hexdigest()}.json"
    emulator.client("s3").put_object(Bucket=_BUCKET, Key=key, Body=body)
    declared = template.get("Parameters", {})
    request = {
        "StackName": stack.name,
        "TemplateURL": f"{emulator.endpoint}/{_BUCKET}/{key}",  # a body in the request may have 51,200 bytes
        "Capabilities": _CAPABILITIES,
        "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items() if k in declared],
        "Tags": [{"Key": k, "Value": v} for k, v in stack.tags.items()],
    }
    cloudformation = emulator.client("cloudformation")
    status = _status(cloudformation, stack.name)
    if status in _NEVER_CREATED:
        cloudformation.delete_stack(StackName=stack.name)
        _follow(cloudformation, stack.name, set(), on_progress)
        status = None
    seen = _event_ids(cloudformation, stack.name) if status else set[str]()
    started = datetime.now(UTC).replace(microsecond=0)  # an event's time may be in whole seconds
    try:
        if status is None:
            cloudformation.create_stack(**request, OnFailure="DO_NOTHING")
        else:
            cloudformation.update_stack(**request)
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            on_progress(f"{stack.name}: nothing changed")
            return
        raise DeployFailed(f"The stack {stack.name} was refused: {error}.", remedy="Correct the CDK app.") from error
    status = _follow(cloudformation, stack.name, seen, on_progress)
    if status not in _GOOD:
        raise DeployFailed(
            f"The stack {stack.name} is {status}: {_reasons(cloudformation, stack.name, started)}.",
            remedy=f"Correct the CDK app, and look at {emulator.log}.",
        )


def _follow(cloudformation: Any, stack: str, seen: set[str], on_progress: Progress) -> str | None:
    """Report events until the stack rests; its status, or ``None`` once it is deleted."""
    deadline = time.monotonic() + _DEPLOY_WITHIN
    while time.monotonic() < deadline:
        status = _status(cloudformation, stack)
        if status is None:
            return None
        for event in _events(cloudformation, stack):
            if event["EventId"] not in seen:
                seen.add(event["EventId"])
                on_progress(f"{stack}: {event['LogicalResourceId']} {event['ResourceStatus']}")
        if not status.endswith("_IN_PROGRESS"):
            return status
        time.sleep(_POLL)
    raise DeployFailed(f"The stack {stack} did not rest within {_DEPLOY_WITHIN:.0f} s.", remedy="Look at its events.")


def _status(cloudformation: Any, stack: str) -> str | None:
    try:
        status = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return None if status == "DELETE_COMPLETE" else status


def _events(cloudformation: Any, stack: str) -> list[dict[str, Any]]:
    """Oldest first."""
    pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack)
    return [event for page in pages for event in page["StackEvents"]][::-1]


def _event_ids(cloudformation: Any, stack: str) -> set[str]:
    return {event["EventId"] for event in _events(cloudformation, stack)}


def _reasons(cloudformation: Any, stack: str, started: datetime) -> str:
    """Why the operation that began at ``started`` failed: its events, and DescribeEvents, which alone has the reasons
    of what was refused before the first resource."""
    checks = cloudformation.describe_events(StackName=stack)["OperationEvents"]
    failed = [
        (event["LogicalResourceId"], event["ResourceType"], reason)
        for event in _events(cloudformation, stack) + checks
        for reason in [event.get("ValidationStatusReason") or event.get("ResourceStatusReason")]
        if reason and event["Timestamp"] >= started and "FAILED" in {event.get("ValidationStatus"), _last_word(event)}
    ]
    of_resources = [each for each in failed if each[1] != "AWS::CloudFormation::Stack"]
    told = [f"{name} ({kind}): {reason}" for name, kind, reason in of_resources or failed]
    return "; ".join(dict.fromkeys(told)) or "no reason is given"


def _last_word(event: dict[str, Any]) -> str:
    return event.get("ResourceStatus", "").rpartition("_")[2]


def _check_environments(deployment: Deployment) -> None:
    for function in deployment.functions.values():
        size = sum(len(name) + len(value) for name, value in function.environment.items())
        if size > _ENVIRONMENT_LIMIT:
            raise DeployFailed(
                f"The environment of {function.name} has {size} bytes; AWS takes {_ENVIRONMENT_LIMIT}.",
                remedy="Shorten the settings that the CDK app puts into it.",
            )
