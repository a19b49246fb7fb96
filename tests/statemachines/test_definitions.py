"""What holds for every state of both machines, read from the files."""

from __future__ import annotations

import re

import pytest
from siltstone import errors

from scripts.validate_asl import ROOT
from tests.statemachines.definitions import (
    ALL,
    DEFINED,
    FUNCTIONS,
    MACHINES,
    STARTS,
    TASKS,
    Placed,
    State,
    strings,
    walk,
)

TRANSIENT = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.Transient) and kind is not errors.Transient
} - {"IndexUnavailable"}  # of a migration, which no machine does
# Lambda did not run the function, or says that it may be asked again.
LAMBDAS_OWN = {
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
}
# The function died, or took too long. What it died of once, it dies of again, after minutes that are paid for: the run
# fails, ReleaseLock halves what the next one takes, and that one converges. Only the lock's states, which read no delta
# and take a moment, are tried again: a collection would be blocked until its lease expires.
CRASHES = {"Runtime.ExitError", "Sandbox.Timedout", "Lambda.Unknown", "States.Timeout"}
OF_THE_LOCK = {"AcquireLock", "RenewLock", "ReleaseLock"}
JSONPATH = {
    "InputPath",
    "OutputPath",
    "ResultPath",
    "Parameters",
    "ResultSelector",
    "ItemsPath",
    "SecondsPath",
    "Variable",
}


def camel(file: str) -> str:
    return "".join(word.capitalize() for word in file.split("_"))


def retried(placed: Placed) -> set[str]:
    return {name for rule in placed.state["Retry"] if rule.get("MaxAttempts") != 0 for name in rule["ErrorEquals"]}


def test_every_task_is_a_function_or_a_start_of_the_machine_itself() -> None:
    assert set(MACHINES) == {"compaction", "embedding"}
    assert len(FUNCTIONS) == 14
    assert sorted(map(str, STARTS)) == ["compaction-StartNext", "embedding-PlanAgain", "embedding-StartBatch"]
    assert len(TASKS) == len(FUNCTIONS) + len(STARTS)
    for placed in STARTS:
        assert placed.state["Arguments"]["StateMachineArn"] == "{% $states.context.StateMachine.Id %}"


@pytest.mark.parametrize("placed", FUNCTIONS, ids=str)
def test_a_state_its_function_and_its_file_share_one_name(placed: Placed) -> None:
    assert placed.state["Arguments"]["FunctionName"] == f"${{{placed.name}}}"
    assert placed.name in {camel(path.stem) for path in (ROOT / "functions").glob("[a-z]*.py")}


@pytest.mark.parametrize("machine", MACHINES)
def test_every_placeholder_is_a_state_of_the_same_machine(machine: str) -> None:
    placeholders = re.findall(r"\$\{(\w+)\}", MACHINES[machine].read_text())
    assert sorted(placeholders) == sorted(placed.name for placed in FUNCTIONS if placed.machine == machine)


@pytest.mark.parametrize("placed", TASKS, ids=str)
def test_every_task_has_a_time_limit_and_retries(placed: Placed) -> None:
    assert 60 <= placed.state["TimeoutSeconds"] <= 930  # a function lives 900 s
    assert placed.state["Retry"]


@pytest.mark.parametrize("placed", FUNCTIONS, ids=str)
def test_only_what_may_pass_is_tried_again(placed: Placed) -> None:
    assert retried(placed) - CRASHES <= TRANSIENT | LAMBDAS_OWN
    assert retried(placed) >= LAMBDAS_OWN | {"StoreUnavailable"}
    assert retried(placed) & CRASHES == (CRASHES if placed.name in OF_THE_LOCK else set())


@pytest.mark.parametrize("placed", [placed for placed in FUNCTIONS if placed.name in OF_THE_LOCK], ids=str)
def test_a_locks_state_is_done_with_crashes_long_before_the_lease_expires(placed: Placed) -> None:
    from siltstone.compaction.lock import LEASE_SECONDS

    from cdk.functions import SIZES

    [rule] = [rule for rule in placed.state["Retry"] if set(rule["ErrorEquals"]) == CRASHES]
    attempts = 1 + rule["MaxAttempts"]
    assert attempts * (placed.state["TimeoutSeconds"] + rule["MaxDelaySeconds"]) < LEASE_SECONDS / 2
    # An attempt that was given up is over: one that still ran could take the lock anew after this run released it.
    assert SIZES[placed.name.lower().replace("lock", "_lock")].timeout_seconds < placed.state["TimeoutSeconds"]


def test_whatever_can_be_transient_is_tried_again_where_it_can_happen() -> None:
    provider = {"PollBatch", "CreateDelta", "RecordOutcome"}
    for placed in FUNCTIONS:
        expected = {"SubmitBatch": TRANSIENT}.get(placed.name, {"StoreUnavailable"})
        expected |= {"ProviderUnavailable"} if placed.name in provider else set()
        assert retried(placed) - LAMBDAS_OWN - CRASHES == expected, placed.name


def test_no_transient_error_is_unknown_to_the_machines() -> None:
    assert set.union(*map(retried, FUNCTIONS)) - LAMBDAS_OWN - CRASHES == TRANSIENT


