"""Each alarm watches something that is emitted, under exactly the dimensions that are emitted, and can fire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app import CONFIG, build
from cdk.settings import load_stage
from tests.infrastructure.conftest import Synthesize
from tests.infrastructure.template import Template

Emitted = dict[str, dict[str, str]]


def alarms(template: Template) -> dict[str, dict[str, Any]]:
    prefix = f"siltstone-{template.stage}-"
    return {one["AlarmName"].removeprefix(prefix): one for one in template.of_type("AWS::CloudWatch::Alarm").values()}


def own(template: Template) -> dict[str, dict[str, Any]]:
    """The alarms over the functions' own metrics, by metric."""
    return {one["MetricName"]: one for one in alarms(template).values() if one["Namespace"] == "ChromaDB/Compaction"}


@pytest.fixture(scope="module")
def emitted(synthesize: Synthesize, tmp_path_factory: pytest.TempPathFactory) -> Emitted:
    """Dimensions by metric name, as the real handlers write them with the environment of the template."""
    variables = synthesize("prod").functions()["list_collections"]["Environment"]["Variables"]
    environment = {
        **os.environ,
        **{name: value if isinstance(value, str) else "unresolved" for name, value in variables.items()},
        "SCRATCH_DIR": str(tmp_path_factory.mktemp("scratch")),
        "AWS_DEFAULT_REGION": "us-east-1",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "PYTHONPATH": os.pathsep.join([str(CONFIG.parent), str(CONFIG.parent / "core")]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.infrastructure.emit"],
        cwd=CONFIG.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: Emitted = {}
    for line in done.stdout.splitlines():
        if '"_aws"' not in line:
            continue
        record = json.loads(line)
        [group] = record["_aws"]["CloudWatchMetrics"]
        [names] = group["Dimensions"]
        assert group["Namespace"] == "ChromaDB/Compaction"
        for metric in group["Metrics"]:
            found[metric["Name"]] = {name: record[name] for name in names}
    return found


def test_every_alarm_over_our_metrics_watches_one_that_is_emitted(synthesize: Synthesize, emitted: Emitted) -> None:
    assert set(own(synthesize("prod"))) <= set(emitted)
    assert set(own(synthesize("prod"))) >= {"LockContentionCount", "DeltaFileCount", "DeltasQuarantined"}


def test_dimensions_are_exactly_those_that_are_emitted(synthesize: Synthesize, emitted: Emitted) -> None:
    for name, alarm in own(synthesize("prod")).items():
        watched = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
        assert watched == emitted[name] == {"service": "siltstone", "stage": "prod"}


def test_the_contention_alarm_can_fire(template: Template) -> None:
    """Its threshold is within what the schedule and the hints can start in its period."""
    alarm = own(template)["LockContentionCount"]
    triggers = load_stage(CONFIG, template.stage).triggers
    starts = alarm["Period"] / 60 / triggers.compact_every_minutes + alarm["Period"] / triggers.hint_window_seconds
    assert alarm["Statistic"] == "Sum"
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert alarm["Threshold"] <= starts


def test_the_backlog_alarm_sees_a_listing_in_every_period(template: Template) -> None:
    alarm = own(template)["DeltaFileCount"]
    assert alarm["Statistic"] == "Maximum"
    assert alarm["Period"] >= 60 * load_stage(CONFIG, template.stage).triggers.compact_every_minutes
    assert alarm["Period"] >= 3_600


def test_failed_executions_of_both_machines_and_dead_hints_are_noticed(template: Template) -> None:
    watched = {
        (one["MetricName"], dimension["Name"], str(next(iter(dimension["Value"].values()))))
        for one in alarms(template).values()
        if one["Namespace"].startswith("AWS/")
        for dimension in one["Dimensions"]
    }
    assert {(metric, name) for metric, name, _ in watched} == {
        ("ExecutionsFailed", "StateMachineArn"),
        ("ExecutionsStarted", "StateMachineArn"),
        ("ApproximateNumberOfMessagesVisible", "QueueName"),
    }
    failed = {of for metric, _, of in watched if metric == "ExecutionsFailed"}
    assert len(failed) == 2


def test_a_schedule_that_stopped_is_noticed_though_it_emits_nothing(template: Template) -> None:
    silent = alarms(template)["CompactionSilent"]
    assert (silent["TreatMissingData"], silent["ComparisonOperator"]) == ("breaching", "LessThanThreshold")


def test_every_alarm_says_what_it_means(template: Template) -> None:
    assert len(alarms(template)) == 7
    assert all(len(one["AlarmDescription"]) > 20 for one in alarms(template).values())


def test_every_alarm_tells_the_topic_that_a_stage_names(tmp_path: Path) -> None:
    arn = "arn:aws:sns:eu-central-1:123456789012:on-call"
    config = tmp_path / "cdk.json"
    config.write_text(json.dumps({"stages": {"dev": {"alarms": {"topic_arn": arn}}}}))
    build("dev", str(tmp_path / "out"), config).synth()
    path = tmp_path / "out" / "siltstone-dev.template.json"
    told = [one["AlarmActions"] for one in alarms(Template(path, json.loads(path.read_text()))).values()]
    assert told == [[arn]] * 7
