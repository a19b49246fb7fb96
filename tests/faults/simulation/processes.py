"""Who runs at the moment, whose doing each event is, and what becomes of those who end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from siltstone.errors import SiltstoneError

from tests.faults.events import Doer, Event
from tests.faults.facts import Intention
from tests.faults.simulation.gate import Gate
from tests.faults.simulation.stepping import Crash, Process
from tests.faults.violation import Violation


class Processes(dict[str, Process]):
    """Processes by name, from their start to their end."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate
        self.events: list[Event] = []  # that the invariants were not asked about yet
        self.errors: Counter[str] = Counter()
        self.intended: dict[str, Intention] = {}  # by ETag of a delta: what its producer means by it
        self.afterwards: Callable[[], None] = lambda: None  # once something has happened: who was waiting for it?

    def waiting(self) -> list[Process]:
        """Those that wait for a decision about a store call."""
        return [process for process in self.values() if process.call is not None]

    def start(
        self,
        name: str,
        actor: Any,
        work: Callable[[], Any],
        doer: Doer,
        *,
        then: Callable[[Process], None] = lambda _: None,
        seconds: float | None = None,
        **notes: Any,
    ) -> Process:
        """Run ``work`` up to its first store call. ``then``: hears of its end; ``seconds``: it is ended after."""
        process = self.prepare(name, actor, work, doer, then=then, seconds=seconds, **notes)
        self.run(process)
        return process

    def prepare(
        self,
        name: str,
        actor: Any,
        work: Callable[[], Any],
        doer: Doer,
        *,
        then: Callable[[Process], None],
        seconds: float | None = None,
        **notes: Any,
    ) -> Process:
        """For those who must know of the process before it moves: `run` starts it."""
        now = self.gate.clock.now()
        process = Process(name, actor, work, now, None if seconds is None else now + seconds)
        process.notes |= {"doer": doer, "then": then, **notes}
        self[name] = process
        return process

    def run(self, process: Process) -> None:
        self.gate.stepper.start(process)
        self.settle(process)

    def settle(self, process: Process) -> None:
        """If the process ended, say so to who waits for it. Raises `Violation` over an error that has no type."""
        if not process.done:
            return
        del self[process.name]
        error = process.error
        if error is not None:
            self.errors[f"{process.notes['doer'].state}: {type(error).__name__}"] += 1
        if error is not None and not isinstance(error, SiltstoneError | Crash) and str(error) != "poison":
            raise Violation(f"errors_have_types: {process.name} failed with {type(error).__name__}: {error}") from error
        process.notes["then"](process)
        self.afterwards()

    def doer(self) -> Doer:
        """Whose write is being done."""
        acting = self.gate.acting
        return Doer("Lifecycle") if acting is None else acting.notes["doer"]

    def tell(self, event: Event) -> None:
        """Something happened."""
        acting = self.gate.acting
        if acting is not None and "intend" in acting.notes and getattr(event, "bucket", None) == "deltas":
            self.intended[event.etag] = acting.notes["intend"](event.key)  # type: ignore[union-attr]
        self.events.append(event)