@pytest.mark.parametrize("placed", TASKS, ids=str)
def test_retries_wait_longer_each_time_and_not_all_at_once(placed: Placed) -> None:
    for rule in placed.state["Retry"]:
        assert "States.ALL" not in rule["ErrorEquals"]
        if rule.get("MaxAttempts") == 0 or rule["ErrorEquals"] == ["SubmissionUnclear"]:
            continue
        assert rule["BackoffRate"] == 2
        assert (rule["JitterStrategy"], rule["MaxDelaySeconds"]) == ("FULL", 60)
    [start] = [rule for rule in placed.state["Retry"] if "States.TaskFailed" in rule["ErrorEquals"]] or [None]
    assert (start is not None) == (placed in STARTS)


def test_an_unclear_submission_is_asked_about_for_longer_than_the_providers_list_lags() -> None:
    from siltstone.embedding.submit_batch import LIST_LAG

    [rule] = [
        rule
        for rule in DEFINED["embedding"]["States"]["SubmitBatch"]["Retry"]
        if "SubmissionUnclear" in rule["ErrorEquals"]
    ]
    assert rule["IntervalSeconds"] * rule["MaxAttempts"] > 3 * LIST_LAG


@pytest.mark.parametrize("placed", [placed for placed in FUNCTIONS if placed.in_map], ids=str)
def test_every_failure_inside_the_map_leads_to_the_release(placed: Placed) -> None:
    last = placed.state["Catch"][-1]
    expected = {"AcquireLock": "NotLocked", "ReleaseLock": "Outcome"}
    assert last["ErrorEquals"] == ["States.ALL"]
    assert last["Next"] == expected.get(placed.name, "ReleaseLock")
    assert "failure" in last["Assign"]
    if placed.name != "ReleaseLock":
        assert last["Assign"]["failure"]["state"] == placed.name
        assert last["Assign"]["failure"]["cause"] == "{% $substring($states.errorOutput.Cause & '', 0, 500) %}"


def test_a_lock_that_was_taken_is_released_on_every_path() -> None:
    """From what follows AcquireLock, no way out of the Map leads past ReleaseLock."""
    states = DEFINED["compaction"]["States"]["CompactCollections"]["ItemProcessor"]["States"]
    seen: set[str] = set()
    todo = [states["AcquireLock"]["Next"]]
    while todo:
        name = todo.pop()
        if name in seen or name == "ReleaseLock":
            continue
        seen.add(name)
        state = states[name]
        assert "End" not in state, f"{name} ends the run and holds its lock"
        todo += _targets(state)
    assert seen == {"Download", "AnyDeltas?", "Merge", "Sealed?", "RenewLock", "Upload", "PromotePointer", "Retire"}


def _targets(state: State) -> list[str]:
    ways = [state, *state.get("Catch", []), *state.get("Choices", [])]
    return [way[key] for way in ways for key in ("Next", "Default") if key in way]


@pytest.mark.parametrize("placed", [placed for placed in TASKS if placed.machine == "embedding"], ids=str)
def test_a_batch_is_recorded_as_failed_only_if_the_provider_failed_it(placed: Placed) -> None:
    caught = {name: rule["Next"] for rule in placed.state.get("Catch", []) for name in rule["ErrorEquals"]}
    if placed.name in {"SubmitBatch", "PollBatch", "CreateDelta"}:
        assert caught == {"BatchFailed": "RecordOutcome"}
    elif placed.name == "StartBatch":
        assert set(caught) == {"StepFunctions.ExecutionAlreadyExistsException", "ExecutionAlreadyExists"}
    else:
        assert caught == {}


@pytest.mark.parametrize("machine", MACHINES)
def test_jsonata_is_the_only_language(machine: str) -> None:
    assert DEFINED[machine]["QueryLanguage"] == "JSONata"
    for placed in walk(machine, DEFINED[machine]["States"]):
        assert "QueryLanguage" not in placed.state
        assert not JSONPATH & placed.state.keys()
        for text in strings(placed.state):
            is_expression = text.startswith("{% ") and text.endswith(" %}")
            assert is_expression or "$" not in re.sub(r"\$\{\w+\}", "", text), text
    assert not re.search(r'\.\$"\s*:', MACHINES[machine].read_text())


def test_no_variable_of_the_map_has_the_name_of_one_outside() -> None:
    """AWS refuses a definition in which an inner scope assigns an outer variable; the emulator does not."""
    for machine in MACHINES:
        assigned: dict[bool, set[str]] = {True: set(), False: set()}
        for placed in walk(machine, DEFINED[machine]["States"]):
            ways = [placed.state, *placed.state.get("Catch", []), *placed.state.get("Choices", [])]
            assigned[placed.in_map] |= {name for way in ways for name in way.get("Assign", {})}
        assert not assigned[True] & assigned[False]


def test_no_succeed_state_shapes_its_output() -> None:
    """The emulator ignores a Succeed state's ``Output``: what is tested would not be what runs. Pass does the same."""
    assert not [str(placed) for placed in ALL if placed.state["Type"] == "Succeed" and "Output" in placed.state]


@pytest.mark.parametrize("machine", MACHINES)
def test_a_machine_stays_readable_on_few_screens(machine: str) -> None:
    assert len(MACHINES[machine].read_text().splitlines()) <= 250
