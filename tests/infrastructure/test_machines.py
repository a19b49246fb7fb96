"""The deployed machines are the ASL files with every placeholder filled, and nothing that was forgotten."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from siltstone.compaction.lock import LEASE_SECONDS
from siltstone.errors import BadSettings

from cdk.machines import STATES, check_placeholders
from cdk.names import camel
from scripts.validate_asl import DEFINITIONS
from tests.infrastructure.template import Template

MACHINES = sorted(STATES)


def machine(template: Template, name: str) -> dict[str, Any]:
    return template.one("AWS::StepFunctions::StateMachine", camel(name))


def definition(template: Template, name: str) -> str:
    """The text that is deployed: the asset that the template's key names."""
    key = machine(template, name)["DefinitionS3Location"]["Key"]
    return (template.folder / f"asset.{key}").read_text()


def tasks(states: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All Task states by name, those inside a Map too."""
    found: dict[str, dict[str, Any]] = {}
    for name, state in states.items():
        if state["Type"] == "Task":
            found[name] = state
        if "ItemProcessor" in state:
            found |= tasks(state["ItemProcessor"]["States"])
    return found


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_deployed_is_the_file(template: Template, name: str) -> None:
    assert definition(template, name) == (DEFINITIONS / f"{name}.asl.json").read_text()


@pytest.mark.parametrize("name", MACHINES)
def test_every_placeholder_has_a_substitution_and_the_other_way_round(template: Template, name: str) -> None:
    placeholders = set(re.findall(r"\$\{(\w+)\}", definition(template, name)))
    substitutions = machine(template, name)["DefinitionSubstitutions"]
    assert placeholders == set(substitutions) == {camel(state) for state in STATES[name]}
    functions = template.of_type("AWS::Lambda::Function")
    for placeholder, arn in substitutions.items():
        target = functions[arn["Fn::GetAtt"][0]]
        assert (
            camel(target["FunctionName"].removeprefix(f"siltstone-{template.stage}-").replace("-", "_")) == placeholder
        )


@pytest.mark.parametrize("name", MACHINES)
def test_each_state_calls_the_function_of_its_own_name(name: str) -> None:
    states = json.loads((DEFINITIONS / f"{name}.asl.json").read_text())["States"]
    called = {
        state: task["Arguments"]["FunctionName"]
        for state, task in tasks(states).items()
        if task["Resource"].endswith("lambda:invoke")
    }
    assert called == {camel(state): f"${{{camel(state)}}}" for state in STATES[name]}


@pytest.mark.parametrize("name", MACHINES)
def test_a_state_waits_longer_than_its_function_may_take(template: Template, name: str) -> None:
    functions = template.functions()
    states = tasks(json.loads((DEFINITIONS / f"{name}.asl.json").read_text())["States"])
    for state in STATES[name]:
        assert states[camel(state)]["TimeoutSeconds"] > functions[state]["Timeout"], state


def test_a_lease_outlives_the_longest_state(template: Template) -> None:
    longest = max(template.functions()[state]["Timeout"] for state in STATES["compaction"])
    assert longest < LEASE_SECONDS


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_may_call_its_own_functions_and_start_itself(template: Template, name: str) -> None:
    statements = template.statements(f"{camel(name)}MachineRole")
    [start] = [one for one in statements if "states:StartExecution" in one["Action"]]
    assert [arn.rsplit(":", 1)[-1] for arn in start["Resource"]] == [machine(template, name)["StateMachineName"]]
    invoked = {arn for one in statements if "lambda:InvokeFunction" in one["Action"] for arn in one["Resource"]}
    assert invoked == {f"<Functions{camel(state)}>" for state in STATES[name]}


@pytest.mark.parametrize("name", MACHINES)
def test_failures_are_logged_without_what_was_processed(template: Template, name: str) -> None:
    logging = machine(template, name)["LoggingConfiguration"]
    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ERROR", False)
    assert machine(template, name)["TracingConfiguration"] == {"Enabled": True}


def test_a_placeholder_without_a_function_is_refused_at_synth(tmp_path: Path) -> None:
    path = tmp_path / "compaction.asl.json"
    path.write_text('{"FunctionName": "${Merge}", "Other": "${Marge}"}')
    with pytest.raises(BadSettings, match=r"without a function: \['Marge'\].*without a placeholder: \['Upload'\]"):
        check_placeholders(path, {"Merge", "Upload"})


def test_a_missing_definition_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"compaction\.asl\.json can't be read"):
        check_placeholders(tmp_path / "compaction.asl.json", set())


def test_the_schedule_starts_a_compaction_every_hour(template: Template) -> None:
    schedule = template.one("AWS::Scheduler::Schedule", "CompactOnSchedule")
    assert schedule["ScheduleExpression"] in {"rate(60 minutes)", "rate(1 hour)"}
    assert schedule["State"] == "ENABLED"
    assert json.loads(schedule["Target"]["Input"]) == {"operation": "compact"}
    assert "CompactionMachine" in schedule["Target"]["Arn"]["Ref"]


def test_planning_is_scheduled_only_where_a_stage_says_so(template: Template) -> None:
    schedule = template.one("AWS::Scheduler::Schedule", "PlanOnSchedule")
    assert (schedule["State"], json.loads(schedule["Target"]["Input"])) == ("DISABLED", {})


def test_hints_are_gathered_before_they_start_a_run(template: Template) -> None:
    [source] = template.of_type("AWS::Lambda::EventSourceMapping").values()
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert 1 <= source["MaximumBatchingWindowInSeconds"] <= 300
    queue = template.one("AWS::SQS::Queue", "HintsQueue")
    starter = template.functions()["start_compaction"]
    assert queue["VisibilityTimeout"] >= 6 * starter["Timeout"] + source["MaximumBatchingWindowInSeconds"]
    starts = [one for one in template.statements("FunctionsStartCompactionRole") if "states:" in str(one["Action"])]
    assert [(one["Action"], one["Resource"]) for one in starts] == [
        (["states:StartExecution"], ["<CompactionMachine>"])
    ]
