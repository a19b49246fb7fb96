"""Who chooses what happens: a seed. It also has its habits from it, so that no two seeds are unkind in the same way."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any, get_args

from siltstone.compaction.lock import LEASE_SECONDS, lock_id
from siltstone.keys import STAGING

from tests.faults.simulation.actors import IDS
from tests.faults.simulation.stepping import Fault
from tests.faults.simulation.world import COLLECTIONS, PRODUCERS, READERS, Action, World

FREEZABLE = (
    "Produce",
    "Read",
    "Rollback",
    "Pin",
    "AcquireLock",
    "Download",
    "Merge",
    "Upload",
    "PromotePointer",
    "Retire",
    "ReleaseLock",
)
STANDSTILLS = (30, 100, 300, 900, 2_500)  # choices: up to a run or two of others
CROWD = 14  # processes at once
BACKLOG = 8  # pending deltas of a collection
SECONDS = (0.2, 1.0, 5.0, 20.0, 61.0, 100.0, 130.0, 400.0, 1_000.0, 2_000.0, 4_000.0, 100_000.0)
SHORT_WAITS = (10, 10, 10, 8, 12, 1, 3, 1, 0.3, 0.2, 0.2, 0.02)
LONG_WAITS = (10, 10, 10, 8, 12, 1, 3, 2, 3, 3, 2, 0.02)  # so that versions grow old
SKEWS = (0.0, 0.0, 3_600.0, -3_600.0, 1_300.0)
WEIGHTS = {
    "produce": 30.0, "compact": 8.0, "deliver": 6.0, "lose": 1.0, "read": 20.0, "restart": 1.0, "rollback": 3.0,
    "pin": 2.0, "unpin": 2.0, "give_up": 3.0, "stop": 1.0, "advance": 18.0, "skew": 1.0, "again": 3.0,
    "land": 10.0, "expire": 0.3, "deploy": 0.3,
}  # fmt: skip
THOROUGH = 10  # every seed that this divides meets every fault
LOST_ANSWERS = ("Lambda.ServiceException", "Lambda.SdkClientException", "Lambda.TooManyRequestsException")


@dataclass
class Habits:
    """How a seed goes about it."""

    faults: tuple[Fault, ...]
    fault_rate: float
    afflicted: tuple[str, ...]  # those whose calls meet faults, by what they do; none: everybody
    stickiness: float  # how likely the process that moved last moves again
    step_rate: float
    poison: float  # how many in some eighty deltas
    executions: int  # at once
    skewed: float  # how likely an execution's clocks are off
    freezing: dict[str, float]  # by what a process does: how likely it stands still for a while, at each call
    ambush: float  # how likely just before it changes what others see
    waits: tuple[float, ...]  # how often time passes by each of `SECONDS`
    weights: dict[str, float]

    @staticmethod
    def of(chance: random.Random) -> Habits:
        faults = [fault for fault in get_args(Fault) if fault != "ok" and chance.random() < 0.7]
        return Habits(
            faults=tuple(faults),
            fault_rate=chance.choice([0.0, 0.005, 0.02, 0.05]) if faults else 0.0,
            afflicted=chance.choice([(), (), (), (chance.choice(FREEZABLE),)]),
            stickiness=chance.choice([0.0, 0.5, 0.9, 0.97]),
            step_rate=chance.choice([0.85, 0.92, 0.97]),
            poison=chance.choice([0.0, 0.0, 0.0, 2.0]),
            executions=chance.choice([1, 2, 2, 4]),
            skewed=chance.choice([0.0, 0.3, 0.7]),
            freezing={state: chance.choice([0.0, 0.0, 0.004, 0.03]) for state in FREEZABLE},
            ambush=chance.choice([0.0, 0.05, 0.2]),
            waits=chance.choice([SHORT_WAITS, SHORT_WAITS, LONG_WAITS]),
            weights={name: weight * chance.choice([0.0, 0.5, 1.0, 1.0, 2.0]) for name, weight in WEIGHTS.items()}
            | {"produce": 30.0, "compact": 8.0, "advance": chance.choice([10.0, 25.0])},
        )


ALL_FAULTS: dict[str, Any] = {
    "faults": tuple(fault for fault in get_args(Fault) if fault != "ok"),
    "fault_rate": 0.04,
    "afflicted": (),
    "poison": 2.0,
    "skewed": 0.3,
    "step_rate": 0.9,
    "executions": 2,
    "freezing": dict.fromkeys(FREEZABLE, 0.01),
    "weights": WEIGHTS | {"give_up": 6.0, "stop": 2.0, "land": 30.0, "rollback": 16.0, "again": 6.0, "lose": 2.0},
}


class Driver:
    """Chooses the next action for a world."""

    def __init__(self, world: World, seed: object, **habits: Any) -> None:
        """``habits``: those that the seed does not choose."""
        self.world = world
        self.chance = random.Random(f"driver {seed}")
        thorough = isinstance(seed, int) and seed % THOROUGH == 0
        self.habits = replace(Habits.of(self.chance), **(ALL_FAULTS if thorough else {}) | habits)
        self._last: str | None = None
        self._rollbacks: list[str] = []
        self.chosen = 0  # so many choices were made: also the number of what begins with one
        self.deltas: list[int] = []
        self._wrong = False
        self._frozen: dict[str, int] = {}  # until how many choices were made

    def next(self) -> Action:
        """An action that makes sense, as a rule."""
        self.chosen += 1
        if self._wrong and self.chance.random() < 0.01:
            return self._deploy()  # somebody notices
        runnable = self.world.processes.waiting()
        if runnable and self.chance.random() < self.habits.step_rate:
            names = [process.name for process in runnable if self._moves(process.name)]
            if names and (self._last not in names or self.chance.random() > self.habits.stickiness):
                self._last = self.chance.choice(names)
            if names and self._last is not None:
                if self._freezes(self._last):
                    return self._other()
                return ("step", self._last, self._fault(self._last))
        return self._other()

    def _other(self) -> Action:
        """Anything but a step, unless there is a crowd."""
        moving = [process.name for process in self.world.processes.waiting() if self._moves(process.name)]
        names, weights = zip(*self.habits.weights.items(), strict=True)
        action: Action = getattr(self, f"_{self.chance.choices(names, weights)[0]}")()
        crowded = len(moving) >= CROWD and action[0] in ("produce", "compact", "deliver", "read", "rollback", "again")
        if moving and (crowded or self._is_enough(action)):
            return ("step", self.chance.choice(moving), "ok")
        return action

    def _is_enough(self, action: Action) -> bool:
        """A backlog that nobody keeps up with only makes every listing long."""
        if action[0] in ("compact", "deliver"):
            return len(self.world.machine.executions) >= self.habits.executions
        return action[0] == "produce" and len(self.world.history.of(action[3]).pending) >= BACKLOG

    def _freezes(self, name: str) -> bool:
        """Whether it stands still for a while: at any call, or just before one that others wait for."""
        process = self.world.processes[name]
        call = process.call
        assert call is not None
        rate = self.habits.freezing.get(process.notes["doer"].state, 0.0)
        if name not in self._frozen and call.write and call.store != "leases" and not call.key.startswith(STAGING):
            rate = self.habits.ambush
        if self.chance.random() >= rate:
            return False
        self._frozen[name] = self.chosen + self.chance.choice(STANDSTILLS)
        return True

    def _moves(self, name: str) -> bool:
        return self._frozen.get(name, 0) <= self.chosen

    def _fault(self, name: str) -> Fault:
        if self.habits.afflicted and self.world.processes[name].notes["doer"].state not in self.habits.afflicted:
            return "ok"
        if self.chance.random() >= self.habits.fault_rate:
            return "ok"
        return self.chance.choice(self.habits.faults)

    def _produce(self) -> Action:
        chance = self.chance
        ids = "".join(chance.sample(IDS, chance.choice([1, 1, 2, 3])))
        mixed = "".join(row_id.upper() if chance.random() < 0.3 else row_id for row_id in ids)
        kind = chance.choices(["good", "bad", "poison"], [80, 3, self.habits.poison])[0]
        derived = f"batch-{chance.randrange(6)}.{chance.randrange(1, 6)}" if chance.random() < 0.2 else None
        if kind == "poison":
            derived = None
        self.deltas.append(self.chosen)
        return (
            "produce",
            self.chosen,
            chance.randrange(PRODUCERS),
            chance.choice(COLLECTIONS),
            mixed,
            kind,
            derived,
            chance.random() < 0.2,
            chance.choice([1, 2, 3]),
        )

    def _compact(self) -> Action:
        if self._locked_by_the_dead() and self.chance.random() < 0.7:
            return ("advance", LEASE_SECONDS + 1.0)
        asked = self.chance.choice([None, None, [self.chance.choice(COLLECTIONS)]])
        skew = self.chance.choice(SKEWS) if self.chance.random() < self.habits.skewed else 0.0
        return ("compact", self.chosen, asked, self.chance.random() < 0.5, skew)

    def _locked_by_the_dead(self) -> bool:
        """Whether a lock is held by somebody who is no more: who starts next only finds that out."""
        leases = [self.world.leases.read(lock_id(collection)) for collection in COLLECTIONS]
        names = [*self.world.machine.executions, *(name.partition("#")[0] for name in self.world.processes)]
        alive = tuple(f"{name}-" for name in names)
        return any(
            lease is not None
            and lease.owner is not None
            and not lease.owner.startswith(alive)
            and lease.expires > self.world.clock.now()
            for lease in leases
        )

    def _deliver(self) -> Action:
        return ("deliver", self.chosen, self.chance.randint(1, 5), self.chance.random() < 0.2)

    def _lose(self) -> Action:
        return ("lose", self.chance.randint(1, 3))

    def _read(self) -> Action:
        strong = self.chance.random() < 0.7
        return ("read", self.chosen, self.chance.randrange(READERS), self.chance.choice(COLLECTIONS), strong)

    def _restart(self) -> Action:
        return ("restart", self.chance.randrange(READERS))

    def _rollback(self) -> Action:
        if not self._rollbacks or self.chance.random() < 0.6:
            self._rollbacks.append(f"rollback-{len(self._rollbacks)}")
        back = self.chance.choice([0, 1, 1, 2, 3])
        return ("rollback", self.chosen, self.chance.choice(COLLECTIONS), back, self._rollbacks[-1])

    def _pin(self) -> Action:
        return self._pinning(pinned=True)

    def _unpin(self) -> Action:
        return self._pinning(pinned=False)

    def _pinning(self, *, pinned: bool) -> Action:
        """Any version, or one of the oldest, which may be about to go."""
        collection = self.chance.choice(COLLECTIONS)
        versions = sum(not each.removed for each in self.world.history.of(collection).versions.values())
        oldest = max(0, versions - 1 - self.chance.randrange(2))
        return ("pin", self.chosen, collection, self.chance.choice([self.chance.randrange(6), oldest]), pinned)

    def _give_up(self) -> Action:
        runs = [run.name for execution in self.world.machine.executions.values() for run in execution.runs]
        return ("give_up", self.chance.choice(runs) if runs else "", self.chance.choice(LOST_ANSWERS))

    def _stop(self) -> Action:
        return ("stop", self.chance.choice([*self.world.machine.executions] or [""]))

    def _advance(self) -> Action:
        return ("advance", self.chance.choices(SECONDS, self.habits.waits)[0])

    def _skew(self) -> Action:
        who, many = self.chance.choice([("producer", PRODUCERS), ("reader", READERS), ("operator", 1)])
        return ("skew", who, self.chance.randrange(many), self.chance.choice(SKEWS))

    def _again(self) -> Action:
        return ("again", self.chosen, self.chance.choice(self.deltas) if self.deltas else 0)

    def _land(self) -> Action:
        flying = [each.process.name for each in self.world.gate.in_flight]
        return ("land", self.chance.choice(flying) if flying else "")

    def _deploy(self) -> Action:
        self._wrong = not self._wrong
        return ("deploy", self._wrong)

    def _expire(self) -> Action:
        return ("expire",)


def summary(world: World) -> dict[str, Any]:
    """What happened in a world, to be added up."""
    return {**world.done, **world.history.counts, **{f"error: {name}": n for name, n in world.processes.errors.items()}}
