"""Whole compactions in memory, one state after the other, and what they cost a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.compaction import lock, manifests
from siltstone.compaction.acquire_lock import acquire_lock
from siltstone.compaction.documents import Manifest
from siltstone.compaction.download import download
from siltstone.compaction.list_collections import list_collections
from siltstone.compaction.merge import merge
from siltstone.compaction.messages import (
    AcquireLockInput,
    DownloadOutput,
    ListCollectionsInput,
    MergeInput,
    MergeOutput,
    PromotePointerInput,
    ReleaseLockInput,
    RetireInput,
    Run,
    RunInput,
    StateError,
    UploadInput,
)
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.promote_pointer import promote_pointer
from siltstone.compaction.release_lock import release_lock
from siltstone.compaction.retire import retire
from siltstone.compaction.upload import upload
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.writer import write_delta
from siltstone.errors import SiltstoneError
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.snapshots.chroma import open_chroma
from siltstone.stores import Stores
from siltstone.stores.hints import MemoryHints
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.sources_memory import MemorySources
from siltstone.stores.vectors import CollectionSpec

Oracle = dict[str, tuple[np.ndarray, str | None]]


class Stage:
    """A stage in memory whose merges are real Chroma's. ``workspace``: the functions' disk."""

    def __init__(self, workspace: Path, collections: Mapping[str, CollectionSettings]) -> None:
        self.workspace = workspace
        self.clock = ManualClock()
        self.stores = Stores(
            deltas=MemoryObjects(self.clock),
            snapshots=MemoryObjects(self.clock),
            leases=MemoryLeases(),
            ledger=MemoryLedger(),
            sources=MemorySources(),
            hints=MemoryHints(),
            settings=CollectionBook(collections=dict(collections)),
        )
        self.executions = 0

    def write(self, rows: DeltaRows, collection: str, oracle: Oracle | None = None) -> None:
        """One delta, a second before the next."""
        write_delta(rows, collection=collection, stores=self.stores, clock=self.clock)
        self.clock.advance(1)
        for place, row_id in enumerate(rows.ids if oracle is not None else ()):
            assert oracle is not None
            if rows.deletes[place]:
                oracle.pop(row_id, None)
            else:
                oracle[row_id] = (rows.embeddings[place], rows.documents[place])

    def settle(self) -> None:
        self.clock.advance(self.stores.settings.settle_seconds + 1)

    # The machine ------------------------------------------------------------------------------------
    def execute(self, *, skip: tuple[str, ...] = ()) -> tuple[list[str], bool]:
        """One execution: the collections it compacted, and whether the machine starts itself again."""
        listed = list_collections(ListCollectionsInput(force=True, skip=list(skip)), self.stores, self.clock)
        names = [due.collection for due in listed.due]
        for index, name in enumerate(names):
            self.compact(name, index)
        return names, listed.more

    def compact(self, collection: str, index: int = 0) -> DownloadOutput:
        """One run, to its end; the lock is released whatever happens."""
        self.executions += 1
        request = AcquireLockInput(collection=collection, execution=f"e{self.executions}", index=index)
        run = acquire_lock(request, self.stores, self.clock)
        try:
            downloaded = download(RunInput(run=run), self.stores, self.clock, workspace=self.workspace / "download")
            version = self._publish(run, downloaded) if downloaded.parts else downloaded.base_version
            retire(RetireInput(run=run, version=version), self.stores, self.clock)
        except SiltstoneError as error:
            failure = StateError(state="Any", error=type(error).__name__, cause=str(error)[:500])
            release_lock(ReleaseLockInput(run=run, failure=failure), self.stores, self.clock)
            raise
        release_lock(ReleaseLockInput(run=run), self.stores, self.clock)
        self.clock.advance(60)
        return downloaded

    def merge(self, run: Run, downloaded: DownloadOutput) -> MergeOutput:
        """All turns."""
        request = MergeInput(run=run, plan=downloaded.plan)
        while True:
            merged = merge(
                request, self.stores, self.clock, workspace=self.workspace / "merge", seconds_left=lambda: 900.0
            )
            if merged.sealed is not None:
                return merged
            request = MergeInput(run=run, plan=downloaded.plan, work=merged.work)

    def _publish(self, run: Run, downloaded: DownloadOutput) -> str:
        merged = self.merge(run, downloaded)
        assert merged.sealed is not None
        uploaded = upload(UploadInput(run=run, plan=downloaded.plan, sealed=merged.sealed), self.stores, self.clock)
        promotion = PromotePointerInput(run=run, plan=downloaded.plan, manifest=uploaded.manifest)
        return promote_pointer(promotion, self.stores, self.clock).version

    # What there is ----------------------------------------------------------------------------------
    def version(self, collection: str) -> str | None:
        return read_pointer(self.stores.snapshots, collection).version

    def manifest(self, collection: str) -> Manifest:
        version = self.version(collection)
        assert version is not None
        return manifests.read_manifest(self.stores.snapshots, collection, version)

    def pending(self, collection: str) -> int:
        return sum(1 for _ in self.stores.deltas.list(keys.deltas(collection)))

    def check(self, collection: str, oracle: Oracle, folder: Path) -> None:
        """The current version, opened as a reader opens it, holds exactly what the oracle says."""
        manifest = self.manifest(collection)
        for file in manifest.files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            self.stores.snapshots.get_file(keys.version(collection, manifest.version) + file.path, target)
        settings = self.stores.settings.resolve(collection)
        store = open_chroma(folder, CollectionSpec.of(collection, settings.fixed()))
        try:
            assert store.ids() == sorted(oracle)
            rows = store.get(sorted(oracle) or ["none"])
        finally:
            store.close()
        for place, row_id in enumerate(rows.ids):
            vector, document = oracle[row_id]
            np.testing.assert_allclose(rows.embeddings[place], vector, rtol=1e-5, atol=1e-6)
            assert rows.documents[place] == document

    def locked(self, collection: str) -> bool:
        lease = self.stores.leases.read(lock.lock_id(collection))
        return lease is not None and lease.owner is not None
