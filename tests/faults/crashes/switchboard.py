"""The tests' side of the switch in the functions' processes (`switch/sitecustomize.py`)."""

from __future__ import annotations

import fcntl
import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

SWITCH = Path(__file__).parent / "switch"
When = Literal["before", "after"]
_PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Boundary:
    """One side of the ``number``-th ``effect`` of a state. ``effect`` ``None``: of any."""

    state: str
    effect: str | None
    number: int
    when: When

    def __str__(self) -> str:
        return f"{self.state}-{self.when}-{(self.effect or 'effect').replace(' ', '_').replace('/', '')}-{self.number}"


class Switchboard:
    """Rules for the functions' processes, and what they did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.clear()

    def python(self) -> Path:
        """An interpreter for the functions that has the switch in it."""
        path = self.folder / "python"
        path.write_text(
            "#!/bin/sh\n"
            f"export FAULT_SWITCH={shlex.quote(str(self.folder))}\n"
            f'export PYTHONPATH={shlex.quote(str(SWITCH))}:"$PYTHONPATH"\n'
            f'exec {shlex.quote(sys.executable)} "$@"\n'
        )
        path.chmod(0o755)
        return path

    def clear(self) -> None:
        """No rule is in force, and nothing was done yet."""
        with self._held():
            self._write([])
            (self.folder / "log.jsonl").write_text("")
            for file in [*self.folder.glob("*.reached"), *self.folder.glob("*.go")]:
                file.unlink()

    def kill(self, boundary: Boundary) -> None:
        """The process that comes to ``boundary`` dies there."""
        self._add(action="kill", name="kill", **asdict(boundary))

    def short(self, state: str, seconds: float) -> None:
        """The next invocation is told that it has only ``seconds``."""
        self._add(action="short", name="short", state=state, seconds=seconds)

    def mute(self, state: str) -> None:
        """Until `clear`, every state but this one dies before it changes anything."""
        self._add(action="mute", name="mute", state=state, when="before")

    @contextmanager
    def block(self, boundary: Boundary) -> Iterator[Block]:
        """The process that comes to ``boundary`` waits there, at the latest until the end of the ``with``."""
        block = Block(self.folder, f"block-{time.monotonic_ns()}")
        self._add(action="block", name=block.name, **asdict(boundary))
        try:
            yield block
        finally:
            block.release()

    def obeyed(self, name: str = "kill") -> list[str]:
        """States that obeyed a rule, in order."""
        return [line["state"] for line in self._lines() if line.get("obeyed") == name]

    def wait_for(self, name: str, state: str, times: int = 1) -> None:
        """Until ``state`` has obeyed a rule so often."""
        deadline = time.monotonic() + _PATIENCE
        while self.obeyed(name).count(state) < times:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{state} met no {name}; those that did: {self.obeyed(name)}")
            time.sleep(0.02)

    def effects(self) -> dict[str, list[str]]:
        """What each state did, in order."""
        found: dict[str, list[str]] = {}
        for line in self._lines():
            if "obeyed" not in line:
                found.setdefault(line["state"], []).append(line["effect"])
        return found

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]

    def _add(self, **rule: Any) -> None:
        with self._held():
            rules = json.loads((self.folder / "rules.json").read_text())
            self._write([*rules, rule])

    def _write(self, rules: list[dict[str, Any]]) -> None:
        (self.folder / "rules.json").write_text(json.dumps(rules))

    @contextmanager
    def _held(self) -> Iterator[None]:
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@dataclass(frozen=True)
class Block:
    """A process that waits, or will."""

    folder: Path
    name: str

    def wait_until_reached(self) -> int:
        """The waiting process's id."""
        deadline = time.monotonic() + _PATIENCE
        while not (reached := self.folder / f"{self.name}.reached").exists() or not reached.read_text():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} was not reached; see {self.folder / 'log.jsonl'}")
            time.sleep(0.02)
        return int(reached.read_text())

    def release(self) -> None:
        (self.folder / f"{self.name}.go").touch()
