"""The stores as processes meet them: in front of each in-memory store stands one of these, and every call waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from siltstone.stores.leases import Lease
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects import CopyResult, ObjectInfo, ObjectStore, ObjectVersion, Page, StoredObject

from tests.faults.simulation.gate import Gate
from tests.faults.simulation.stepping import Call
from tests.faults.simulation.watched import WatchedObjects

T = TypeVar("T")


class UnkindObjects:
    """`siltstone.stores.objects.ObjectStore`, call by call and page by page."""

    def __init__(self, name: str, real: WatchedObjects, gate: Gate) -> None:
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
        writes: int | None = None
        while True:
            page = self.list_page(prefix, token)
            if writes is not None and writes < self._real.writes:
                self._gate.done["pages of a listing that others wrote between"] += 1
            writes = self._real.writes
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
