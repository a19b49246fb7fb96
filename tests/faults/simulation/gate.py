"""Where store calls wait for their turn, and then for what the simulation does to them.

A call that is "slow" is sent at one moment and done at another (a write carries the time at which it was sent, as S3
stamps it); one that is "late" is done though its caller gave up.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from siltstone.clock import ManualClock
from siltstone.errors import StoreUnavailable

from tests.faults.simulation.stepping import Call, Crash, Fault, Process, Stepper

T = TypeVar("T")

WRITE_SECONDS = 50.0  # a request that takes longer is given up by both ends: below the settle margin, as it must be
READ_SECONDS = 5.0  # together they are below it too


class StoreClock:
    """The stores' own clock. A write that was on its way is stamped with the time at which it was sent."""

    def __init__(self, true: ManualClock) -> None:
        self._true = true
        self._sent: float | None = None

    def now(self) -> float:
        return self._true.now() if self._sent is None else self._sent

    def monotonic(self) -> float:
        return self._true.monotonic()

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a store does not wait")

    @contextmanager
    def sent(self, at: float) -> Iterator[None]:
        self._sent = at
        try:
            yield
        finally:
            self._sent = None


@dataclass(eq=False)
class InFlight:
    """A write whose caller gave up. ``expires``: true time until which it may still be done."""

    process: Process
    call: Call
    do: Callable[[], Any]
    expires: float


class Gate:
    """Where calls wait. It turns what the simulation decides into what the caller sees."""

    def __init__(self, stepper: Stepper, clock: ManualClock, store_clock: StoreClock, done: Counter[str]) -> None:
        self.stepper = stepper
        self.clock = clock
        self.store_clock = store_clock
        self.done = done  # what happened, counted
        self.in_flight: list[InFlight] = []
        self.acting: Process | None = None  # whose write is being done: not always the one that runs

    def call(self, call: Call, act: Callable[[], T], *, late_reply: Callable[[T], T] = lambda reply: reply) -> T:
        """Wait, then do ``act`` or not. ``late_reply``: the reply of a slow read, as it looks when it is sent."""
        process = self.stepper.current
        fault: Fault = self.stepper.park(call)
        assert process is not None
        if process.dead:
            raise Crash(process.name)
        match fault:
            case "ok":
                return self.done_by(process, act)
            case "unavailable" | "conflict":
                raise StoreUnavailable(f"{call.store} {call.operation}: {fault}")
            case "lost":
                self._swallow(process, act)
                raise StoreUnavailable(f"{call.store} {call.operation}: the reply was lost")
            case "twice":
                self._swallow(process, act)
                return self.done_by(process, act)
            case "slow":
                return self._slow(process, call, act, late_reply)
            case "late":
                sent = self.clock.now()
                self.in_flight.append(InFlight(process, call, self._stamped(sent, act), sent + WRITE_SECONDS))
                raise StoreUnavailable(f"{call.store} {call.operation}: no answer")
            case "crash before":
                raise self._crash(process)
            case "crash after":
                self._swallow(process, act)
                raise self._crash(process)

    def done_by(self, process: Process, act: Callable[[], T]) -> T:
        """Do what ``process`` asked for."""
        self.acting = process
        try:
            return act()
        finally:
            self.acting = None

    def land(self, flying: InFlight) -> None:
        """A write arrives whose caller gave up."""
        self.in_flight.remove(flying)
        self._swallow(flying.process, flying.do)

    def expire(self) -> None:
        """Drop what can't arrive any more."""
        now = self.clock.now()
        self.in_flight = [flying for flying in self.in_flight if flying.expires >= now]

    def _slow(self, process: Process, call: Call, act: Callable[[], T], late_reply: Callable[[T], T]) -> T:
        sent = self.clock.now()
        on_its_way = replace(call, begun=sent, expires=sent + (WRITE_SECONDS if call.write else READ_SECONDS))
        reply = None if call.write else self.done_by(process, act)
        then: Fault = self.stepper.park(on_its_way)
        if process.dead or then == "crash before":
            raise self._crash(process)
        if on_its_way.expires is not None and self.clock.now() > on_its_way.expires:
            raise StoreUnavailable(f"{call.store} {call.operation}: no answer in time")
        if not call.write:
            return late_reply(reply)  # type: ignore[arg-type]
        if then != "ok":
            self._swallow(process, self._stamped(sent, act))
            raise self._crash(process) if then == "crash after" else StoreUnavailable("the reply was lost")
        return self.done_by(process, self._stamped(sent, act))

    def _stamped(self, sent: float, act: Callable[[], T]) -> Callable[[], T]:
        def stamped() -> T:
            with self.store_clock.sent(sent):
                return act()

        return stamped

    def _swallow(self, process: Process, act: Callable[[], Any]) -> None:
        """Do it; whatever is answered, nobody hears it."""
        with contextlib.suppress(Exception):  # a refusal is an answer too
            self.done_by(process, act)

    def _crash(self, process: Process) -> Crash:
        process.dead = True
        return Crash(process.name)
