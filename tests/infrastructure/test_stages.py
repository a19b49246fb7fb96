"""Every stage is the same house: the same resources under the same ids, and a template that cfn-lint has nothing on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from siltstone.settings import CollectionBook

from app import CONFIG
from cdk.names import camel
from cdk.settings import stages
from tests.infrastructure.conftest import Synthesize
from tests.infrastructure.template import Template

STAGES = sorted(stages(CONFIG))
OUTPUTS = {
    "DeltaBucketName",
    "SnapshotBucketName",
    "LockTableName",
    "LedgerTableName",
    "SourceTableName",
    "DeltaQueueUrl",
    "DeadLetterQueueUrl",
    "CompactionMachineArn",
    "EmbeddingMachineArn",
    "QueryUrl",
    "OpenAiSecretArn",
    "Collections",
    "Release",
    "AlarmNames",
}


def test_dev_staging_and_prod_exist() -> None:
    assert set(STAGES) >= {"dev", "staging", "prod"}


def test_every_stage_has_the_same_resources_under_the_same_ids(synthesize: Synthesize) -> None:
    shapes = {
        stage: {name: one["Type"] for name, one in synthesize(stage).body["Resources"].items()} for stage in STAGES
    }
    assert len(shapes["prod"]) > 80
    for stage, shape in shapes.items():
        assert shape == shapes["prod"], stage


def test_every_stage_gives_the_same_outputs(template: Template) -> None:
    functions = {f"{camel(name)}Function" for name in template.functions()}
    assert set(template.body["Outputs"]) == OUTPUTS | functions


def test_the_collections_are_an_output_that_can_be_read(template: Template) -> None:
    assert CollectionBook.parse(template.output("Collections")).collections


def test_nothing_of_one_stage_names_another(template: Template) -> None:
    text = template.path.read_text()
    for other in set(STAGES) - {template.stage}:
        assert f"siltstone-{other}" not in text


def test_cfn_lint_has_nothing_to_say(synthesize: Synthesize) -> None:
    paths = [str(synthesize(stage).path) for stage in STAGES]
    # W3005: the CDK adds DependsOn beside the references that already say so.
    command = [str(Path(sys.executable).parent / "cfn-lint"), "--ignore-checks", "W3005", "--template", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_cdk_validation_has_nothing_to_say(template: Template) -> None:
    report = json.loads((template.folder / "validation-report.json").read_text())
    assert [plugin["violations"] for plugin in report["pluginReports"]] == [[]]
