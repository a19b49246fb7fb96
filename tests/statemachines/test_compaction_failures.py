"""The compaction machine where something fails: each failure is released once, told once, and keeps nobody waiting.

Each execution here has one collection for each place that can fail, and one that must not notice.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from siltstone import errors

from tests.statemachines.compacting import PARTS_REMAIN, RUN, blamed, due, only
from tests.statemachines.stage import Action, Execution, Stage, always, dies, raises, returns, sleeps

MACHINE = "compaction"
pytestmark = pytest.mark.xdist_group("compaction-failures")

STATES = ["Download", "Merge", "RenewLock", "Upload", "PromotePointer", "Retire"]  # those that hold the lease
BEFORE = {  # what was called until the state failed
    state: ["AcquireLock", "Download", "Merge", "RenewLock"] if state == "RenewLock" else RUN[: RUN.index(state) + 1]
    for state in STATES
}
LIMIT = 262_144  # bytes between states, and in the variables that one state assigns


def fail_everywhere(stage: Stage, action: Action, *, suffix: str = "", **settings: Any) -> Execution:
    """One execution in which each state of ``STATES`` fails for the collection of its name, and ``good`` runs."""
    script: dict[str, list[Action]] = {f"{state}/at-{state}": [always(action)] for state in STATES}
    script |= {"ListCollections": [due(*(f"at-{state}" for state in STATES), "good")]}
    stage.script(script | {"Merge/at-RenewLock": [PARTS_REMAIN]})
    machine = stage.change(lambda _: None, suffix=suffix, **settings) if settings else ""
    return stage.run({}, machine=machine)


def check_released_and_told(
    stage: Stage, execution: Execution, error: str, *, calls: int = 1, calls_of_renewal: int | None = None
) -> None:
    """Every failing collection: its state was called ``calls`` times, its lock released once, with this error."""
    assert blamed(execution) == [f"at-{state}" for state in STATES]
    for state in STATES:
        expected = calls if state != "RenewLock" or calls_of_renewal is None else calls_of_renewal
        assert stage.order(f"at-{state}") == [*BEFORE[state], *[state] * (expected - 1), "ReleaseLock"]
        release = only(stage, "ReleaseLock", f"at-{state}")
        assert release.payload["run"] == only(stage, "AcquireLock", f"at-{state}").answer
        failure = release.payload["failure"]
        assert (failure["state"], failure["error"]) == (state, error)
        assert len(failure["cause"]) <= 500
        assert f"{state}: {error}: {failure['cause']}" in execution.cause
    assert stage.order("good") == RUN
    assert only(stage, "ReleaseLock", "good").payload["failure"] is None


@pytest.mark.parametrize(
    "error",
    [
        errors.BadEvent,
        errors.UnknownVersion,
        errors.LockLost,
        errors.LockBusy,  # only AcquireLock may be busy
        errors.SnapshotDamaged,
        errors.SettingsMismatch,
        ValueError,
    ],
)
def test_what_no_retry_can_mend_is_tried_once(stage: Stage, error: type[Exception]) -> None:
    execution = fail_everywhere(stage, raises(error.__name__, "it is damaged"))
    check_released_and_told(stage, execution, error.__name__)
    assert "it is damaged" in only(stage, "ReleaseLock", "at-Merge").payload["failure"]["cause"]


def test_a_store_that_stays_away_is_given_up_after_five_retries(stage: Stage) -> None:
    execution = fail_everywhere(stage, raises("StoreUnavailable"))
    check_released_and_told(stage, execution, "StoreUnavailable", calls=6)
    for state in STATES:
        payloads = [call.payload for call in stage.calls(state, f"at-{state}")]
        assert payloads[-6:] == [payloads[-1]] * 6


def test_a_killed_function_is_tried_again_only_where_it_keeps_the_lock(stage: Stage) -> None:
    check_released_and_told(stage, fail_everywhere(stage, dies()), "Runtime.ExitError", calls_of_renewal=3)


def test_a_function_that_takes_too_long_is_tried_again_only_where_it_keeps_the_lock(stage: Stage) -> None:
    execution = fail_everywhere(stage, sleeps(30), suffix="-hasty", timeout=2)
    check_released_and_told(stage, execution, "Sandbox.Timedout", calls_of_renewal=3)


def test_a_lock_whose_function_was_killed_is_taken_kept_and_released_all_the_same(stage: Stage) -> None:
    killed_twice = [dies(), dies()]
    states = ("AcquireLock", "RenewLock", "ReleaseLock")
    stage.script({"ListCollections": [due("lines")], "Merge": [PARTS_REMAIN], **dict.fromkeys(states, killed_twice)})
    assert stage.run({}).status == "SUCCEEDED"
    assert [len(stage.calls(state, "lines")) for state in states] == [3, 3, 3]
    assert only(stage, "Retire", "lines").answer


def test_a_state_that_takes_too_long_is_released_while_its_function_still_runs(stage: Stage) -> None:
    stage.script({"ListCollections": [due("slow")], "Merge/slow": [sleeps(8)]})
    machine = stage.change(lambda states: merge_of(states).update(TimeoutSeconds=1))
    execution = stage.run({}, machine=machine)
    assert blamed(execution) == ["slow"]
    assert stage.order("slow") == ["AcquireLock", "Download", "Merge", "ReleaseLock"]
    failure = only(stage, "ReleaseLock").payload["failure"]
    assert (failure["state"], failure["error"]) == ("Merge", "States.Timeout")


def merge_of(states: dict[str, Any]) -> dict[str, Any]:
    return states["CompactCollections"]["ItemProcessor"]["States"]["Merge"]


UNUSABLE = {
    "no-plan": ("Download", {"base_version": None, "deltas": 1, "more": False}),
    "no-count": ("Download", {"plan": {}, "base_version": None, "more": False}),
    "odd-count": ("Download", {"plan": {}, "base_version": None, "deltas": "many", "more": False}),
    "nothing": ("Download", None),
    "no-seal": ("Merge", {"parts_done": 1, "parts_total": 2, "work": None}),
    "no-work": ("Merge", {"parts_done": 1, "parts_total": 2, "sealed": None}),
    "no-manifest": ("Upload", {"files": 1, "bytes": 1}),
    "no-version": ("PromotePointer", {}),
}


def test_an_answer_that_lacks_what_the_machine_reads_is_a_failure_as_any_other(staged: Stage) -> None:
    """`States.QueryEvaluationError` is raised by the state whose answer can't be read, and by no state without a Catch:
    there it would end the Map, and with it all the other runs, and release nothing."""
    script = {f"{state}/{name}": [returns(answer)] for name, (state, answer) in UNUSABLE.items()}
    staged.script(script | {"ListCollections": [due(*UNUSABLE, "good")]})
    assert blamed(staged.run({})) == list(UNUSABLE)
    for name, (state, _) in UNUSABLE.items():
        assert staged.order(name) == [*BEFORE[state], "ReleaseLock"]
        failure = only(staged, "ReleaseLock", name).payload["failure"]
        assert (failure["state"], failure["error"]) == (state, "States.QueryEvaluationError")
    assert staged.order("good") == RUN


def test_a_lock_that_answers_nonsense_fails_that_collection_alone(staged: Stage) -> None:
    staged.script({"ListCollections": [due("odd", "good")], "AcquireLock/odd": [returns(None)]})
    assert blamed(staged.run({})) == ["odd"]
    assert staged.order("good") == RUN


@pytest.mark.parametrize(
    ("action", "error", "calls"),
    [
        (raises("PointerMissing"), "PointerMissing", 1),
        (raises("UnknownCollection"), "UnknownCollection", 1),
        (raises("StoreUnavailable"), "StoreUnavailable", 6),
        (dies(), "Runtime.ExitError", 3),
    ],
)
def test_where_no_lock_was_taken_none_is_released(stage: Stage, action: Action, error: str, calls: int) -> None:
    stage.script({"ListCollections": [due("unlocked", "good")], "AcquireLock/unlocked": [always(action)]})
    execution = stage.run({})
    assert blamed(execution) == ["unlocked"]
    assert f"AcquireLock: {error}: " in execution.cause
    assert stage.order("unlocked") == ["AcquireLock"] * calls
    assert stage.order("good") == RUN


@pytest.mark.parametrize(
    ("action", "error", "calls"),
    [(raises("StoreUnavailable"), "StoreUnavailable", 6), (dies(), "Runtime.ExitError", 3)],
)
def test_a_lock_that_can_not_be_released_is_told_and_hides_no_failure_before_it(
    stage: Stage, action: Action, error: str, calls: int
) -> None:
    stage.script(
        {
            "ListCollections": [due("published", "failed", "good")],
            "Upload/failed": [raises("CheckFailed")],
            "ReleaseLock/published": [always(action)],
            "ReleaseLock/failed": [always(action)],
        }
    )
    execution = stage.run({})
    assert blamed(execution) == ["published", "failed"]
    assert f"ReleaseLock: {error}: " in execution.cause
    assert "Upload: CheckFailed: " in execution.cause
    assert execution.cause.count("ReleaseLock: ") == 1
    for name in ("published", "failed"):
        assert len(stage.calls("ReleaseLock", name)) == calls
    assert stage.order("good") == RUN


CAUSES = {
    "quotes": "a \"quoted\" and a 'quoted' word, a \\ and a %",
    "braces": "{% $failure %} ${Merge} {{}} }{ [$.x]",
    "lines": "one\ntwo\r\nthree\ttab\x00nul",
    "letters": "Zürich 東京 🧾" * 40,
    "long": "x" * 20_000,
    "none": "",
}


def test_causes_of_any_kind_arrive_cut_to_500_characters(stage: Stage) -> None:
    script = {f"Download/{name}": [raises("DiskFull", text)] for name, text in CAUSES.items()}
    stage.script(script | {"ListCollections": [due(*CAUSES)]})
    execution = stage.run({})
    assert blamed(execution) == list(CAUSES)
    for name, text in CAUSES.items():
        failure = only(stage, "ReleaseLock", name).payload["failure"]
        whole = json.dumps({"errorMessage": text, "errorType": "DiskFull"})[:-1]
        assert (failure["cause"] + whole[len(failure["cause"]) :]).startswith(whole), name
        assert len(failure["cause"]) == 500 if len(whole) >= 500 else len(failure["cause"]) > len(whole), name
        assert failure["cause"] in execution.cause


def test_a_hundred_failures_are_all_named_and_stay_below_the_limits(stage: Stage) -> None:
    """The longest names, and causes that double when they are quoted."""
    names = [f"{number:03}-{'n' * 508}" for number in range(100)]
    stage.script({"ListCollections": [due(*names)], "AcquireLock": [raises("PointerMissing", '"' * 1000)]})
    execution = stage.run({})
    assert (execution.status, execution.error) == ("FAILED", "CollectionsFailed")
    assert len(execution.cause) == 32_000
    assert execution.cause.startswith(", ".join(names[:60]))
    [exited] = [
        event["stateExitedEventDetails"]["output"]
        for event in stage.history(execution)
        if event["type"] == "MapStateExited"
    ]
    assert len(json.loads(exited)) == 100
    assert 150_000 < len(exited.encode()) < LIMIT


def test_a_hundred_failures_with_ordinary_names_are_told_with_all_names(stage: Stage) -> None:
    names = [f"merchant-{number:03}-of-a-town-with-a-long-name" for number in range(100)]
    stage.script({"ListCollections": [due(*names)], "AcquireLock": [raises("PointerMissing", "it is gone")]})
    assert blamed(stage.run({})) == names
