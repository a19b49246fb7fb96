"""The compaction machine where nothing fails for good: which states run, in which order, on what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.statemachines.compacting import BASE, IDLE, PARTS_REMAIN, REF, RUN, due, only, results
from tests.statemachines.stage import Stage, answers, parses, raises

MACHINE = "compaction"
pytestmark = pytest.mark.xdist_group("compaction-runs")


@pytest.mark.parametrize("event", [{"operation": "compact"}, {}, {"collections": ["lines"], "force": True}])
def test_nothing_due_is_one_call_and_no_run(stage: Stage, event: dict[str, Any]) -> None:
    execution = stage.run(event)
    assert results(execution) == {}
    assert [(call.state, call.payload) for call in stage.calls()] == [("ListCollections", event)]


def test_a_collection_passes_each_state_once_in_this_order(stage: Stage) -> None:
    stage.script({"ListCollections": [due("lines")]})
    execution = stage.run({"operation": "compact"})
    assert stage.order() == ["ListCollections", *RUN]
    version = only(stage, "AcquireLock").answer["version"]
    expected = {"collection": "lines", "status": "compacted", "version": version, "more": False, "cause": None}
    assert execution.output == {"collections": [expected]}


def test_each_state_gets_the_run_and_what_the_states_before_it_made(stage: Stage) -> None:
    stage.script({"ListCollections": [due("lines")]})
    stage.run({}, name="monday")
    made = {call.state: call.answer for call in stage.calls()}
    got = {call.state: call.payload for call in stage.calls()}
    run, plan, sealed = made["AcquireLock"], made["Download"]["plan"], made["Merge"]["sealed"]
    assert got["AcquireLock"] == {"collection": "lines", "execution": "monday", "index": 0}
    assert got["Download"] == {"run": run}
    assert got["Merge"] == {"run": run, "plan": plan, "work": None}
    assert got["Upload"] == {"run": run, "plan": plan, "sealed": sealed}
    assert got["PromotePointer"] == {"run": run, "plan": plan, "manifest": made["Upload"]["manifest"]}
    assert got["Retire"] == {"run": run, "version": made["PromotePointer"]["version"]}
    assert got["ReleaseLock"] == {"run": run, "failure": None}


def test_a_merge_of_several_turns_renews_the_lock_between_them_and_goes_on_from_its_work(stage: Stage) -> None:
    later = REF | {"key": "staging/x/later.json"}
    stage.script({"ListCollections": [due("lines")], "Merge": [PARTS_REMAIN, answers(sealed=None, work=later)]})
    results(stage.run({}))
    turns = ["Merge", "RenewLock", "Merge", "RenewLock", "Merge"]
    assert stage.order("lines") == ["AcquireLock", "Download", *turns, *RUN[3:]]
    merges = stage.calls("Merge")
    assert [call.payload["work"] for call in merges] == [None, REF, later]
    assert {call.payload["plan"]["key"] for call in merges} == {only(stage, "Download").answer["plan"]["key"]}
    assert only(stage, "Upload").payload["sealed"] == merges[-1].answer["sealed"]
    run = only(stage, "AcquireLock").answer
    assert [call.payload for call in stage.calls("RenewLock")] == [{"run": run}, {"run": run}]


@pytest.mark.parametrize("base", [BASE, None])
def test_without_new_deltas_only_what_is_left_over_is_retired(stage: Stage, base: str | None) -> None:
    stage.script(
        {"ListCollections": [due("lines")], "Download": [answers(deltas=0, parts=0, rows=0, base_version=base)]}
    )
    [result] = results(stage.run({})).values()
    assert stage.order("lines") == IDLE
    assert only(stage, "Retire").payload["version"] == base
    assert (result["status"], result["version"]) == ("idle", base)


def test_a_busy_collection_is_no_failure_and_nobody_elses_lock_is_released(stage: Stage) -> None:
    stage.script({"ListCollections": [due("lines", "words")], "AcquireLock/lines": [raises("LockBusy")]})
    told = results(stage.run({}))
    assert stage.order("lines") == ["AcquireLock"]
    assert stage.order("words") == RUN
    assert told["lines"] == {"collection": "lines", "status": "busy", "version": None, "more": False, "cause": None}
    assert told["words"]["status"] == "compacted"


def test_collections_that_run_at_the_same_time_keep_their_own_runs_and_references(stage: Stage) -> None:
    names = [f"shop-{number}" for number in range(6)]
    stage.script({"ListCollections": [due(*names)], "Merge/shop-2": [PARTS_REMAIN]})
    told = results(stage.run({}, name="apart"))
    assert list(told) == names
    for index, name in enumerate(names):
        calls = stage.calls(subject=name)
        made = {call.state: call.answer for call in calls}
        assert (made["AcquireLock"]["index"], made["AcquireLock"]["execution"]) == (index, "apart")
        assert all(call.payload["run"] == made["AcquireLock"] for call in calls[1:])
        assert all(call.payload["plan"] == made["Download"]["plan"] for call in calls if "plan" in call.payload)
        assert told[name]["version"] == made["AcquireLock"]["version"]
    assert len({told[name]["version"] for name in names}) == len(names)


def test_a_store_that_does_not_answer_is_asked_again_with_the_same_input(stage: Stage) -> None:
    """In each state: twice no answer of the store, once none of Lambda, then all goes well."""
    hiccups = [raises("StoreUnavailable"), raises("Lambda.TooManyRequestsException"), raises("StoreUnavailable")]
    states = ["ListCollections", *RUN, "RenewLock"]
    healthy = {"ListCollections": [due("lines")], "Merge": [PARTS_REMAIN]}
    stage.script({state: [*hiccups, *healthy.get(state, [])] for state in states})
    assert results(stage.run({}))["lines"]["status"] == "compacted"
    for state in states:
        payloads = [call.payload for call in stage.calls(state)]
        assert len(payloads) == len(hiccups) + (2 if state == "Merge" else 1), state
        assert payloads[: len(hiccups)] == [payloads[len(hiccups)]] * len(hiccups), state


def test_the_fifth_retry_may_still_help(stage: Stage) -> None:
    stage.script({"ListCollections": [due("lines")], "Download": [raises("StoreUnavailable")] * 5})
    assert results(stage.run({}))["lines"]["status"] == "compacted"
    assert len(stage.calls("Download")) == 6


@pytest.mark.parametrize(
    ("event", "field"),
    [({"operation": "explode"}, "operation"), ({"colections": ["lines"]}, "colections"), ("compact", "the event")],
)
def test_a_bad_event_fails_by_name_before_anything_is_locked(staged: Stage, event: Any, field: str) -> None:
    staged.script({"ListCollections": [parses()]})
    execution = staged.run(event)
    assert (execution.status, execution.error) == ("FAILED", "BadEvent")
    assert field in json.loads(execution.cause)["errorMessage"]
    assert staged.order() == ["ListCollections"]


def test_a_listing_that_fails_fails_the_execution_and_nothing_was_started(stage: Stage) -> None:
    stage.script({"ListCollections": [raises("StoreUnavailable")] * 6})
    execution = stage.run({})
    assert (execution.status, execution.error) == ("FAILED", "StoreUnavailable")
    assert stage.order() == ["ListCollections"] * 6


def test_a_hundred_collections_are_one_execution_ten_at_a_time(stage: Stage) -> None:
    names = [f"merchant-{number:03}" for number in range(100)]
    busy = names[20:]
    stage.script({"ListCollections": [due(*names)]} | {f"AcquireLock/{name}": [raises("LockBusy")] for name in busy})
    told = results(stage.run({}))
    assert list(told) == names
    assert [told[name]["status"] for name in names] == ["compacted"] * 20 + ["busy"] * 80
    assert all(stage.order(name) == RUN for name in names[:20])
    assert sorted(call.subject for call in stage.calls("AcquireLock")) == names
    open_runs = most = 0
    for call in stage.calls():
        open_runs += (call.state == "AcquireLock" and call.answer is not None) - (call.state == "ReleaseLock")
        most = max(most, open_runs)
    assert 2 <= most <= 10
