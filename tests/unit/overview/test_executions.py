"""What became of the machines' executions, also of those that failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from siltstone.errors import UnknownExecution
from siltstone.overview.executions import list_compactions, list_executions, read_compaction, readable
from siltstone.stores.machines import Execution, MemoryMachine

from tests.unit.scrub.house import House

FAILED = (
    'Download: DiskFull: {"errorMessage": "The \\"scratch\\" disk is full. Give it more.", '
    '"errorType": "DiskFull", "stackTra'
)


def result(collection: str, status: str, version: str | None = None, cause: str | None = None) -> dict[str, Any]:
    return {"collection": collection, "status": status, "version": version, "more": False, "cause": cause}


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.write("a", "b")
    house.compact()
    return house


def test_a_run_that_succeeded_says_what_it_made(house: House) -> None:
    machine = MemoryMachine()
    version = house.current
    results = [result("lines", "compacted", version), result("words", "busy")]
    machine.executions["one"] = Execution(
        "one", "SUCCEEDED", output={"collections": results}, started_at=100.0, stopped_at=112.34
    )
    found = read_compaction("one", machine, house.stores, house.clock)
    assert (found.status, found.seconds, found.started_at) == ("SUCCEEDED", 12.3, "1970-01-01T00:01:40Z")
    assert [(one.collection, one.status, one.version, one.rows) for one in found.collections] == [
        ("lines", "compacted", version, 2),
        ("words", "busy", None, None),
    ]
    (listed,) = list_compactions(machine, house.clock, 5)
    assert [one.rows for one in listed.collections] == [None, None], "no manifest is read for a list"


def test_a_run_that_failed_says_which_collection_in_which_state_and_why(house: House) -> None:
    machine = MemoryMachine()
    machine.executions["one"] = Execution(
        "one", "FAILED", error="CollectionsFailed", cause="words: ...", started_at=0.0, stopped_at=1.0
    )
    machine.outputs["one", "CompactCollections"] = [
        result("lines", "compacted", house.current),
        result("words", "failed", None, FAILED),
    ]
    found = read_compaction("one", machine, house.stores, house.clock)
    assert found.cause == "CollectionsFailed: words: ..."
    assert [(one.status, one.cause) for one in found.collections] == [
        ("compacted", None),
        ("failed", 'Download: DiskFull: The "scratch" disk is full. Give it more.'),
    ]


def test_a_run_that_failed_before_its_collections_began(house: House) -> None:
    machine = MemoryMachine()
    cause = '{"errorMessage":"Reading b: AccessDenied.","errorType":"BadSettings","requestId":"x"}'
    machine.executions["one"] = Execution("one", "FAILED", error="BadSettings", cause=cause, stopped_at=1.0)
    found = read_compaction("one", machine, house.stores, house.clock)
    assert (found.cause, found.collections) == ("BadSettings: Reading b: AccessDenied.", ())


def test_one_that_runs_has_run_until_now(house: House) -> None:
    machine = MemoryMachine()
    machine.executions["one"] = Execution("one", "RUNNING", started_at=house.clock.now() - 30)
    (found,) = list_executions(machine, house.clock, 3)
    assert (found.status, found.seconds, found.cause) == ("RUNNING", 30.0, None)
    assert read_compaction("one", machine, house.stores, house.clock).collections == ()


def test_a_version_that_retention_has_removed_has_no_rows(house: House) -> None:
    machine = MemoryMachine()
    results = [result("lines", "compacted", "20200101_000000_00000001")]
    machine.executions["one"] = Execution("one", "SUCCEEDED", output={"collections": results}, stopped_at=1.0)
    (found,) = read_compaction("one", machine, house.stores, house.clock).collections
    assert found.rows is None


def test_the_latest_come_first_and_no_more_than_were_asked_for(house: House) -> None:
    machine = MemoryMachine()
    for _ in range(5):
        machine.start({})
    assert [each.name for each in list_executions(machine, house.clock, 2)] == ["execution-5", "execution-4"]
    with pytest.raises(UnknownExecution):
        read_compaction("nothing", machine, house.stores, house.clock)


@pytest.mark.parametrize("cause", ["", "plain words", '{"other": 1}', "Download: States.Timeout: "])
def test_a_cause_that_is_no_error_of_a_function_stays_as_it_is(cause: str) -> None:
    assert readable(cause) == cause
