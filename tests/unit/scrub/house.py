"""A collection in memory that is written, compacted, rolled back and retired by the real states, and then verified."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.compaction.acquire_lock import acquire_lock
from siltstone.compaction.documents import Manifest
from siltstone.compaction.download import download
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.merge import merge
from siltstone.compaction.messages import (
    AcquireLockInput,
    MergeInput,
    PromotePointerInput,
    ReleaseLockInput,
    RetireInput,
    Run,
    RunInput,
    UploadInput,
)
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.promote_pointer import promote_pointer
from siltstone.compaction.release_lock import release_lock
from siltstone.compaction.retire import retire
from siltstone.compaction.rollback import rollback
from siltstone.compaction.upload import upload
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.writer import write_delta
from siltstone.settings import CollectionBook, CollectionSettings, RetentionSettings, Space
from siltstone.stores import Stores
from siltstone.stores.hints import MemoryHints
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.sources_memory import MemorySources
from siltstone.stores.vectors import OpenStore
from siltstone.stores.vectors_memory import open_memory
from siltstone.verify.findings import Report, Severity, VerifyInput
from siltstone.verify.verify import verify

DIMENSION = 4
COLLECTION = "lines"


class ReadOnly:
    """An object store, or a lease store, through which nothing can be written."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if not name.startswith(("get", "head", "list", "stream", "read")):
            raise AssertionError(f"verify called {name}")
        return getattr(self._store, name)


class Objects(MemoryObjects):
    """With what an administrator, or a lifecycle, does to a bucket's history."""

    def forget(self, key: str) -> None:
        """Delete every object version."""
        self._history[key].clear()

    def expire(self, key: str) -> None:
        """Delete all but the newest entry."""
        del self._history[key][:-1]

    def remove_marker(self, key: str) -> None:
        """Undo a deletion."""
        self.restore(key, next(each.version_id for each in self.list_versions(key) if not each.is_delete_marker))


