"""The states of both machines as their files have them, flat, each with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.validate_asl import DEFINITIONS

State = dict[str, Any]

INVOKE = "arn:aws:states:::lambda:invoke"
START = "arn:aws:states:::states:startExecution"
MACHINES = {path.name.partition(".")[0]: path for path in sorted(DEFINITIONS.glob("*.asl.json"))}


@dataclass(frozen=True)
class Placed:
    """A state with its name and machine, and whether it is inside a Map."""

    machine: str
    name: str
    state: State
    in_map: bool

    def __str__(self) -> str:
        return f"{self.machine}-{self.name}"


def walk(machine: str, states: dict[str, State], *, in_map: bool = False) -> Iterator[Placed]:
    for name, state in states.items():
        yield Placed(machine, name, state, in_map)
        if "ItemProcessor" in state:
            yield from walk(machine, state["ItemProcessor"]["States"], in_map=True)


DEFINED = {machine: json.loads(path.read_text()) for machine, path in MACHINES.items()}
ALL = [placed for machine, definition in DEFINED.items() for placed in walk(machine, definition["States"])]
TASKS = [placed for placed in ALL if placed.state["Type"] == "Task"]
FUNCTIONS = [placed for placed in TASKS if placed.state["Resource"] == INVOKE]
STARTS = [placed for placed in TASKS if placed.state["Resource"] == START]


def strings(value: Any) -> Iterator[str]:
    """Every string in a part of a definition."""
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(each)
