"""A collection in memory whose versions are made by the real `merge`, and what it should hold: a plain dictionary."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.compaction import lock
from siltstone.compaction.documents import Manifest, Part, Pin, Plan, StagedFile, VersionFile, Work
from siltstone.compaction.merge import merge
from siltstone.compaction.messages import MergeInput, MergeOutput, Ref, Run
from siltstone.compaction.staging import read_document, write_document
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import DeltaHeader, encode
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.snapshots.chroma import open_chroma
from siltstone.stores import Stores
from siltstone.stores.hints import MemoryHints
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.sources_memory import MemorySources
from siltstone.stores.vectors import CollectionSpec, OpenStore, Rows
from ulid import ULID

DIMENSION = 32
Content = dict[str, tuple[np.ndarray, str | None, dict[str, Any]]]


def memory_stores(clock: ManualClock) -> Stores:
    return Stores(
        deltas=MemoryObjects(clock),
        snapshots=MemoryObjects(clock),
        leases=MemoryLeases(),
        ledger=MemoryLedger(),
        sources=MemorySources(),
        hints=MemoryHints(),
        settings=CollectionBook(),
    )


def upserts(
    ids: Sequence[str],
    seed: int,
    documents: Sequence[str | None] | None = None,
    metadatas: Sequence[dict[str, Any]] | None = None,
) -> DeltaRows:
    """Upserts of random vectors, the same for the same id and seed."""
    vectors = [np.random.default_rng([seed, *row.encode()]).normal(size=DIMENSION) for row in ids]
    embeddings = np.array(vectors, np.float32).reshape(len(ids), DIMENSION)
    return DeltaRows.upserts(
        ids,
        embeddings,
        [f"text of {row}" for row in ids] if documents is None else documents,
        [{"n": len(row), "batch_id": "b1"} for row in ids] if metadatas is None else metadatas,
    )


def deletes(*ids: str) -> DeltaRows:
    return DeltaRows.deletions(ids, DIMENSION)


def names(count: int, prefix: str = "r") -> list[str]:
    return [f"{prefix}{number:05d}" for number in range(count)]


def typed(metadata: dict[str, Any]) -> dict[str, Any]:
    """Values with their types, lists too: ``1``, ``1.0`` and ``True`` are equal and not the same."""
    return {
        key: [exact(item) for item in value] if isinstance(value, list) else exact(value)
        for key, value in metadata.items()
    }


def exact(value: Any) -> Any:
    # Chroma rounds what it stores: off by 2.8e-16 of a float's size at most.
    return (type(value), pytest.approx(value, rel=1e-15, abs=0) if isinstance(value, float) else value)


def plenty() -> float:
    return 900.0


class Bench:
    """One collection, its versions and the oracle of its content."""

    def __init__(
        self,
        folder: Path,
        settings: CollectionSettings | None = None,
        open_store: OpenStore = open_chroma,
        collection: str = "lines",
    ) -> None:
        self.clock = ManualClock()
        self.stores = memory_stores(self.clock)
        self.settings = settings or CollectionSettings(dimension=DIMENSION)
        self.collection = collection
        self.workspace = folder / "scratch"
        self.folder = folder
        self.open_store = open_store
        self.base: str | None = None
        self.oracle: Content = {}
        self.parts_of_plan: list[DeltaRows] = []

    @property
    def spec(self) -> CollectionSpec:
        return CollectionSpec.of(self.collection, self.settings.fixed())

    def plan(self, *parts: DeltaRows) -> MergeInput:
        """Lock the collection and stage a plan of these parts."""
        self.parts_of_plan = list(parts)
        run = lock.acquire(self.collection, str(ULID()), 0, self.stores, self.clock)
        prefix = keys.staging(self.collection, run.run_id, "Download", str(ULID()))
        staged = [self._part(f"{prefix}{number}.parquet", rows) for number, rows in enumerate(parts)]
        plan = Plan(
            collection=self.collection,
            run_id=run.run_id,
            base=Pin(version=self.base, etag="etag" if self.base else None),
            settings=self.settings.fixed(),
            parts=staged,
            deltas=[],
            still_listed=[],
            quarantined=[],
            more=False,
        )
        return MergeInput(run=run, plan=write_document(self.stores.snapshots, f"{prefix}plan.json", plan))

    def turn(
        self, request: MergeInput, *, seconds_left: Callable[[], float] = plenty, open_store: OpenStore | None = None
    ) -> MergeOutput:
        return merge(
            request,
            self.stores,
            self.clock,
            workspace=self.workspace,
            seconds_left=seconds_left,
            open_store=open_store or self.open_store,
        )

    def compact(self, *parts: DeltaRows) -> Manifest:
        """Merge in one turn, publish, and note in the oracle what must be there now."""
        request = self.plan(*parts)
        output = self.turn(request)
        assert output.sealed is not None
        return self.publish(request.run, output.sealed)

    def publish(self, run: Run, sealed: Ref) -> Manifest:
        """What Upload and PromotePointer do, for the tests of what lies before them."""
        snapshots = self.stores.snapshots
        work = read_document(snapshots, sealed, Work)
        prefix = keys.version(self.collection, run.version)
        for file in work.files:
            snapshots.copy(file.key, prefix + file.path, if_match=file.etag)
        manifest = Manifest(
            collection=self.collection,
            version=run.version,
            parent=self.base,
            token=run.token,
            run=run.run_id,
            started_at="",
            created_at="",
            libraries={},
            settings=self.settings.fixed(),
            counts=work.counts,
            dead_slots=work.dead_slots,
            files=[VersionFile(path=file.path, size=file.size, sha256=file.sha256) for file in work.files],
            applied=[],
            checks=list(work.checks),
        )
        write_document(snapshots, keys.manifest(self.collection, run.version), manifest)
        self.stores.leases.release(lock.lock_id(self.collection), run.owner, run.token, take=None, failures=0)
        self.base = run.version
        for rows in self.parts_of_plan:
            self.expect(rows)
        self.clock.advance(60)
        return manifest

    def expect(self, rows: DeltaRows) -> None:
        for place, row in enumerate(rows.ids):
            if rows.deletes[place]:
                self.oracle.pop(row, None)
            else:
                self.oracle[row] = (rows.embeddings[place], rows.documents[place], rows.metadatas[place])

    def download(self, work_files: Sequence[StagedFile] | None = None) -> Path:
        """The published files (or those of some work) as any S3 client would copy them."""
        folder = self.folder / f"download-{ULID()}"
        snapshots = self.stores.snapshots
        if work_files is None:
            assert self.base is not None
            prefix = keys.version(self.collection, self.base)
            pairs = [(info.key, info.key.removeprefix(prefix)) for info in snapshots.list(prefix)]
        else:
            pairs = [(file.key, file.path) for file in work_files]
        for key, path in pairs:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            snapshots.get_file(key, target)
        return folder

    def content(self) -> Rows:
        """All rows of the published version."""
        folder = self.download()
        (folder / keys.MANIFEST_FILE).unlink()
        store = self.open_store(folder, self.spec)
        try:
            return store.get(store.ids() or ["none"])
        finally:
            store.close()

    def assert_content(self) -> None:
        """The published version holds exactly what the oracle says."""
        rows = self.content()
        assert rows.ids == sorted(self.oracle)
        for place, row in enumerate(rows.ids):
            vector, document, metadata = self.oracle[row]
            np.testing.assert_allclose(rows.embeddings[place], vector, rtol=1e-6, atol=1e-6)
            assert rows.documents[place] == document
            assert typed(rows.metadatas[place]) == typed(metadata)

    def _part(self, key: str, rows: DeltaRows) -> Part:
        header = DeltaHeader(
            delta_id=str(ULID()),
            collection=self.collection,
            count=len(rows),
            model=self.settings.model,
            dimension=self.settings.dimension,
            input_format=self.settings.input_format,
            created_at="2026-01-01T00:00:00Z",
        )
        body = encode(rows, header)
        etag = self.stores.snapshots.put(key, body)
        sha = hashlib.sha256(body).hexdigest()
        file = StagedFile(path=key.rpartition("/")[2], key=key, etag=etag, size=len(body), sha256=sha)
        return Part(file=file, upserts=rows.upsert_count, deletes=len(rows) - rows.upsert_count)
