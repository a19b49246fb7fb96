"""Seventeen functions of one image, each with a role that can do its own work and nobody else's."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from siltstone import keys
from siltstone.errors import BadSettings

from app import CONFIG
from cdk.functions import ENVIRONMENT_LIMIT, check_environment
from cdk.settings import FunctionName
from functions._environment import Environment
from tests.infrastructure.conftest import Synthesize
from tests.infrastructure.template import Template

NAMES: tuple[FunctionName, ...] = get_args(FunctionName)
ROOT = CONFIG.parent
POINTER = f"<SnapshotBucket>/{keys.pointer('lines')}"
VERSION_FILE = f"<SnapshotBucket>/{keys.version('lines', '20260131_235959_00000042')}chroma.sqlite3"
DELTA = f"<DeltaBucket>/{keys.delta('lines', 'D1')}"
QUARANTINED = f"<DeltaBucket>/{keys.quarantine('lines', 'D1')}reason.json"


@pytest.fixture
def dev(synthesize: Synthesize) -> Template:
    return synthesize("dev")


def role(name: str) -> str:
    return f"Functions{''.join(part.capitalize() for part in name.split('_'))}Role"


def able(template: Template, action: str, resource: str) -> set[str]:
    return {name for name in NAMES if template.allows(role(name), action, resource)}


def test_every_function_has_its_entry_point_file_and_every_file_its_function(template: Template) -> None:
    files = {path.stem for path in (ROOT / "functions").glob("[a-z]*.py")}
    assert set(template.functions()) == set(NAMES) == files


def test_each_runs_its_own_handler_of_one_image(template: Template) -> None:
    functions = template.functions()
    assert {name: one["ImageConfig"]["Command"] for name, one in functions.items()} == {
        name: [f"functions.{name}.handler"] for name in NAMES
    }
    assert len({json.dumps(one["Code"]) for one in functions.values()}) == 1
    assert all(one["PackageType"] == "Image" for one in functions.values())


def test_each_is_traced_and_logs_to_a_group_that_forgets(template: Template) -> None:
    groups = template.of_type("AWS::Logs::LogGroup")
    for function in template.functions().values():
        assert function["TracingConfig"] == {"Mode": "Active"}
        group = groups[function["LoggingConfig"]["LogGroup"]["Ref"]]
        assert group["LogGroupName"] == f"/aws/lambda/{function['FunctionName']}"
        assert group["RetentionInDays"] >= 1


def test_sizes_are_what_lambda_takes(template: Template) -> None:
    for function in template.functions().values():
        assert 128 <= function["MemorySize"] <= 10_240
        assert 3 <= function["Timeout"] <= 900
        assert 512 <= function["EphemeralStorage"]["Size"] <= 10_240


def test_the_environment_is_the_one_the_functions_read(template: Template) -> None:
    wanted = {field.alias for field in Environment.model_fields.values() if field.is_required()}
    for name, function in template.functions().items():
        variables = function["Environment"]["Variables"]
        assert wanted <= set(variables), name
        assert variables["SILTSTONE_STAGE"] == template.stage
        assert variables["POWERTOOLS_SERVICE_NAME"] == "siltstone"
        assert ("COMPACTION_MACHINE_ARN" in variables) is (name == "start_compaction")
        text = {key: value if isinstance(value, str) else "x" for key, value in variables.items()}
        assert Environment.model_validate(text).stage == template.stage


def test_no_secret_stands_in_the_template(template: Template) -> None:
    for function in template.functions().values():
        assert function["Environment"]["Variables"]["OPENAI_SECRET_ARN"].keys() <= {"Ref", "Fn::GetAtt"}
    assert "sk-" not in json.dumps(template.body)


def test_the_environment_limit_counts_every_variable() -> None:
    check_environment("dev", {"SILTSTONE_COLLECTIONS": "x" * (ENVIRONMENT_LIMIT - len("SILTSTONE_COLLECTIONS"))})
    with pytest.raises(BadSettings, match="more than"):
        check_environment("dev", {"SILTSTONE_COLLECTIONS": "x" * ENVIRONMENT_LIMIT})


def test_only_promote_pointer_can_move_a_pointer(dev: Template) -> None:
    assert able(dev, "s3:PutObject", POINTER) == {"promote_pointer"}
    assert able(dev, "s3:DeleteObject", POINTER) == set()


def test_promote_pointer_can_write_nothing_but_pointers(dev: Template) -> None:
    [put] = [one for one in dev.statements(role("promote_pointer")) if "s3:PutObject" in one["Action"]]
    assert put["Resource"] == ["<SnapshotBucket>/snapshots/*/latest/pointer.txt"]


def test_only_upload_publishes_version_files_and_only_retire_deletes_them(dev: Template) -> None:
    assert able(dev, "s3:PutObject", VERSION_FILE) == {"upload"}
    assert able(dev, "s3:DeleteObject", VERSION_FILE) == {"retire"}


def test_pending_deltas_are_deleted_by_retirement_and_quarantine_alone(dev: Template) -> None:
    assert able(dev, "s3:DeleteObject", DELTA) == {"retire", "download"}
    assert able(dev, "s3:PutObject", DELTA) == {"plan_batches", "create_delta", "record_outcome", "embed_now"}


def test_nobody_deletes_what_is_in_quarantine(dev: Template) -> None:
    assert able(dev, "s3:DeleteObject", QUARANTINED) == set()
    assert "download" in able(dev, "s3:PutObject", QUARANTINED)


@pytest.mark.parametrize("action", ["s3:DeleteObjectVersion", "s3:PutBucketVersioning", "s3:PutLifecycleConfiguration"])
def test_nobody_can_take_the_history_away(dev: Template, action: str) -> None:
    assert able(dev, action, VERSION_FILE) == able(dev, action, "<SnapshotBucket>") == set()


def test_no_item_of_a_table_can_be_deleted(dev: Template) -> None:
    for table in ("LockTable", "LedgerTable", "SourceTable"):
        assert able(dev, "dynamodb:DeleteItem", f"<{table}>") == set()


def test_the_lock_is_taken_by_one_and_held_by_the_states_of_a_run(dev: Template) -> None:
    states = {"acquire_lock", "renew_lock", "download", "merge", "upload", "promote_pointer", "retire", "release_lock"}
    assert able(dev, "dynamodb:PutItem", "<LockTable>") == {"acquire_lock"}
    assert able(dev, "dynamodb:UpdateItem", "<LockTable>") == states


def test_whoever_reads_keys_that_may_be_missing_may_list(dev: Template) -> None:
    """Without it S3 answers 403 for a missing key, and a first run would look like a broken permission."""
    for bucket in ("<DeltaBucket>", "<SnapshotBucket>"):
        readers = {
            name
            for name in NAMES
            if any("s3:GetObject" in s["Action"] and bucket in str(s["Resource"]) for s in dev.statements(role(name)))
        }
        assert readers
        assert able(dev, "s3:ListBucket", bucket) == readers


def test_the_key_of_the_provider_is_read_by_those_who_call_it(dev: Template) -> None:
    users = {name for name in NAMES if "_provider" in (ROOT / "functions" / f"{name}.py").read_text()}
    assert users
    assert able(dev, "secretsmanager:GetSecretValue", "<OpenAiKey>") == users


def test_no_role_may_do_everything(template: Template) -> None:
    for properties in template.of_type("AWS::IAM::Policy").values():
        for statement in properties["PolicyDocument"]["Statement"]:
            actions: list[Any] = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert not [action for action in actions if action.endswith(":*") or action == "*"]
            if statement["Resource"] == "*":
                assert all(action.startswith(("xray:", "logs:")) for action in actions), actions


def test_the_query_function_alone_has_a_url_and_only_who_signs_may_ask(template: Template) -> None:
    [url] = template.of_type("AWS::Lambda::Url").values()
    assert url["AuthType"] == "AWS_IAM"
    query = next(
        name
        for name, one in template.of_type("AWS::Lambda::Function").items()
        if one["FunctionName"].endswith("-query")
    )
    assert url["TargetFunctionArn"] == {"Fn::GetAtt": [query, "Arn"]}
    permissions = template.of_type("AWS::Lambda::Permission").values()
    assert not [one for one in permissions if one["Principal"] == "*" or "FunctionUrl" in one["Action"]]
    assert template.output("QueryUrl")["Fn::GetAtt"][1] == "FunctionUrl"
