"""What a person is told before a compaction is started by hand, and what is started."""

from __future__ import annotations

import pytest
from siltstone.compaction.by_hand import plan_start, start
from siltstone.compaction.list_collections import list_collections
from siltstone.compaction.pauses import pause
from siltstone.errors import CollectionPaused, UnknownCollection
from siltstone.settings import DueSettings
from siltstone.stores.machines import MemoryMachine

from tests.unit.deltas.house import House, upserts


@pytest.fixture
def house() -> House:
    """A settled delta of ``texts``, two of ``lines``."""
    house = House(due=DueSettings(min_deltas=2))
    house.put(upserts(["a"]), "d1", "texts")
    house.put(upserts(["a"]), "d1", "lines")
    house.put(upserts(["b"]), "d2", "lines")
    house.settle()
    return house


def test_without_names_what_is_due_by_its_settings_and_the_rest_waits(house: House) -> None:
    plan = plan_start([], house.stores, house.clock)
    assert ([one.collection for one in plan.due], plan.waiting, plan.settles_in) == (["lines"], {"texts": 1}, 0)
    forced = plan_start([], house.stores, house.clock, force=True)
    assert (sorted(one.collection for one in forced.due), forced.waiting) == (["lines", "texts"], {})


def test_what_is_named_is_compacted_due_or_not(house: House) -> None:
    plan = plan_start(["texts"], house.stores, house.clock)
    assert ([one.collection for one in plan.due], plan.waiting) == (["texts"], {})


def test_what_is_started_is_what_was_planned_under_a_name_that_says_who(house: House) -> None:
    machine = MemoryMachine()
    plan = plan_start(["texts"], house.stores, house.clock)
    name = start(plan, machine)
    assert name.startswith("by-hand-")
    assert len(f"{name}-99") <= 80, "a lock's owner"
    assert machine.look(name).running
    listed = list_collections(plan.request.model_validate(machine.started[0]), house.stores, house.clock)
    assert listed.due == plan.due


def test_a_delta_that_has_not_settled_is_said_to_wait_and_how_long(house: House) -> None:
    house.put(upserts(["c"]), "d2", "texts")
    plan = plan_start(["texts"], house.stores, house.clock)
    assert plan.waiting == {"texts": 1}
    assert plan.settles_in > 0
    house.clock.advance(plan.settles_in)
    settled = plan_start(["texts"], house.stores, house.clock)
    assert (settled.waiting, settled.settles_in, settled.due[0].deltas) == ({}, 0, 2)


def test_nobody_is_made_to_wait_for_deltas_that_were_not_asked_for(house: House) -> None:
    house.put(upserts(["c"]), "d2", "texts")
    assert plan_start(["lines"], house.stores, house.clock).settles_in == 0
    assert plan_start([], house.stores, house.clock).settles_in == 0


def test_what_is_paused_is_refused_by_name_and_left_out_otherwise(house: House) -> None:
    pause("lines", house.stores, house.clock, reason="moving the bucket")
    with pytest.raises(CollectionPaused, match=r"moving the bucket.*compact resume lines"):
        plan_start(["texts", "lines"], house.stores, house.clock)
    plan = plan_start([], house.stores, house.clock, force=True)
    assert [one.collection for one in plan.due] == ["texts"]
    assert [one.collection for one in plan.paused] == ["lines"]
    assert plan.waiting == {}
    pause(None, house.stores, house.clock)
    with pytest.raises(CollectionPaused, match=r"every collection is paused.*`siltstone compact resume`"):
        plan_start(["texts"], house.stores, house.clock)


def test_an_unknown_name_starts_nothing(house: House) -> None:
    with pytest.raises(UnknownCollection):
        plan_start(["texts", "nowhere"], house.stores, house.clock)


def test_a_sharded_collection_is_all_its_shards_and_a_shard_itself() -> None:
    house = House(shards=2, names=("texts",))
    assert plan_start(["texts"], house.stores, house.clock).request.collections == ["texts.s00", "texts.s01"]
    assert plan_start(["texts.s01"], house.stores, house.clock).request.collections == ["texts.s01"]
