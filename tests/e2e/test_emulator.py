"""The walking skeleton: a synthesized CDK app, deployed and run for real on the emulated AWS."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
from siltstone_local.deploy import deploy
from siltstone_local.deployment import describe
from siltstone_local.emulator import Emulator
from siltstone_local.errors import DeployFailed, ExecutionFailed, UnknownName
from siltstone_local.logs import function_log
from siltstone_local.machines import run_machine, start_machine, wait_for_execution
from siltstone_local.node import use_node
from siltstone_local.runtime import FunctionRuntime

pytestmark = pytest.mark.e2e

APP = Path(__file__).parent / "emulator_app"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("emulator")


@pytest.fixture(scope="module")
def assembly(folder):
    use_node()  # before the first import of aws_cdk
    from tests.e2e.emulator_app.app import synthesize

    return lambda **settings: synthesize(folder / f"cdk.out-{len(list(folder.iterdir()))}", **settings)


@pytest.fixture(scope="module")
def emulator(folder):
    with Emulator(folder / "state", wait_scale=0) as running:
        yield running


@pytest.fixture(scope="module")
def runtime(folder, emulator):
    """The functions' code in a folder that a test may edit."""
    shutil.copytree(APP / "functions", folder / "project" / "functions")
    return FunctionRuntime(emulator.scratch, project=folder / "project")


@pytest.fixture(scope="module")
def first(assembly):
    return assembly()


@pytest.fixture
def deployment(emulator, runtime, first):
    return deploy(first, emulator, runtime=runtime, environment={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})


def probe(deployment, **event):
    return run_machine(deployment, "probe", event)


def failure_of(deployment, **event):
    with pytest.raises(ExecutionFailed) as raised:
        probe(deployment, **event)
    return raised.value


def test_a_machine_calls_a_function_that_writes_to_a_bucket_and_a_table_of_another_stack(deployment):
    assert probe(deployment, operation="store", key="a/b") == {"stored": "a/b"}
    [bucket], [table] = deployment.buckets.values(), deployment.tables.values()
    assert deployment.output("BucketName") == bucket
    assert deployment.client("s3").get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"stored"
    assert deployment.client("dynamodb").get_item(TableName=table, Key={"id": {"S": "a/b"}})["Item"]


def test_a_function_has_its_own_environment_the_local_one_and_nothing_of_the_callers(deployment, monkeypatch):
    environment = probe(deployment, operation="describe")["environment"]
    assert environment["NOTE"] == "first"
    assert environment["OPENAI_BASE_URL"] == "http://127.0.0.1:9/v1"
    assert environment["AWS_ENDPOINT_URL"] == deployment.endpoint
    assert environment["AWS_DEFAULT_REGION"] == "us-east-1"
    assert "PYTEST_CURRENT_TEST" not in environment


def test_variables_of_concurrent_iterations_are_kept_apart_and_reach_their_catch(deployment):
    output = run_machine(deployment, "probe", {"items": [1, 2, 3, 4, 5]}, name="apart")
    assert output == [
        {"item": 1, "error": "Collapsed", "execution": "apart"},
        {"item": 2, "result": 2},
        {"item": 3, "error": "Collapsed", "execution": "apart"},
        {"item": 4, "result": 4},
        {"item": 5, "error": "Collapsed", "execution": "apart"},
    ]


def test_progress_tells_each_step_once_also_inside_a_map(deployment):
    steps = []
    run_machine(deployment, "probe", {"items": [1, 2]}, on_progress=steps.append)
    assert [step.state for step in steps if step.kind == "entered"] == ["HasItems", "EachItem"]
    assert [step.state for step in steps if step.kind == "ran"] == ["Probe", "Probe"]
    assert [(step.state, step.detail) for step in steps if step.kind == "failed"] == [
        ("Probe", "Collapsed: 1 collapsed")
    ]
    assert (steps[-1].kind, steps[-1].detail) == ("ended", "SUCCEEDED")
    assert [step.at for step in steps] == sorted(step.at for step in steps)


def test_an_execution_that_something_else_started_can_be_followed(deployment):
    execution = start_machine(deployment, "probe", {"operation": "store", "key": "x"}, name="by-somebody")
    assert wait_for_execution(deployment, execution) == {"stored": "x"}


