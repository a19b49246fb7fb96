"""Following executions and batches to their end, for whoever waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from siltstone.clock import Clock
from siltstone.errors import ExecutionFailed, UnknownExecution
from siltstone.stores import Stores
from siltstone.stores.ledger import BatchItem
from siltstone.stores.machines import Execution, Machine

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds


@dataclass
class Followed:
    """``batches``: those that are closed. ``stopped``: whose execution ended though its batch is open, by batch id."""

    batches: dict[str, BatchItem] = field(default_factory=dict[str, BatchItem])
    stopped: dict[str, Execution] = field(default_factory=dict[str, Execution])


def wait_for_execution(name: str, clock: Clock, machine: Machine) -> Execution:
    """Look until it has ended. Raises `ExecutionFailed` with its cause."""
    pause = _FIRST_PAUSE
    while (found := machine.look(name)).running:
        clock.sleep(pause)
        pause = _longer(pause)
    if found.status != "SUCCEEDED":
        raise ExecutionFailed(
            f"The execution {name} is {found.status}: {found.error} {found.cause}".strip() + ".",
            remedy="Nothing is lost: start again.",
        )
    return found


def follow_batches(
    executions: Mapping[str, str | None],
    stores: Stores,
    clock: Clock,
    machine: Machine,
    *,
    look: Callable[[Mapping[str, BatchItem]], None] = lambda items: None,
) -> Followed:
    """Look at these batches (by id, with the execution's name where it is known) until each is closed or left alone.

    ``look`` is told all items at every turn; a batch whose execution has not made its item yet is not among them.
    """
    pause = _FIRST_PAUSE
    while True:
        found = _turn(executions, stores, machine)
        items = stores.ledger.read_many(executions)
        look(items)
        # An execution may have closed its batch since: the ledger is read last and has the last word.
        stopped = {key: ended for key, ended in found.items() if key not in items or items[key].open}
        closed = {key: item for key, item in items.items() if not item.open}
        if len(stopped) + len(closed) == len(executions):
            return Followed(closed, stopped)
        clock.sleep(pause)
        pause = _longer(pause)


def _turn(executions: Mapping[str, str | None], stores: Stores, machine: Machine) -> dict[str, Execution]:
    """The executions that have ended, by batch id; those of closed batches need no look."""
    closed = {key for key, item in stores.ledger.read_many(executions).items() if not item.open}
    ended: dict[str, Execution] = {}
    for batch_id, name in executions.items():
        if name is None or batch_id in closed:
            continue
        try:
            execution = machine.look(name)
        except UnknownExecution:
            continue  # it is about to be started
        if not execution.running:
            ended[batch_id] = execution
    return ended


def _longer(pause: float) -> float:
    return min(_LONGEST_PAUSE, pause * 1.3)
