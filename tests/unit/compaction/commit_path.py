"""A collection on its way from sealed files to a promoted version, over stores in memory that can fail on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.compaction import lock
from siltstone.compaction.documents import AppliedDelta, Check, Part, Pin, Plan, RowCounts, StagedFile, Work
from siltstone.compaction.messages import PromotePointerInput, RetireInput, Run, UploadInput
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.promote_pointer import promote_pointer
from siltstone.compaction.retire import retire
from siltstone.compaction.staging import write_document
from siltstone.compaction.upload import upload
from siltstone.errors import StoreUnavailable
from siltstone.settings import CollectionBook, CollectionSettings, RetentionSettings
from siltstone.stores import Stores
from siltstone.stores.hints import MemoryHints
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects import CopyResult, ObjectStore
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.sources_memory import MemorySources

GOOD = (Check(name="count", passed=True), Check(name="integrity", passed=True))
FILES = {"chroma.sqlite3": b"rows", "5f1c/data_level0.bin": b"vectors"}
Mishap = Literal["request lost", "reply lost"]


class FaultyObjects(MemoryObjects):
    """Loses the request or the reply of the n-th write from now on; ``None``: of no write."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.countdown: int | None = None
        self.mishap: Mishap = "reply lost"
        self.writes: list[tuple[str, str, bool]] = []  # operation, key, whether it was conditional

    def fail(self, nth: int, mishap: Mishap) -> None:
        self.countdown, self.mishap = nth, mishap

    def put(self, key: str, body: bytes, *, create_only: bool = False, if_match: str | None = None) -> str:
        self.writes.append(("put", key, create_only or if_match is not None))
        return self._unsure(lambda: MemoryObjects.put(self, key, body, create_only=create_only, if_match=if_match))

    def copy(self, source_key: str, key: str, *, if_match: str, source: ObjectStore | None = None) -> CopyResult:
        body = self.get(source_key, if_match=if_match).body
        self.writes.append(("copy", key, True))
        etag = self._unsure(lambda: MemoryObjects.put(self, key, body))
        return CopyResult(etag, hashlib.sha256(body).hexdigest())

    def delete(self, key: str, *, if_match: str | None = None) -> None:
        self.writes.append(("delete", key, if_match is not None))

        def act() -> str:
            MemoryObjects.delete(self, key, if_match=if_match)
            return ""

        self._unsure(act)

    def put_file(self, key: str, path: Path, *, sha256: str) -> str:
        raise AssertionError("the commit path moves no files through a function")

    get_file = put_file  # type: ignore[assignment]

    def _unsure(self, act: Callable[[], str]) -> str:
        if self.countdown is not None:
            self.countdown -= 1
        if self.countdown == 0 and self.mishap == "request lost":
            raise StoreUnavailable("The request was lost.")
        done = act()
        if self.countdown == 0:
            raise StoreUnavailable("The reply was lost.")
        return done


class House:
    """Stores, a clock, and the states that lie before the commit path, done by hand."""

    def __init__(self, retention: RetentionSettings | None = None, collection: str = "lines") -> None:
        self.collection = collection
        self.clock = ManualClock()
        self.deltas, self.snapshots = FaultyObjects(self.clock), FaultyObjects(self.clock)
        settings = CollectionSettings(dimension=4, retention=retention or RetentionSettings())
        self.leases = MemoryLeases()
        self.stores = Stores(
            deltas=self.deltas,
            snapshots=self.snapshots,
            leases=self.leases,
            ledger=MemoryLedger(),
            sources=MemorySources(),
            hints=MemoryHints(),
            settings=CollectionBook(collections={collection: settings}),
        )
        self.settings = settings.fixed()

    def acquire(self, execution: str) -> Run:
        return lock.acquire(self.collection, execution, 0, self.stores, self.clock)

    def release(self, run: Run) -> None:
        lock.release(run, self.stores, take=None, failures=0)

    def pin(self) -> Pin:
        return read_pointer(self.snapshots, self.collection)

    def delta(self, name: str) -> AppliedDelta:
        key = keys.delta(self.collection, name)
        return AppliedDelta(key=key, etag=self.deltas.put(key, name.encode(), create_only=True))

    def pending(self) -> list[str]:
        return [found.key.split("/")[-2] for found in self.deltas.list(keys.deltas(self.collection))]

    def versions(self) -> list[str]:
        prefixes = self.snapshots.list_prefixes(keys.versions(self.collection))
        return [name for prefix in prefixes if (name := prefix.split("/")[-2]) not in ("latest", "pins")]

    def stage(
        self,
        run: Run,
        *deltas: AppliedDelta,
        files: dict[str, bytes] | None = None,
        still_listed: tuple[AppliedDelta, ...] = (),
        checks: tuple[Check, ...] = GOOD,
        rows: int = 7,
    ) -> UploadInput:
        """What ``Download`` and ``Merge`` would have left in staging, with the pointer as it is now."""
        prefix = keys.staging(run.collection, run.run_id, "Merge", "1")
        staged = [self.staged(prefix, path, body) for path, body in (files or FILES).items()]
        part = Part(file=self.staged(prefix, "part.parquet", b"part"), upserts=rows, deletes=0)
        plan = Plan(
            collection=run.collection,
            run_id=run.run_id,
            base=self.pin(),
            settings=self.settings,
            parts=[part],
            deltas=list(deltas),
            still_listed=list(still_listed),
            quarantined=[],
            more=False,
        )
        counts = RowCounts(inserted=rows, after=rows)
        work = Work(parts_done=1, counts=counts, dead_slots=0, files=staged, checks=checks)
        return UploadInput(
            run=run,
            plan=write_document(self.snapshots, f"{prefix}plan.json", plan),
            sealed=write_document(self.snapshots, f"{prefix}work.json", work),
        )

    def staged(self, prefix: str, path: str, body: bytes) -> StagedFile:
        etag = self.snapshots.put(prefix + path, body)
        sha256 = hashlib.sha256(body).hexdigest()
        return StagedFile(path=path, key=prefix + path, etag=etag, size=len(body), sha256=sha256)

    def publish(self, run: Run, *deltas: AppliedDelta, files: dict[str, bytes] | None = None) -> PromotePointerInput:
        """Everything up to the commit."""
        request = self.stage(run, *deltas, files=files)
        manifest = upload(request, self.stores, self.clock).manifest
        return PromotePointerInput(run=run, plan=request.plan, manifest=manifest)

    def compact(
        self, execution: str, *deltas: AppliedDelta, files: dict[str, bytes] | None = None, and_retire: bool = True
    ) -> str:
        """A whole run. Returns the version."""
        run = self.acquire(execution)
        version = promote_pointer(self.publish(run, *deltas, files=files), self.stores, self.clock).version
        if and_retire:
            retire(RetireInput(run=run, version=version), self.stores, self.clock)
        self.release(run)
        return version

    def read(self, version: str, path: str) -> bytes:
        return self.snapshots.get(keys.version(self.collection, version) + path).body
