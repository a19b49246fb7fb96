"""The same world, its actions chosen by Hypothesis: what fails is shrunk and printed step by step, by itself."""

from __future__ import annotations

import unittest

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.faults.mutations import MUTATIONS
from tests.faults.simulation.actors import IDS
from tests.faults.simulation.convergence import converge
from tests.faults.simulation.driver import LOST_ANSWERS, SECONDS, SKEWS
from tests.faults.simulation.stepping import Fault
from tests.faults.simulation.world import COLLECTIONS, PRODUCERS, READERS, World
from tests.faults.violation import Violation

FAULTS = st.sampled_from(
    ["ok", "unavailable", "lost", "conflict", "twice", "slow", "late", "crash before", "crash after"]
)
COLLECTION = st.sampled_from(COLLECTIONS)
PLACE = st.integers(0, 20)  # of one among however many there are


class Siltstone(RuleBasedStateMachine):
    """Compactors, producers, readers, an operator and the garbage collector, one store call at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World("rules")
        self.number = 0

    def do(self, kind: str, *arguments: object) -> None:
        self.world.apply((kind, *arguments))

    def next(self) -> int:
        self.number += 1
        return self.number

    @invariant()
    def nobody_waits_for_what_is_over(self) -> None:
        assert all(not process.done for process in self.world.processes.values())

    # Whoever waits for a store ------------------------------------------------------------------------------------
    @precondition(lambda self: self.world.processes.waiting())
    @rule(place=PLACE, fault=FAULTS)
    def decide_a_call(self, place: int, fault: Fault) -> None:
        waiting = self.world.processes.waiting()
        self.do("step", waiting[place % len(waiting)].name, fault)

    @precondition(lambda self: self.world.processes.waiting())
    @rule(place=PLACE, calls=st.integers(1, 60))
    def go_on(self, place: int, calls: int) -> None:
        """One process for a while, or the states that come after it."""
        for _ in range(calls):
            waiting = self.world.processes.waiting()
            if waiting:
                self.do("step", waiting[place % len(waiting)].name, "ok")

    @rule()
    def a_write_arrives_that_was_given_up(self) -> None:
        self.do("land", next((each.process.name for each in self.world.gate.in_flight), ""))

    # Producers ----------------------------------------------------------------------------------------------------
    @rule(
        producer=st.integers(0, PRODUCERS - 1),
        collection=COLLECTION,
        ids=st.lists(st.sampled_from(IDS + IDS.upper()), min_size=1, max_size=3, unique_by=str.lower).map("".join),
        kind=st.sampled_from(["good", "good", "good", "bad", "poison"]),
        derived=st.sampled_from([None, None, "batch-1.1", "batch-2.1"]),
        same=st.booleans(),
        tries=st.integers(1, 3),
    )
    def produce(
        self, producer: int, collection: str, ids: str, kind: str, derived: str | None, same: bool, tries: int
    ) -> None:
        name = None if kind == "poison" else derived
        self.do("produce", self.next(), producer, collection, ids, kind, name, same, tries)

    @precondition(lambda self: self.number)
    @rule(place=PLACE)
    def put_the_same_delta_again(self, place: int) -> None:
        self.do("again", self.next(), 1 + place % self.number)

    # Compactors ---------------------------------------------------------------------------------------------------
    @rule(collections=st.sampled_from([None, ["line"], ["lines"]]), skew=st.sampled_from(SKEWS))
    def compact(self, collections: list[str] | None, skew: float) -> None:
        self.do("compact", self.next(), collections, True, skew)

    @rule(messages=st.integers(1, 3), again=st.booleans())
    def deliver(self, messages: int, again: bool) -> None:
        self.do("deliver", self.next(), messages, again)

    @rule()
    def lose_a_message(self) -> None:
        self.do("lose", 1)

    @precondition(lambda self: self.world.machine.attempts)
    @rule(place=PLACE, error=st.sampled_from(LOST_ANSWERS))
    def give_up_an_attempt(self, place: int, error: str) -> None:
        attempts = [*self.world.machine.attempts]
        name = attempts[place % len(attempts)]
        if "." in name:
            self.do("give_up", name, error)

    @precondition(lambda self: self.world.machine.executions)
    @rule(place=PLACE)
    def stop_an_execution(self, place: int) -> None:
        executions = [*self.world.machine.executions]
        self.do("stop", executions[place % len(executions)])

    # Readers and the operator ---------------------------------------------------------------------------------------
    @rule(reader=st.integers(0, READERS - 1), collection=COLLECTION, strong=st.booleans())
    def read(self, reader: int, collection: str, strong: bool) -> None:
        self.do("read", self.next(), reader, collection, strong)

    @rule(reader=st.integers(0, READERS - 1))
    def restart_a_reader(self, reader: int) -> None:
        self.do("restart", reader)

    @rule(collection=COLLECTION, back=st.integers(0, 3), attempt=st.integers(0, 1))
    def roll_back(self, collection: str, back: int, attempt: int) -> None:
        self.do("rollback", self.next(), collection, back, f"rollback-{attempt}")

    @rule(collection=COLLECTION, back=st.integers(0, 4), pinned=st.booleans())
    def pin(self, collection: str, back: int, pinned: bool) -> None:
        self.do("pin", self.next(), collection, back, pinned)

    @rule(wrong=st.booleans())
    def deploy(self, wrong: bool) -> None:
        self.do("deploy", wrong)

    # Time -----------------------------------------------------------------------------------------------------------
    @rule(seconds=st.sampled_from(SECONDS))
    def wait(self, seconds: float) -> None:
        self.do("advance", seconds)

    @rule(producer=st.integers(0, PRODUCERS - 1), seconds=st.sampled_from(SKEWS))
    def a_clock_is_off(self, producer: int, seconds: float) -> None:
        self.do("skew", "producer", producer, seconds)

    def teardown(self) -> None:
        """The faults end, and everything heals by itself."""
        try:
            converge(self.world, self.world.apply, self.number + 1)
        finally:
            self.world.close()


BRIEFLY = settings(
    max_examples=15,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestSiltstone: type[unittest.TestCase] = Siltstone.TestCase
TestSiltstone.settings = BRIEFLY


def test_the_rules_find_a_broken_variant() -> None:
    with MUTATIONS["retire before promote"].broken(), pytest.raises(Violation, match="deltas_leave_only_merged: "):
        run_state_machine_as_test(Siltstone, settings=settings(BRIEFLY, phases=[Phase.generate]))
