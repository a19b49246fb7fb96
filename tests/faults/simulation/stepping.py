"""Processes that move only when told: each store call waits until the simulation says what becomes of it.

A process is ordinary blocking code, so each has a thread; but only one thread runs at a time, handed on by locks, and
where it goes is decided by nothing but the simulation. So a run can be replayed from its seed.

    simulation   start ──▶ ......... resume("ok") ──▶ ........ resume("lost") ──▶ ...
    process               put? ──▶              get? ──▶                raises StoreUnavailable
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Fault = Literal[
    "ok",
    "unavailable",  # 503 before it happened
    "lost",  # it happened, the reply did not come back
    "conflict",  # 409, again and again
    "twice",  # the reply was lost on the way and the client sent the request again by itself
    "slow",  # sent now, done later, whatever happens in between
    "late",  # given up, and done nevertheless, later
    "crash before",
    "crash after",
]
WORKER_PATIENCE = 300.0  # seconds of real time between two store calls: more is a deadlock of the simulation itself


class Crash(BaseException):
    """The process is gone. What its ``finally`` blocks ask of a store after that reaches no store."""


@dataclass(frozen=True)
class Call:
    """A store call that waits. ``write``: it may change something; ``conditional``: only if something holds."""

    store: str
    operation: str
    key: str
    write: bool = False
    conditional: bool = False
    begun: float | None = None  # true time at which it was sent, of one that is on its way
    expires: float | None = None  # the store has it by then, or never


@dataclass(eq=False)
class Process:
    """One function call somewhere: an attempt of a state, a producer's write, a read, a command."""

    name: str
    actor: Any
    work: Callable[[], Any]
    started: float  # true time
    deadline: float | None = None  # true time at which the platform ends it
    call: Call | None = None  # what it waits for
    done: bool = False
    dead: bool = False
    result: Any = None
    error: BaseException | None = None
    calls: int = 0
    fault: Fault = "ok"
    notes: dict[str, Any] = field(default_factory=dict)


class Stepper:
    """Runs processes one at a time, from store call to store call."""

    def __init__(self) -> None:
        self.current: Process | None = None
        self.steps = 0  # store calls that were decided
        self._idle: list[_Worker] = []
        self._workers: dict[Process, _Worker] = {}
        self._back = threading.Lock()
        self._back.acquire()

    def start(self, process: Process) -> None:
        """Run a new process up to its first store call."""
        worker = self._idle.pop() if self._idle else _Worker(self)
        self._workers[process] = worker
        worker.process = process
        self._run(process)

    def resume(self, process: Process, fault: Fault) -> None:
        """Let the process's store call end as ``fault`` says, and run on to the next one. One step."""
        self.steps += 1
        process.calls += 1
        process.fault = fault
        self._run(process)

    def park(self, call: Call) -> Fault:
        """In a process: wait until the simulation decides about ``call``. Raises `Crash` in one that is dead."""
        process = self.current
        if process is None:
            raise AssertionError(f"{call} outside of any process")
        if process.dead:
            raise Crash(process.name)
        process.call = call
        worker = self._workers[process]
        self._back.release()
        worker.go.acquire()
        process.call = None
        return process.fault

    def kill(self, process: Process) -> None:
        """End a process where it is. What it waited for does not happen."""
        if not process.done:
            process.dead = True
            process.fault = "crash before"
            self._run(process)

    def close(self) -> None:
        """End every process and thread."""
        for process in list(self._workers):
            self.kill(process)
        for worker in self._idle:
            worker.process = None
            worker.go.release()
            worker.thread.join()
        self._idle.clear()

    def _run(self, process: Process) -> None:
        worker = self._workers[process]
        before, self.current = self.current, process
        worker.go.release()
        if not self._back.acquire(timeout=WORKER_PATIENCE):
            raise AssertionError(f"{process.name} blocks without waiting for a store")
        self.current = before
        if process.done:
            self._idle.append(self._workers.pop(process))

    def returned(self) -> None:
        """In a worker: its process ended."""
        self._back.release()


class _Worker:
    """A thread that runs one process after the other."""

    def __init__(self, stepper: Stepper) -> None:
        self.process: Process | None = None
        self.go = threading.Lock()
        self.go.acquire()
        self._stepper = stepper
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()

    def _loop(self) -> None:
        while True:
            self.go.acquire()
            process = self.process
            if process is None:
                return
            try:
                process.result = process.work()
            except BaseException as error:
                process.error = error
            process.done = True
            self._stepper.returned()
