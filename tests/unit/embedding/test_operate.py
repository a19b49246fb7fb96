"""Starting, adopting, going on, following and reporting, over a machine that only keeps what it is asked."""

from __future__ import annotations

from typing import Any

import pytest
from siltstone.embedding.follow import follow_batches, wait_for_execution
from siltstone.embedding.messages import PlanBatchesInput
from siltstone.embedding.operate import go_on, start_adoption, start_plan
from siltstone.embedding.report import list_batches, read_batch
from siltstone.errors import BadEvent, ExecutionFailed, IllegalTransition, UnknownBatch, UnknownCollection
from siltstone.sources.loading import load_sources
from siltstone.stores.machines import Execution, MemoryMachine
from siltstone.stores.provider_memory import answered

from tests.unit.embedding.house import House, text


@pytest.fixture
def machine() -> MemoryMachine:
    return MemoryMachine()


@pytest.fixture
def batch_id(house: House) -> str:
    load_sources([text("a"), text("b")], house.stores, house.clock)
    return house.plan().batches[0].batch_id


# starting -----------------------------------------------------------------------------------------
def test_a_plan_is_started_with_what_the_machine_reads(house: House, machine: MemoryMachine) -> None:
    start_plan(house.stores, machine)
    start_plan(house.stores, machine, collections=["texts", "texts"], limit=3, retry_failed=True)
    assert machine.started == [{}, {"collections": ["texts"], "limit": 3, "retry_failed": True}]
    for request in machine.started:
        PlanBatchesInput(**{**request, "execution": "e"})


def test_an_unknown_collection_starts_nothing(house: House, machine: MemoryMachine) -> None:
    with pytest.raises(UnknownCollection):
        start_plan(house.stores, machine, collections=["nowhere"])
    with pytest.raises(UnknownCollection):
        start_adoption("batch_1", "nowhere", house.stores, house.clock, machine)
    assert machine.started == []


def test_an_adoption_gets_an_id_of_its_own_or_the_one_that_is_given(house: House, machine: MemoryMachine) -> None:
    mine = start_adoption("batch_1", "texts", house.stores, house.clock, machine)
    given = start_adoption("batch_2", "texts", house.stores, house.clock, machine, batch_id="hand-made")
    assert machine.started == [
        {"batch_id": mine.batch_id, "openai_batch_id": "batch_1", "collection": "texts"},
        {"batch_id": "hand-made", "openai_batch_id": "batch_2", "collection": "texts"},
    ]
    assert (len(mine.batch_id), given.execution) == (26, "execution-2")


def test_what_the_ledger_has_is_not_adopted_again(house: House, batch_id: str, machine: MemoryMachine) -> None:
    sent = house.submit(batch_id)
    with pytest.raises(BadEvent, match=f"is batch {batch_id} of texts, which is SUBMITTED"):
        start_adoption(sent.openai_batch_id, "texts", house.stores, house.clock, machine)
    with pytest.raises(BadEvent, match="no batch id"):
        start_adoption("batch_1", "texts", house.stores, house.clock, machine, batch_id="a b")
    assert machine.started == []


def test_an_open_batch_goes_on_under_a_new_name(house: House, batch_id: str, machine: MemoryMachine) -> None:
    assert go_on(batch_id, house.stores, house.clock, machine).execution == f"{batch_id}-2"
    assert go_on(batch_id, house.stores, house.clock, machine).execution == f"{batch_id}-3"
    assert set(machine.executions) == {f"{batch_id}-2", f"{batch_id}-3"}
    house.walk(batch_id)
    with pytest.raises(IllegalTransition, match="COMPLETE"):
        go_on(batch_id, house.stores, house.clock, machine)


# following ----------------------------------------------------------------------------------------
def after(house: House, turns: int, then: Any) -> None:
    """Let ``then`` happen in the wait after so many turns."""
    sleep, left = house.clock.sleep, [turns]

    def wait(seconds: float) -> None:
        left[0] -= 1
        if left[0] == 0:
            then()
        assert left[0] > -20, "it waits for ever"
        sleep(seconds)

    house.clock.sleep = wait  # type: ignore[method-assign]


