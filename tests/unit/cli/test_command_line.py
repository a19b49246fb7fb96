"""What holds for every command: help with an example, one place to say where, sentences instead of tracebacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from siltstone import errors
from siltstone_cli import exits
from siltstone_cli.console import human_age, human_bytes
from siltstone_cli.main import app
from siltstone_local.aws import CREDENTIALS, REGION
from siltstone_local.emulator import Emulator
from typer.main import get_command
from typer.testing import CliRunner

from tests.unit.cli.conftest import Run

OUTPUTS = {
    "DeltaBucketName": {"Ref": "Deltas"},
    "SnapshotBucketName": {"Ref": "Snapshots"},
    "LockTableName": {"Ref": "Locks"},
    "LedgerTableName": {"Ref": "Ledger"},
    "SourceTableName": {"Ref": "Sources"},
    "DeltaQueueUrl": {"Ref": "Queue"},
    "CompactionMachineArn": "arn:aws:states:us-east-1:000000000000:stateMachine:none",
    "EmbeddingMachineArn": "arn:aws:states:us-east-1:000000000000:stateMachine:none",
    "Collections": '{"collections": {"lines": {}}}',
}
LOCAL_STACK = {"up", "down", "logs"}  # they know where


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def commands() -> list[list[str]]:
    root: Any = get_command(app)
    found: list[list[str]] = []
    for name, command in root.commands.items():
        found += [[name, inner] for inner in command.commands] if hasattr(command, "commands") else [[name]]
    return found


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SILTSTONE_STAGE", "SILTSTONE_LOCAL", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_an_example_and_the_common_options(command: list[str]) -> None:
    shown = " ".join(run(*command, "--help").stdout.split())
    assert f"Example: siltstone {' '.join(command)} " in shown
    for option in ("--json",) if command[0] in LOCAL_STACK else ("--stage", "--local", "--json"):
        assert option in shown


def test_the_command_alone_shows_its_commands() -> None:
    shown = run().output
    assert all(name in shown for [name, *_] in commands())


def test_it_must_be_said_where() -> None:
    done = run("status")
    assert done.exit_code == exits.USAGE
    assert done.stderr.count("\n") == 1
    assert "--stage" in done.stderr
    assert run("status", "--stage", "dev", "--local").exit_code == exits.USAGE
    assert run("--local", "status", "--stage", "dev").exit_code == exits.USAGE
    assert run("nonsense").exit_code == exits.USAGE


def test_a_local_stack_that_does_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SILTSTONE_LOCAL", str(tmp_path))
    for arguments in (["status"], ["status", "--local"], ["--local", "status"]):
        done = run(*arguments)
        assert done.exit_code == exits.UNREACHABLE
        assert "make up" in done.stderr


def test_a_stage_is_found_by_its_stacks_outputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Emulator(tmp_path / "aws") as emulator:
        for stack in ("siltstone-test", "siltstone-local"):
            _deploy(emulator, stack)
        monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.endpoint)
        monkeypatch.setenv("AWS_REGION", REGION)
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name.upper(), value)
        for arguments in (["--stage", "test", "status", "--json"], ["status", "--stage", "test", "--json"]):
            assert _collections(run(*arguments)) == ["lines"]
        assert run("verify", "--stage", "test").exit_code == 0
        missing = run("status", "--stage", "prod")
        assert missing.exit_code == exits.UNREACHABLE
        assert "no stack siltstone-prod" in missing.stderr
        outdated = run("query", "lines", "x", "--stage", "test")
        assert outdated.exit_code == exits.UNREACHABLE
        assert "QueryFunction" in outdated.stderr
        monkeypatch.setenv("SILTSTONE_STAGE", "test")
        assert _collections(run("status", "--json")) == ["lines"]
        assert run("status", "--stage", "prod").exit_code == exits.UNREACHABLE
        monkeypatch.delenv("SILTSTONE_STAGE")
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.setenv("SILTSTONE_LOCAL", str(tmp_path))
        assert _collections(run("status", "--json")) == ["lines"]
        assert run("status", "--stage", "test").exit_code == exits.UNREACHABLE  # the real AWS, which is not there


def _deploy(emulator: Emulator, stack: str) -> None:
    def table(key: str) -> dict[str, Any]:
        return {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            },
        }

    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"VersioningConfiguration": {"Status": "Enabled"}}}
    template = {
        "Resources": {
            "Deltas": bucket,
            "Snapshots": bucket,
            "Locks": table("lock_id"),
            "Ledger": table("batch_id"),
            "Sources": table("source_id"),
            "Queue": {"Type": "AWS::SQS::Queue"},
        },
        "Outputs": {name: {"Value": value} for name, value in OUTPUTS.items()},
    }
    cloudformation = emulator.client("cloudformation")
    cloudformation.create_stack(StackName=stack, TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig={"Delay": 0.1})


def _collections(done: Any) -> list[str]:
    assert done.exit_code == 0, done.output
    return [each["collection"] for each in json.loads(done.stdout)["collections"]]


# errors -------------------------------------------------------------------------------------------
def _denied() -> errors.BadSettings:
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")
    error = errors.BadSettings("Reading b/k: AccessDenied.", remedy="Check the role's permissions.")
    error.__cause__ = denied
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadSettings("x"), 2),
        (errors.UnknownVersion("x"), 2),
        (errors.LockBusy("x"), 1),
        (errors.PointerMissing("x"), 1),
        (errors.DiskFull("x"), 1),
        (errors.StoreUnavailable("x"), 3),
        (errors.ProviderUnavailable("x"), 3),
        (_denied(), 3),
        (NoCredentialsError(), 3),
        (ClientError({"Error": {"Code": "ExpiredToken", "Message": "expired"}}, "DescribeStacks"), 3),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_an_error_is_one_line_and_an_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("siltstone_cli.status.read_status", fail)
    done = run("status")
    assert done.exit_code == code
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_an_error_that_is_no_error_of_the_family_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a mistake in the program")

    monkeypatch.setattr("siltstone_cli.status.read_status", fail)
    assert isinstance(run("status").exception, RuntimeError)


def test_figures_for_people() -> None:
    assert [human_bytes(size) for size in (None, 0, 999, 1_500, 2_500_000, 3e9)] == [
        "", "0 B", "999 B", "1.5 KB", "2.5 MB", "3.0 GB",
    ]  # fmt: skip
    assert [human_age(age) for age in (None, -1, 59, 120, 7_200, 200_000)] == ["", "0 s", "59 s", "2 min", "2 h", "2 d"]