def test_a_failed_execution_names_state_error_and_cause(deployment):
    failure = failure_of(deployment, operation="fail")
    assert (failure.status, failure.state, failure.error) == ("FAILED", "Probe", "Collapsed")
    assert json.loads(failure.cause)["errorMessage"] == "it collapsed"


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"operation": "crash"}, "Runtime.ExitError"),
        ({"operation": "leave"}, "Runtime.ExitError"),
        ({"operation": "sleep", "seconds": 30}, "Sandbox.Timedout"),
    ],
)
def test_a_function_that_dies_or_takes_too_long_fails_by_the_name_that_lambda_gives(deployment, event, error):
    assert failure_of(deployment, **event).error == error
    assert probe(deployment, operation="store", key="after") == {"stored": "after"}


def test_patience_ends_without_ending_the_execution(deployment):
    execution = start_machine(deployment, "probe", {"operation": "sleep", "seconds": 1.5})
    with pytest.raises(ExecutionFailed) as raised:
        wait_for_execution(deployment, execution, patience=0.2)
    assert (raised.value.status, raised.value.state) == ("RUNNING", "Probe")
    assert wait_for_execution(deployment, execution)["slept"] == 1.5


def test_killed_processes_are_those_of_the_functions_and_the_next_call_starts_afresh(deployment, emulator):
    before = probe(deployment, operation="describe")
    assert before["pid"] in {each.pid for each in emulator.function_processes(deployment.function("probe").name)}
    killed = {each.pid for each in emulator.kill_function_processes()}
    assert before["pid"] in killed
    assert emulator.pid not in killed
    assert emulator.function_processes() == []
    after = probe(deployment, operation="describe")
    assert after["pid"] not in killed
    assert after["scratch"] != before["scratch"]


def test_a_function_killed_at_work_fails_its_state(deployment, emulator):
    execution = start_machine(deployment, "probe", {"operation": "sleep", "seconds": 2})
    time.sleep(0.7)
    emulator.kill_function_processes(deployment.function("probe").name)
    with pytest.raises(ExecutionFailed, match=r"Runtime\.ExitError"):
        wait_for_execution(deployment, execution)


