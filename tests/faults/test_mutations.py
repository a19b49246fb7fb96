"""What the simulation is worth: broken variants of the code, each found by an invariant that it names."""

from __future__ import annotations

import pytest

from tests.faults.mutations import MUTATIONS
from tests.faults.simulation.recording import Outcome, run
from tests.faults.violation import Violation

EACH = 2_000  # steps of a seed
STEPS = 200_000  # of all seeds together
SLOW = {"strong read: pointer first", "no settle margin", "poison without a name", "removal without a mark"}


def hunt(name: str) -> Outcome:
    """The first seed that finds it, or the last one that was tried."""
    mutation, steps, seed = MUTATIONS[name], 0, 0
    while True:
        seed += 1
        with mutation.broken():
            outcome = run(seed, EACH, **mutation.habits)
        steps += outcome.steps
        if outcome.failure is not None or steps > STEPS:
            return outcome


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.faults) if name in SLOW else name for name in MUTATIONS]
)
def test_a_broken_variant_is_found_by_what_it_breaks(name: str) -> None:
    outcome = hunt(name)
    assert isinstance(outcome.failure, Violation), f"{STEPS:,} steps found nothing"
    assert outcome.broken in MUTATIONS[name].invariants, outcome.failure
