"""A seed's whole run, what of it was recorded, and the least of the recording that still fails."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.simulation.convergence import converge
from tests.faults.simulation.driver import Driver, summary
from tests.faults.simulation.world import Action, World

STEPS = 4_000  # of one seed, before the faults end


@dataclass
class Outcome:
    """What became of a run. ``failure`` is ``None`` if every invariant held."""

    seed: object
    each: int = STEPS
    actions: list[Action] = field(default_factory=list)
    steps: int = 0
    failure: AssertionError | None = None
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def broken(self) -> str | None:
        """The name of what does not hold."""
        return None if self.failure is None else str(self.failure).partition(":")[0]

    @property
    def again(self) -> str:
        """The command that shows it again."""
        return f"python -m tests.faults.simulate --seed {self.seed} --each {self.each} --trace"


def run(seed: object, steps: int = STEPS, tell: Callable[[str], None] | None = None, **habits: Any) -> Outcome:
    """A world of the seed's choice for so many steps, and then its recovery.

    ``tell``: hears of every action; ``habits``: those that the seed does not choose.
    """
    outcome = Outcome(seed, steps)
    with World(seed) as world:
        driver = Driver(world, seed, **habits)

        def apply(action: Action) -> None:
            outcome.actions.append(action)
            _apply(world, action, tell)

        try:
            while world.steps < steps:
                apply(driver.next())
            converge(world, apply, driver.chosen + 1)
        except AssertionError as failure:
            outcome.failure = failure
        outcome.steps = world.steps
        outcome.counts.update(summary(world))
    return outcome


def replay(seed: object, actions: Iterable[Action], tell: Callable[[str], None] | None = None) -> Outcome:
    """The same actions again, as far as they still make sense. Only those that did are in the outcome."""
    outcome = Outcome(seed)
    with World(seed) as world:
        try:
            for action in actions:
                if _apply(world, action, tell, outcome.actions):
                    continue
        except AssertionError as failure:
            outcome.failure = failure
        outcome.steps = world.steps
    return outcome


def shrink(failed: Outcome, seconds: float) -> Outcome:
    """Leave out whole processes, then ever smaller stretches, as long as the same invariant breaks."""
    best, deadline = failed, time.monotonic() + seconds

    def still(actions: Sequence[Action]) -> bool:
        nonlocal best
        outcome = replay(failed.seed, actions)
        if outcome.broken != failed.broken:
            return False
        best = outcome
        return True

    before = len(best.actions) + 1
    while len(best.actions) < before and time.monotonic() < deadline:
        before = len(best.actions)
        for without in _without_groups(lambda: best.actions):
            if time.monotonic() > deadline:
                return best
            still(without)
        size = max(1, len(best.actions) // 2)
        while size and time.monotonic() < deadline:
            start = 0
            while start < len(best.actions) and time.monotonic() < deadline:
                if not still(best.actions[:start] + best.actions[start + size :]):
                    start += size
            size //= 2
    return best


def _apply(world: World, action: Action, tell: Callable[[str], None] | None, done: list[Action] | None = None) -> bool:
    if tell is not None:
        tell(describe(world, action))
    if done is None:
        return world.apply(action)
    done.append(action)
    made_sense = world.apply(action)
    if not made_sense:
        done.pop()
    return made_sense


def describe(world: World, action: Action) -> str:
    """One line of a trace."""
    words = " ".join(str(each) for each in action)
    process = world.processes.get(str(action[1])) if action[0] == "step" else None
    if process is not None and process.call is not None:
        call = process.call
        words = f"{process.name}: {call.store}.{call.operation} {call.key}"
        words += " (arrives)" if call.begun is not None else ""
        words += "" if action[2] == "ok" else f"  <- {action[2]}"
    return f"{world.clock.now() - 1_700_000_000:10.2f}  {words}"


def _without_groups(actions: Callable[[], list[Action]]) -> Iterator[list[Action]]:
    """The actions without all those of one process, of one execution, of one kind."""
    for named in (_kind, _execution, _process):
        for group in list(dict.fromkeys(named(action) for action in actions())):
            yield [action for action in actions() if named(action) != group]


def _kind(action: Action) -> str:
    return str(action[0]) if action[0] != "step" else "step " + str(action[1]).partition("-")[0]


def _execution(action: Action) -> str:
    return str(action[1]).partition(".")[0].partition("/")[0] if action[0] == "step" else str(action[:2])


def _process(action: Action) -> str:
    return str(action[1]) if action[0] == "step" else str(action[:2])