def test_batches_are_followed_until_they_are_closed(house: House, batch_id: str, machine: MemoryMachine) -> None:
    machine.start({}, name=f"{batch_id}-1")
    after(house, 3, lambda: house.walk(batch_id))
    seen: list[str] = []
    found = follow_batches(
        {batch_id: f"{batch_id}-1"},
        house.stores,
        house.clock,
        machine,
        look=lambda items: seen.append(items[batch_id].status),
    )
    assert (found.batches[batch_id].status, found.stopped) == ("COMPLETE", {})
    assert seen == ["PLANNED"] * 3 + ["COMPLETE"]


def test_a_batch_whose_execution_failed_is_not_waited_for(house: House, batch_id: str, machine: MemoryMachine) -> None:
    failed = machine.executions[f"{batch_id}-1"] = Execution(f"{batch_id}-1", "FAILED", error="LedgerChanged")
    found = follow_batches({batch_id: f"{batch_id}-1"}, house.stores, house.clock, machine)
    assert (found.batches, found.stopped) == ({}, {batch_id: failed})


def test_an_adoption_that_failed_before_it_made_an_item_is_not_waited_for(house: House, machine: MemoryMachine) -> None:
    mine = start_adoption("batch_1", "texts", house.stores, house.clock, machine)
    failed = Execution(mine.execution, "FAILED", error="ProviderRefused")
    after(house, 2, lambda: machine.executions.update({mine.execution: failed}))
    found = follow_batches({mine.batch_id: mine.execution}, house.stores, house.clock, machine)
    assert found.stopped == {mine.batch_id: failed}


def test_nothing_planned_is_over_at_once(house: House, machine: MemoryMachine) -> None:
    assert follow_batches({}, house.stores, house.clock, machine).batches == {}


def test_a_plan_that_failed_says_why(house: House, machine: MemoryMachine) -> None:
    name = machine.start({})
    after(house, 2, lambda: machine.executions.update({name: Execution(name, "FAILED", None, "BadSource", "why")}))
    with pytest.raises(ExecutionFailed, match=f"{name} is FAILED: BadSource why"):
        wait_for_execution(name, house.clock, machine)
    machine.executions[name] = Execution(name, "SUCCEEDED", {"batches": []})
    assert wait_for_execution(name, house.clock, machine).output == {"batches": []}


# reporting ----------------------------------------------------------------------------------------
def test_batches_are_listed_newest_first_with_their_figures(house: House, batch_id: str) -> None:
    house.walk(batch_id)
    house.clock.advance(10)
    load_sources([text("c")], house.stores, house.clock)
    second = house.plan("plan-2").batches[0].batch_id
    house.stores.ledger.request_cancel(second, now=house.clock.now())
    house.clock.advance(10_000)
    newest, oldest = list_batches(house.stores, house.clock)
    assert (newest.batch_id, newest.status, newest.cancelling, newest.orphan) == (second, "PLANNED", True, True)
    assert newest.age_seconds == newest.seen_seconds_ago == 10_000
    assert (oldest.batch_id, oldest.status, oldest.orphan, oldest.cancelling) == (batch_id, "COMPLETE", False, False)
    assert (oldest.counts.embedded, oldest.tokens) == (2, 2)
    assert oldest.cost_usd is not None


def test_a_batch_is_shown_with_its_attempts_and_the_providers_words(house: House, batch_id: str) -> None:
    house.provider.edit_rows = lambda rows: [
        answered(row["custom_id"], row["custom_id"], 400, {"error": {"code": "bad", "message": "Not this one."}})
        for row in rows
    ]
    house.walk(batch_id)
    found = read_batch(batch_id, house.stores, house.clock)
    assert [each.attempt for each in found.attempts] == [1]
    assert {(row.id, row.source_id, row.reason) for row in found.rejected} == {
        ("a", "text.texts.a", "bad: Not this one."),
        ("b", "text.texts.b", "bad: Not this one."),
    }
    assert len(read_batch(batch_id, house.stores, house.clock, rows=1).rejected) == 1
    for info in list(house.stores.deltas.list("batches/")):
        house.stores.deltas.delete(info.key)
    assert read_batch(batch_id, house.stores, house.clock).rejected == []  # the files have expired
    with pytest.raises(UnknownBatch):
        read_batch("nope", house.stores, house.clock)
