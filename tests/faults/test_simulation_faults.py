"""Seeds that meet every fault: each kind that the simulation promises really happens, and every invariant holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import pytest
from siltstone import keys
from siltstone.errors import PreconditionFailed

from tests.faults.simulation.driver import THOROUGH
from tests.faults.simulation.recording import Outcome, run
from tests.faults.simulation.world import World

STEPS = 2_500
SEEDS = [THOROUGH, 2 * THOROUGH, 3 * THOROUGH, 4 * THOROUGH, 5 * THOROUGH]

# What is promised, and the counters that tell of it, as patterns.
FAULTS = {
    "crash before a call": "fault: crash before",
    "crash after a call": "fault: crash after",
    "reply lost": "fault: lost",
    "request repeated by the client": "fault: twice",
    "503": "fault: unavailable",
    "conditional conflict": "fault: conflict",
    "slow call": "fault: slow",
    "a write that arrives after it was given up": "land",
    "state tried again while it runs elsewhere": "states tried again while they run elsewhere",
    "attempt given up after a lost answer": "attempts given up: Lambda.*",
    "attempt that took too long": "attempts given up: States.Timeout",
    "function ended by its time limit": "functions ended by the platform",
    "an actor's clock an hour off": "skew",
    "a function's clock an hour off": "functions with a clock that is off",
    "lease that ran out": "leases that ran out and were taken",
    "run that lost its lease": "error: .*: LockLost",
    "message lost": "lose",
    "message delivered twice": "messages delivered twice",
    "execution stopped by hand": "executions stopped by hand",
    "reader's process restarted": "restart",
    "settings of another stage deployed": "deploy",
    "poison": "error: Merge: RuntimeError",
    "unusable delta": "bad deltas quarantined",
}
UNKINDNESS = {
    "listing page by page while others write": "pages of a listing that others wrote between",
    "times in whole seconds": "deltas of the same second as the one before",
    "a create-only write succeeds over a delete marker": "deltas that came back",
}
ACTORS = {
    "compactors": "versions promoted",
    "producers": "deltas",
    "strong readers": "strong reads",
    "snapshot readers": "snapshot reads",
    "an operator": "rollbacks promoted",
    "pins": "pin",
    "the garbage collector": "versions removed",
    "the starter": "deliver",
}


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[int, Outcome]]:
    return {seed: run(seed, STEPS) for seed in SEEDS}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_invariant_holds_after_every_step_with_every_fault(outcomes: dict[int, Outcome], seed: int) -> None:
    outcome = outcomes[seed]
    assert outcome.failure is None, f"seed {seed}: {outcome.failure}\nAgain: {outcome.again}"


@pytest.mark.parametrize("kind", [*FAULTS, *UNKINDNESS, *ACTORS])
def test_it_really_happens(outcomes: dict[int, Outcome], kind: str) -> None:
    name = {**FAULTS, **UNKINDNESS, **ACTORS}[kind]
    assert sum(count for each in outcomes.values() for told, count in each.counts.items() if re.fullmatch(name, told))


def test_the_bucket_names_bodies_by_their_hash_and_lets_a_deleted_key_be_created_again() -> None:
    key = keys.delta("line", "d1")
    with World() as world:
        assert (
            world.deltas.put(key, b"first", create_only=True)
            == hashlib.md5(b"first", usedforsecurity=False).hexdigest()
        )
        with pytest.raises(PreconditionFailed):
            world.deltas.put(key, b"second", create_only=True)
        world.deltas.delete(key)
        world.clock.advance(0.4)
        world.deltas.put(key, b"second", create_only=True)
        assert world.deltas.head(key).last_modified == int(world.clock.now())
