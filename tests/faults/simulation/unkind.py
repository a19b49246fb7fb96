"""The stores as processes meet them: every call waits for its turn, and then for what the simulation does to it.

In front of each in-memory store stands one of these. A call that is "slow" is sent at one moment and done at another
(a write carries the time at which it was sent, as S3 stamps it); one that is "late" is done though its caller gave up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from siltstone.clock import ManualClock
from siltstone.errors import StoreUnavailable
from siltstone.stores.leases import Lease
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects import CopyResult, ObjectInfo, ObjectStore, ObjectVersion, Page, StoredObject
from siltstone.stores.objects_memory import MemoryObjects

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

    def __init__(self, stepper: Stepper, clock: ManualClock, store_clock: StoreClock) -> None:
        self.stepper = stepper
        self.clock = clock
        self.store_clock = store_clock
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


class UnkindObjects:
    """`siltstone.stores.objects.ObjectStore`, call by call and page by page."""

    def __init__(self, name: str, real: MemoryObjects, gate: Gate) -> None:
        self._name = name
        self._real = real
        self._gate = gate

    def get(self, key: str, *, if_match: str | None = None) -> StoredObject:
        return self._read("get", key, lambda: self._real.get(key, if_match=if_match))

    def get_if_changed(self, key: str, etag: str | None) -> StoredObject | None:
        return self._read("get_if_changed", key, lambda: self._real.get_if_changed(key, etag))

    def head(self, key: str) -> ObjectInfo | None:
        return self._read("head", key, lambda: self._real.head(key))

    def put(self, key: str, body: bytes, *, create_only: bool = False, if_match: str | None = None) -> str:
        act = lambda: self._real.put(key, body, create_only=create_only, if_match=if_match)  # noqa: E731
        return self._write("put", key, act, conditional=create_only or if_match is not None)

    def put_file(self, key: str, path: Path, *, sha256: str) -> str:
        body = path.read_bytes()  # a request that is late carries the bytes of when it was sent
        del sha256
        return self._write("put_file", key, lambda: self._real.put(key, body))

    def get_file(self, key: str, path: Path, *, if_match: str | None = None) -> None:
        path.write_bytes(self._read("get_file", key, lambda: self._real.get(key, if_match=if_match)).body)

    def copy(self, source_key: str, key: str, *, if_match: str, source: ObjectStore | None = None) -> CopyResult:
        assert source is None
        return self._write("copy", key, lambda: self._real.copy(source_key, key, if_match=if_match), conditional=True)

    def delete(self, key: str, *, if_match: str | None = None) -> None:
        self._write("delete", key, lambda: self._real.delete(key, if_match=if_match), conditional=if_match is not None)

    def delete_many(self, keys: list[str]) -> None:
        for start in range(0, len(keys), 2):  # a request deletes some of them and dies
            some = keys[start : start + 2]
            self._write("delete_many", some[0], lambda some=some: self._real.delete_many(some))

    def delete_versions(self, entries: Sequence[ObjectVersion]) -> None:
        for start in range(0, len(entries), 2):
            some = entries[start : start + 2]
            self._write("delete_versions", some[0].key, lambda some=some: self._real.delete_versions(some))

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        return self._gate.call(
            Call(self._name, "list", prefix),
            lambda: self._real.list_page(prefix, token),
            late_reply=lambda page: replace(page, date=int(self._gate.clock.now())),
        )

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        token: str | None = None
        while True:
            page = self.list_page(prefix, token)
            yield from page.objects
            token = page.next_token
            if token is None:
                return

    def list_prefixes(self, prefix: str) -> Iterator[str]:
        seen: set[str] = set()
        for info in self.list(prefix):
            name, slash, _ = info.key[len(prefix) :].partition("/")
            if slash and name not in seen:
                seen.add(name)
                yield f"{prefix}{name}/"

    def list_versions(self, prefix: str, *, first: str = "", last: str | None = None) -> Iterator[ObjectVersion]:
        token: str | None = None
        while True:
            page, token = self._read(
                "list_versions",
                prefix,
                lambda token=token: self._real.list_versions_page(prefix, token, first=first, last=last),
            )
            yield from page
            if token is None:
                return

    def _read(self, operation: str, key: str, act: Callable[[], T]) -> T:
        return self._gate.call(Call(self._name, operation, key), act)

    def _write(self, operation: str, key: str, act: Callable[[], T], *, conditional: bool = False) -> T:
        return self._gate.call(Call(self._name, operation, key, write=True, conditional=conditional), act)


class UnkindLeases:
    """`siltstone.stores.leases.LeaseStore`, call by call."""

    def __init__(self, real: MemoryLeases, gate: Gate) -> None:
        self._real = real
        self._gate = gate

    def read(self, lock_id: str) -> Lease | None:
        return self._gate.call(Call("leases", "read", lock_id), lambda: self._real.read(lock_id))

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation not in ("acquire", "renew", "release"):
            raise AttributeError(operation)

        def write(lock_id: str, *args: Any, **named: Any) -> Any:
            act = getattr(self._real, operation)
            return self._gate.call(
                Call("leases", operation, lock_id, write=True, conditional=True), lambda: act(lock_id, *args, **named)
            )

        return write


class UnkindLedger:
    """What compaction asks of `siltstone.stores.ledger.Ledger`."""

    def __init__(self, real: MemoryLedger, gate: Gate) -> None:
        self._real = real
        self._gate = gate

    def note_quarantine(self, batch_id: str, *, delta_key: str, records: int) -> bool:
        return self._gate.call(
            Call("ledger", "note_quarantine", batch_id, write=True),
            lambda: self._real.note_quarantine(batch_id, delta_key=delta_key, records=records),
        )


class UnkindHints:
    """`siltstone.stores.hints.HintQueue`: what is told may be lost, and told twice."""

    def __init__(self, messages: list[dict[str, object]], gate: Gate) -> None:
        self._messages = messages
        self._gate = gate

    def tell(self, *, collection: str, delta_key: str, embedding_count: int) -> None:
        hint: dict[str, object] = {
            "collection": collection,
            "delta_key": delta_key,
            "embedding_count": embedding_count,
        }
        self._gate.call(Call("hints", "tell", delta_key, write=True), lambda: self._messages.append(hint))