class House:
    def __init__(
        self,
        folder: Path | None = None,
        *,
        retention: RetentionSettings | None = None,
        space: Space = "cosine",
        open_store: OpenStore = open_memory,
        open_plain: OpenStore | None = None,
        legacy: bool = False,
    ) -> None:
        self.clock = ManualClock()
        self.deltas, self.snapshots = Objects(self.clock), Objects(self.clock)
        self.leases = MemoryLeases()
        settings = CollectionSettings(
            dimension=DIMENSION, space=space, retention=retention or RetentionSettings(), input_format="plain-v1"
        )
        self.stores = Stores(
            deltas=self.deltas,
            snapshots=self.snapshots,
            leases=self.leases,
            ledger=MemoryLedger(),
            sources=MemorySources(),
            hints=MemoryHints(),
            settings=CollectionBook(
                collections={COLLECTION: settings},
                settle_seconds=0,
                legacy_delta_collection=COLLECTION if legacy else None,
            ),
        )
        self.folder = folder or Path(tempfile.mkdtemp())
        self.open_store = open_store
        self.open_plain = open_plain or open_store
        self._runs = 0

    def write(self, *ids: str, seed: int = 0, delta_id: str | None = None, **columns: Any) -> str:
        """A delta of upserts; its key."""
        rows = upserts(ids, seed, **columns)
        return self._write(rows, delta_id)

    def erase(self, *ids: str) -> str:
        """A delta of deletes; its key."""
        return self._write(DeltaRows.deletions(ids, DIMENSION), None)

    def acquire(self) -> Run:
        self._runs += 1
        request = AcquireLockInput(collection=COLLECTION, execution=f"run{self._runs}", index=0)
        return acquire_lock(request, self.stores, self.clock)

    def compact(self, *, and_retire: bool = True, and_promote: bool = True) -> str:
        """A whole run over what is pending; the version that it made."""
        run = self.acquire()
        self.clock.advance(1)
        found = download(RunInput(run=run), self.stores, self.clock, workspace=self.folder / "scratch")
        if found.deltas:
            work = None
            while True:
                made = merge(
                    MergeInput(run=run, plan=found.plan, work=work),
                    self.stores,
                    self.clock,
                    workspace=self.folder / "scratch",
                    seconds_left=lambda: 900.0,
                    open_store=self.open_store,
                )
                if made.sealed is not None:
                    break
                work = made.work
            manifest = upload(UploadInput(run=run, plan=found.plan, sealed=made.sealed), self.stores, self.clock)
            self.clock.advance(1)
            if and_promote:
                promote_pointer(
                    PromotePointerInput(run=run, plan=found.plan, manifest=manifest.manifest), self.stores, self.clock
                )
            self.clock.advance(1)
        current = run.version if found.deltas else found.base_version
        if and_retire and and_promote:
            retire(RetireInput(run=run, version=current), self.stores, self.clock)
        release_lock(ReleaseLockInput(run=run), self.stores, self.clock)
        self.clock.advance(60)
        return run.version

    def rollback(self, to: str) -> str:
        self._runs += 1
        version = rollback(COLLECTION, to, self.stores, self.clock, execution=f"back{self._runs}").version
        self.clock.advance(60)
        return version

    def verify(self, *, deep: bool = False, version: str | None = None) -> Report:
        """Through stores that refuse every write."""
        stores = Stores(
            deltas=cast("Any", ReadOnly(self.deltas)),
            snapshots=cast("Any", ReadOnly(self.snapshots)),
            leases=cast("Any", ReadOnly(self.leases)),
            ledger=cast("Any", ReadOnly(self.stores.ledger)),
            sources=self.stores.sources,
            hints=self.stores.hints,
            settings=self.stores.settings,
        )
        return verify(
            VerifyInput(collection=COLLECTION, version=version, deep=deep),
            stores,
            self.clock,
            workspace=self.folder / "verify",
            open_store=self.open_plain,
        )

    def codes(self, *severities: Severity, deep: bool = False, version: str | None = None) -> list[str]:
        """Codes of what was found, the worst first; of errors and warnings unless said otherwise."""
        wanted = severities or ("error", "warning")
        report = self.verify(deep=deep, version=version)
        return [found.code for found in report.findings if found.severity in wanted]

    def manifest(self, version: str) -> Manifest:
        return read_manifest(self.snapshots, COLLECTION, version)

    def write_manifest(self, manifest: Manifest) -> None:
        """As a tamperer would: over the one that is there."""
        key = keys.manifest(COLLECTION, manifest.version)
        self.snapshots.put(key, manifest.model_dump_json().encode())

    def file_key(self, version: str) -> str:
        """Key of a version's largest file."""
        file = max(self.manifest(version).files, key=lambda each: each.size)
        return keys.version(COLLECTION, version) + file.path

    def point_to(self, version: str) -> None:
        """As an operator in a hurry would: the pointer is overwritten by hand."""
        self.snapshots.put(keys.pointer(COLLECTION), keys.version(COLLECTION, version).encode())
        self.clock.advance(1)

    @property
    def current(self) -> str | None:
        return read_pointer(self.snapshots, COLLECTION).version

    def _write(self, rows: DeltaRows, delta_id: str | None) -> str:
        written = write_delta(rows, collection=COLLECTION, stores=self.stores, clock=self.clock, delta_id=delta_id)
        self.clock.advance(1)
        return written.delta_key


def upserts(ids: Sequence[str], seed: int = 0, **columns: Any) -> DeltaRows:
    """The same vector for the same id and seed."""
    vectors = [np.random.default_rng([seed, *row.encode()]).normal(size=DIMENSION) for row in ids]
    columns.setdefault("documents", [f"text of {row}" for row in ids])
    columns.setdefault("metadatas", [{"n": len(row), "share": 0.1 + seed} for row in ids])
    return DeltaRows.upserts(ids, np.array(vectors, np.float32), **columns)
