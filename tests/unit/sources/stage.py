"""A stage in memory, whole: sources go in, batches are walked to their end, and compactions make real versions."""

from __future__ import annotations

from pathlib import Path

from siltstone.compaction.acquire_lock import acquire_lock
from siltstone.compaction.download import download
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.merge import merge
from siltstone.compaction.messages import (
    AcquireLockInput,
    MergeInput,
    PromotePointerInput,
    ReleaseLockInput,
    RetireInput,
    RunInput,
    UploadInput,
)
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.promote_pointer import promote_pointer
from siltstone.compaction.release_lock import release_lock
from siltstone.compaction.retire import retire
from siltstone.compaction.rollback import rollback
from siltstone.compaction.upload import upload
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.snapshots.restore import restore_version
from siltstone.sources.loading import load_sources
from siltstone.sources.source import Source
from siltstone.stores.vectors import CollectionSpec
from siltstone.stores.vectors_memory import open_memory
from siltstone.verify.findings import Report, VerifyInput
from siltstone.verify.verify import verify
from ulid import ULID

from tests.unit.embedding.house import DIMENSION, House


def receipts_and_texts(**more: CollectionSettings) -> CollectionBook:
    formats = {"lines": "line-context-v1", "words": "word-context-v1", "texts": "plain-v1"}
    named = {
        name: CollectionSettings.model_validate({"dimension": DIMENSION, "input_format": found})
        for name, found in formats.items()
    }
    return CollectionBook(collections={**named, **more}, settle_seconds=0)


class Stage(House):
    """The embedding machine's house, with compactions over an in-memory vector store."""

    def __init__(self, workspace: Path, settings: CollectionBook | None = None) -> None:
        super().__init__(workspace, settings or receipts_and_texts())
        self._runs = 0

    def load(self, *sources: Source) -> None:
        load_sources(sources, self.stores, self.clock)
        self.clock.advance(1)

    def compact(self, collection: str, *, and_retire: bool = True) -> str | None:
        """A whole run over what is pending; the version that is current afterwards."""
        self._runs += 1
        stores, clock, scratch = self.stores, self.clock, self.workspace / "compaction"
        clock.advance(1)
        request = AcquireLockInput(collection=collection, execution=f"run{self._runs}", index=0)
        run = acquire_lock(request, stores, clock)
        found = download(RunInput(run=run), stores, clock, workspace=scratch)
        current = found.base_version
        if found.deltas:
            made = merge(
                MergeInput(run=run, plan=found.plan, work=None),
                stores,
                clock,
                workspace=scratch,
                seconds_left=lambda: 900.0,
                open_store=open_memory,
            )
            assert made.sealed is not None
            manifest = upload(UploadInput(run=run, plan=found.plan, sealed=made.sealed), stores, clock).manifest
            clock.advance(1)
            promote_pointer(PromotePointerInput(run=run, plan=found.plan, manifest=manifest), stores, clock)
            current = run.version
        clock.advance(1)
        if and_retire:
            retire(RetireInput(run=run, version=current), stores, clock)
        release_lock(ReleaseLockInput(run=run), stores, clock)
        clock.advance(60)
        return current

    def rollback(self, collection: str, to: str) -> str:
        self._runs += 1
        version = rollback(collection, to, self.stores, self.clock, execution=f"back{self._runs}").version
        self.clock.advance(60)
        return version

    def rows(self, collection: str, version: str | None = None) -> list[str]:
        """Ids in a version, or in the current one."""
        version = version or read_pointer(self.stores.snapshots, collection).version
        if version is None:
            return []
        manifest = read_manifest(self.stores.snapshots, collection, version)
        folder = self.workspace / f"look-{ULID()}"
        restore_version(self.stores.snapshots, manifest, folder)
        store = open_memory(folder, CollectionSpec.of(collection, manifest.settings))
        try:
            return store.ids()
        finally:
            store.close()

    def verify(self, collection: str, *, deep: bool = False) -> Report:
        return verify(
            VerifyInput(collection=collection, deep=deep),
            self.stores,
            self.clock,
            workspace=self.workspace / "verify",
            open_store=open_memory,
        )
