"""``compact`` and ``lock break``: what is started, followed, paused, and said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from siltstone.stores.machines import Execution, MemoryMachine

from tests.unit.cli.conftest import Run
from tests.unit.scrub.house import House

Machines = dict[str, MemoryMachine]


@pytest.fixture
def machine(machines: Machines) -> MemoryMachine:
    return machines["Compaction"]


def ends(machine: MemoryMachine, house: House, *, failed: bool = False) -> Callable[[float], None]:
    """The machine does its work while the command waits: a real run on ``house``, or a failure."""

    def work(_: float) -> None:
        for name, execution in machine.executions.items():
            if not execution.running:
                continue
            if failed:
                result = {"collection": "lines", "status": "failed", "version": None, "more": False}
                machine.outputs[name, "CompactCollections"] = [
                    {**result, "cause": "Merge: DiskFull: The disk is full."}
                ]
                machine.executions[name] = replace(execution, status="FAILED", error="CollectionsFailed")
                continue
            version = house.compact()
            result = {"collection": "lines", "status": "compacted", "version": version, "more": False, "cause": None}
            machine.executions[name] = replace(execution, status="SUCCEEDED", output={"collections": [result]})

    return work


# start --------------------------------------------------------------------------------------------
def test_start_starts_what_is_named_and_says_how_to_look(run: Run, machine: MemoryMachine) -> None:
    done = run("compact", "start", "lines")
    assert done.exit_code == 0, done.output
    (name,) = machine.executions
    assert f"started {name} for lines" in done.stdout
    assert f"siltstone compact status {name}" in done.stdout
    assert machine.started == [{"operation": "compact", "collections": ["lines"], "force": True, "skip": []}]


def test_start_without_names_starts_nothing_if_nothing_is_due_and_says_why(
    run: Run, machine: MemoryMachine, house: House
) -> None:
    done = run("compact", "start")
    assert done.exit_code == 0
    assert "Nothing is due" in done.stdout
    assert "lines: 1 delta waits, not due yet; --force" in done.stderr
    assert machine.started == []
    assert json.loads(run("compact", "start", "--json").stdout)["execution"] is None
    house.clock.advance(3_600)
    assert run("compact", "start").exit_code == 0
    assert len(machine.started) == 1


def test_start_and_wait_follows_the_run_and_shows_what_it_made(
    run: Run, machine: MemoryMachine, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.clock, "sleep", ends(machine, house))
    done = run("compact", "start", "--force", "--wait")
    assert done.exit_code == 0, done.output
    for expected in ("SUCCEEDED", "compacted", house.current or "", "4"):
        assert expected in done.stdout


def test_start_and_wait_ends_with_1_where_a_collection_failed_with_state_and_cause(
    run: Run, machine: MemoryMachine, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.clock, "sleep", ends(machine, house, failed=True))
    done = run("compact", "start", "lines", "--wait")
    assert done.exit_code == 1
    assert "lines Merge: DiskFull: The disk is full." in done.stdout
    found = json.loads(run("compact", "start", "lines", "--wait", "--json").stdout)
    assert found["outcome"]["collections"][0]["cause"].startswith("Merge: DiskFull")


def test_ctrl_c_while_waiting_leaves_the_run_alone_and_says_where_it_is(
    run: Run, machine: MemoryMachine, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(house.clock, "sleep", interrupted)
    done = run("compact", "start", "lines", "--wait")
    assert done.exit_code == 130
    (name,) = machine.executions
    assert f"The run goes on: siltstone compact status {name}" in done.stderr


def test_start_of_an_unknown_collection(run: Run, machine: MemoryMachine) -> None:
    done = run("compact", "start", "nowhere")
    assert (done.exit_code, machine.started) == (2, [])
    assert done.stderr.startswith("UnknownCollection:")


# status -------------------------------------------------------------------------------------------
def test_status_lists_the_last_runs_and_what_became_of_each_collection(run: Run, machine: MemoryMachine) -> None:
    results = [
        {"collection": "lines", "status": "compacted", "version": "20260131_235959_00000042", "more": False},
        {"collection": "words", "status": "busy", "version": None, "more": False, "cause": None},
    ]
    machine.executions["monday"] = Execution("monday", "SUCCEEDED", output={"collections": results}, stopped_at=75.0)
    machine.executions["idle"] = Execution("idle", "SUCCEEDED", output={"collections": []}, stopped_at=0.5)
    shown = run("compact", "status").stdout
    for expected in ("monday", "lines compacted 20260131_235959_00000042", "words busy", "75 s", "nothing was due"):
        assert expected in shown
    found = json.loads(run("compact", "status", "--json").stdout)["executions"]
    assert [(each["name"], len(each["collections"])) for each in found] == [("idle", 0), ("monday", 2)]
    assert len(json.loads(run("compact", "status", "-n", "1", "--json").stdout)["executions"]) == 1


def test_status_of_one_that_runs_says_in_which_state_each_collection_is(
    run: Run, machine: MemoryMachine, house: House
) -> None:
    held = house.acquire()
    machine.executions[held.execution] = Execution(held.execution, "RUNNING", started_at=house.clock.now())
    assert "lines: Download" in run("compact", "status", held.execution).stdout
    (state,) = json.loads(run("compact", "status", held.execution, "--json").stdout)["running"]
    assert (state["collection"], state["state"]) == ("lines", "Download")
    missing = run("compact", "status", "nothing")
    assert missing.exit_code == 2
    assert "UnknownExecution" in missing.stderr


# pause and resume ---------------------------------------------------------------------------------
def test_a_pause_is_seen_everywhere_until_it_is_ended(run: Run, machine: MemoryMachine) -> None:
    done = run("compact", "pause", "lines", "--reason", "moving [the] bucket", "--until", "6h")
    assert done.exit_code == 0, done.output
    assert "End it with: siltstone compact resume lines" in done.stdout
    for command in (
        ["status"],
        ["compact", "status"],
        ["compact", "pause", "lines", "--reason", "moving [the] bucket"],
    ):
        assert "lines is paused since 2023-" in run(*command).stdout, command
        assert "moving [the] bucket" in run(*command).stdout
    refused = run("compact", "start", "lines")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("CollectionPaused: lines is paused since")
    assert "left out" in run("compact", "start", "--force").stderr
    assert machine.started == []
    (paused,) = json.loads(run("status", "--json").stdout)["paused"]
    assert (paused["collection"], paused["reason"]) == ("lines", "moving [the] bucket")
    assert "resumed: lines" in run("compact", "resume", "lines").stdout
    assert "was not paused: lines" in run("compact", "resume", "lines").stdout
    assert run("compact", "start", "lines").exit_code == 0


def test_a_pause_of_all_and_one_of_its_own_end_apart(run: Run) -> None:
    assert run("compact", "pause").exit_code == 0
    assert run("compact", "pause", "lines").exit_code == 0
    done = run("compact", "resume")
    assert "resumed: the pause of every collection" in done.stdout
    assert "still paused lines" in done.stdout
    found = json.loads(run("compact", "resume", "lines", "--json").stdout)
    assert found == {"resumed": ["lines"], "still_paused": []}


def test_a_pause_says_what_is_under_way_and_not_stopped(run: Run, machine: MemoryMachine) -> None:
    name = machine.start({})
    assert f"Still under way, and not stopped: {name}" in run("compact", "pause", "lines").stdout
    assert json.loads(run("compact", "pause", "lines", "--json").stdout)["under_way"] == [name]


@pytest.mark.parametrize(
    "arguments", [["nowhere"], ["lines", "nowhere"], ["lines", "--until", "yesterday"], ["--until", "2001-01-01"]]
)
def test_a_pause_that_is_misspelt_pauses_nothing(run: Run, arguments: list[str]) -> None:
    assert run("compact", "pause", *arguments).exit_code == 2
    assert json.loads(run("status", "--json").stdout)["paused"] == []


# lock break ---------------------------------------------------------------------------------------
def test_break_says_who_holds_it_and_what_happens_and_asks(run: Run, machine: MemoryMachine, house: House) -> None:
    held = house.acquire()
    machine.executions[held.execution] = Execution(held.execution, "RUNNING")
    refused = run("lock", "break", "lines", input="n\n")
    assert refused.exit_code == 1
    assert f"compaction#lines is held by {held.owner} (token {held.token}) since 2023-" in refused.stdout
    assert "is RUNNING: it will stop with LockLost or PointerMoved" in refused.stdout
    assert _lock(run)["state"] == "held"
    assert run("lock", "break", "lines", input="y\n").exit_code == 0
    assert _lock(run)["state"] == "free"
    again = run("lock", "break", "lines", "--yes")
    assert again.exit_code == 0
    assert "nothing to break" in again.stdout


@pytest.mark.parametrize(("status", "told"), [("ABORTED", "has ended (ABORTED)"), (None, "No execution")])
def test_break_says_whether_anybody_will_miss_the_lock(
    run: Run, machine: MemoryMachine, house: House, status: str | None, told: str
) -> None:
    held = house.acquire()
    if status:
        machine.executions[held.execution] = Execution(held.execution, status)
    assert told in run("lock", "break", "lines", input="n\n").stdout


def test_break_without_a_terminal_needs_yes(run: Run, house: House) -> None:
    house.acquire()
    assert run("lock", "break", "lines", "--json").exit_code == 2
    assert run("lock", "break", "lines", input="").exit_code == 1
    assert _lock(run)["state"] == "held"
    found = json.loads(run("lock", "break", "lines", "--yes", "--json").stdout)
    assert (found["broken"], found["lock"]["owner"]) == (True, "run3-0")
    assert not json.loads(run("lock", "break", "lines", "--yes", "--json").stdout)["broken"]


def test_break_of_a_lock_that_changed_hands_while_it_was_asked(
    run: Run, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = house.acquire()

    def confirm_late(_: Any) -> bool:
        house.leases.release("compaction#lines", held.owner, held.token, take=None, failures=0)
        house.acquire()
        return True

    monkeypatch.setattr("siltstone_cli.lock.typer.confirm", confirm_late)
    done = run("lock", "break", "lines")
    assert done.exit_code == 1
    assert done.stderr.startswith("LockBusy: compaction#lines is held by run4-0")
    assert _lock(run)["owner"] != held.owner


def test_break_of_a_name_that_nobody_knows(run: Run) -> None:
    assert run("lock", "break", "nowhere", "--yes").exit_code == 2


def _lock(run: Run) -> dict[str, Any]:
    (found,) = json.loads(run("lock", "show", "lines", "--json").stdout)["locks"]
    return found
