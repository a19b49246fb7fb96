"""When the faults end, everything heals by itself: nothing is lost, nothing stays but what is named, nobody waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from siltstone import keys
from siltstone.compaction import lock

from tests.faults.facts import apply
from tests.faults.simulation.world import COLLECTIONS, Action, World
from tests.faults.violation import Violation

PATIENCE = 60  # executions: poison needs three that fail and one that moves it


Do = Callable[[Action], Any]


def converge(world: World, apply: Do, first_number: int) -> None:
    """End what runs, let the scheduled machine run without faults, and look. Raises `Violation`.

    ``apply``: does an action; ``first_number``: greater than that of any action so far.
    """

    def do(*action: Any) -> None:
        apply(action)

    for number in range(3):
        do("skew", "producer", number, 0.0)
        do("skew", "reader", number, 0.0)
    do("skew", "operator", 0, 0.0)
    do("deploy", False)
    do("calm")
    for name in list(world.machine.executions):
        do("stop", name)
    do("advance", 7_200.0)  # leases expire, and so do functions and what was in flight
    _finish(world, do)
    for number in range(first_number, first_number + PATIENCE):
        if not _pending(world):
            break
        do("advance", 130.0)
        do("compact", number, None, True, 0.0)
        _finish(world, do)
    else:
        raise Violation(f"nothing_is_lost: still pending after {PATIENCE} executions: {_pending(world)}")
    for place, collection in enumerate(COLLECTIONS):
        _agree(world, collection, first_number + PATIENCE + 2 * place, do)


def _finish(world: World, do: Callable[..., None]) -> None:
    """Every process runs to its end."""
    for _ in range(100_000):
        runnable = world.processes.waiting()
        if not runnable:
            return
        do("step", runnable[0].name, "ok")
    raise Violation("nothing_is_lost: something never ends")


def _pending(world: World) -> list[str]:
    return [found.key for found in world.deltas.list(keys.DELTAS)]


def _agree(world: World, collection: str, number: int, do: Callable[..., None]) -> None:
    """A strong and a snapshot read of new processes say the same, what the oracle says; the lock is free."""
    facts = world.history.of(collection)
    if facts.pending:
        raise Violation(f"nothing_is_lost: {collection} has {list(facts.pending)} pending, and they are gone")
    if facts.current is None:
        return
    for strong in (True, False):
        do("restart", 0)
        do("read", number + strong, 0, collection, strong)
        _finish(world, do)
    merged = [life for life in facts.births if life.number == 0 and life.identity in facts.accounted]
    missing = [
        life.key
        for life in facts.births
        if life.number == 0 and life.identity not in facts.accounted and life.key not in world.history.condemned
    ]
    if missing:
        raise Violation(f"nothing_is_lost: {collection} lost {missing}")
    if not world.history.counts.get("rollbacks promoted"):
        expected = apply({}, sorted(merged, key=lambda life: life.order))
        if facts.versions[facts.current].content != expected:
            raise Violation(f"nothing_is_lost: {collection} is not what all of its deltas say")
    lease = world.leases.read(lock.lock_id(collection))
    if lease is not None and lease.owner is not None and lease.expires > world.clock.now():
        raise Violation(f"nothing_is_lost: {lease.lock_id} is held by {lease.owner}, and nobody works")