def test_concurrent_calls_have_processes_and_disks_of_their_own(deployment):
    results = []
    calls = [
        threading.Thread(target=lambda: results.append(probe(deployment, operation="sleep", seconds=0.8)))
        for _ in range(3)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert len({each["pid"] for each in results}) == 3


def test_a_functions_log_holds_what_it_printed_and_its_errors(deployment):
    since = time.time() - 0.01
    failure_of(deployment, operation="fail")
    log = function_log(deployment, "probe", since=since)
    assert "operation fail" in log
    assert "[ERROR] Collapsed: it collapsed" in log
    assert function_log(deployment, "probe", since=time.time() + 60) == []


def test_names_that_do_not_exist_are_answered_with_those_that_do(deployment):
    with pytest.raises(UnknownName, match="There are: ProbeMachine"):
        run_machine(deployment, "compaction", {})
    with pytest.raises(UnknownName, match="There are: probe"):
        deployment.function("merge")
    with pytest.raises(UnknownName, match="BucketName"):
        deployment.output("TableName")


def test_what_is_deployed_can_be_read_by_another_process(deployment):
    again = describe(deployment.endpoint)
    assert set(again.stacks) == {"Storage", "Machine"}
    assert again.machines == deployment.machines


def test_deploying_the_same_again_changes_nothing(deployment, emulator, runtime, first):
    pid = probe(deployment, operation="describe")["pid"]
    events = []
    environment = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    again = deploy(first, emulator, runtime=runtime, environment=environment, on_progress=events.append)
    assert events == ["Storage: nothing changed", "Machine: nothing changed"]
    assert again.resources == deployment.resources
    assert pid in {each.pid for each in emulator.function_processes()}


def test_a_changed_template_updates_the_stack_and_keeps_what_is_stored(deployment, emulator, runtime, assembly):
    probe(deployment, operation="store", key="kept")
    updated = deploy(assembly(note="second"), emulator, runtime=runtime)
    assert probe(updated, operation="describe")["environment"]["NOTE"] == "second"
    [bucket] = updated.buckets.values()
    assert updated.client("s3").get_object(Bucket=bucket, Key="kept")["Body"].read() == b"stored"


def test_edited_code_runs_after_the_next_deployment(deployment, emulator, runtime, first):
    assert probe(deployment, operation="store", key="k") == {"stored": "k"}
    code = runtime.project / "functions" / "probe.py"
    original = code.read_text()
    try:
        code.write_text(original.replace('return {"stored": event["key"]}', 'return {"stored": "edited"}'))
        assert probe(deploy(first, emulator, runtime=runtime), operation="store", key="k") == {"stored": "edited"}
    finally:
        code.write_text(original)


def test_a_kept_emulator_runs_the_stacks_of_before_its_stop(tmp_path, runtime, first):
    for round_ in range(2):
        with Emulator(tmp_path, persist=True) as kept:
            here = FunctionRuntime(kept.scratch, project=runtime.project)
            events = []
            deployed = deploy(first, kept, runtime=here, on_progress=events.append)
            assert ("Machine: nothing changed" in events) is bool(round_)
            assert probe(deployed, operation="store", key=f"round-{round_}") == {"stored": f"round-{round_}"}
            [bucket] = deployed.buckets.values()
            keys = [each["Key"] for each in deployed.client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
            assert keys == [f"round-{each}" for each in range(round_ + 1)]


def raw_assembly(folder, name, resources):
    folder.mkdir()
    artifact = {"type": "aws:cloudformation:stack", "properties": {"templateFile": "t.json"}}
    (folder / "manifest.json").write_text(json.dumps({"artifacts": {name: artifact}}))
    (folder / "t.json").write_text(json.dumps({"Resources": resources}))
    return folder


QUEUE = {"Good": {"Type": "AWS::SQS::Queue"}}
NOWHERE = {"RoleArn": "arn:aws:iam::000000000000:role/x", "DefinitionS3Location": {"Bucket": "nowhere", "Key": "x"}}
BAD = {"Bad": {"Type": "AWS::StepFunctions::StateMachine", "Properties": NOWHERE}}
REASON = r"Bad \(AWS::StepFunctions::StateMachine\): .*not found: s3://nowhere/x"


def test_a_template_that_is_refused_says_why(emulator, tmp_path):
    unknown = {"Odd": {"Type": "AWS::Siltstone::Nothing"}}
    with pytest.raises(DeployFailed, match=r"The stack Refused was refused: .*AWS::Siltstone::Nothing"):
        deploy(raw_assembly(tmp_path / "wrong", "Refused", unknown), emulator)


def test_a_stack_that_fails_says_which_resource_and_why_and_can_be_mended(emulator, tmp_path):
    with pytest.raises(DeployFailed, match="The stack Broken is CREATE_FAILED: " + REASON):
        deploy(raw_assembly(tmp_path / "wrong", "Broken", QUEUE | BAD), emulator)
    assert list(deploy(raw_assembly(tmp_path / "right", "Broken", QUEUE), emulator).queues) == ["Good"]


def test_a_name_that_is_taken_is_told_although_no_resource_was_tried(emulator, tmp_path):
    taken = {"Mine": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "taken"}}}
    emulator.client("s3").create_bucket(Bucket="taken")
    with pytest.raises(DeployFailed, match=r"The stack Taken is CREATE_FAILED: Mine .*already exists"):
        deploy(raw_assembly(tmp_path / "taken", "Taken", taken), emulator)


def test_an_update_that_fails_leaves_the_stack_as_it_was_and_can_be_mended(emulator, tmp_path):
    before = deploy(raw_assembly(tmp_path / "first", "Updated", QUEUE), emulator)
    with pytest.raises(DeployFailed, match="The stack Updated is UPDATE_ROLLBACK_COMPLETE: " + REASON):
        deploy(raw_assembly(tmp_path / "wrong", "Updated", QUEUE | BAD), emulator)
    assert describe(emulator.endpoint, ["Updated"]).queues == before.queues
    two = {"Good": QUEUE["Good"], "Other": QUEUE["Good"]}
    assert set(deploy(raw_assembly(tmp_path / "right", "Updated", two), emulator).queues) == {"Good", "Other"}


def test_an_environment_that_aws_would_refuse_is_refused_here(emulator, runtime, first, assembly):
    with pytest.raises(DeployFailed, match="AWS takes 4096"):
        deploy(assembly(note="x" * 4200), emulator, runtime=runtime)
