"""The command over a collection in memory; and over the emulated AWS, where finding a stage is the subject."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from siltstone.stores.machines import MemoryMachine
from siltstone_cli.main import Root, app
from siltstone_cli.target import Target
from typer.testing import CliRunner

from tests.unit.scrub.house import House

Run = Callable[..., Any]


class Lambda:
    """The service, with a function's answer already known. (The real one is asked in tests/e2e.)"""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer: dict[str, Any] = {}
        self.failed = False

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        self.asked.append((FunctionName, json.loads(Payload)))
        reply: dict[str, Any] = {"Payload": io.BytesIO(json.dumps(self.answer).encode())}
        return {**reply, "FunctionError": "Unhandled"} if self.failed else reply


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Two versions of the collection ``lines``, and a delta that waits."""
    house = House(tmp_path)
    house.write("a", "b")
    house.compact()
    house.write("b", "c", seed=1)
    house.compact()
    house.write("d")
    return house


@pytest.fixture
def functions() -> Lambda:
    return Lambda()


@pytest.fixture
def machines() -> dict[str, MemoryMachine]:
    return {"Compaction": MemoryMachine(), "Embedding": MemoryMachine()}


@pytest.fixture
def run(house: House, functions: Lambda, machines: dict[str, MemoryMachine], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command against ``house``."""
    target = Target("dev", {"QueryFunction": "siltstone-dev-query"}, lambda _: functions, house.clock)
    target.__dict__["stores"] = house.stores
    target.__dict__["machine"] = machines.__getitem__
    for place in Root.places.values():  # commands are imported when they are asked for
        import_module(place.partition(":")[0])
    for name, module in list(sys.modules.items()):
        if name.startswith("siltstone_cli.") and hasattr(module, "find_target"):
            monkeypatch.setattr(module, "find_target", lambda *_: target)

    def invoke(*arguments: str, input: str | None = None) -> Any:  # noqa: A002
        return CliRunner().invoke(app, list(arguments), input=input)

    return invoke
