"""Collections in memory, compacted by the real states and read by the real readers, beside a plain dictionary.

`Watched` wraps a store: it counts requests, and runs a hook before or after a named one, so that a race happens where
a test wants it.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from siltstone.clock import ManualClock
from siltstone.compaction.acquire_lock import acquire_lock
from siltstone.compaction.download import download
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
from siltstone.compaction.promote_pointer import promote_pointer
from siltstone.compaction.release_lock import release_lock
from siltstone.compaction.retire import retire
from siltstone.compaction.upload import upload
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.shards import physical
from siltstone.deltas.writer import WrittenDelta, write_delta
from siltstone.query.aliases import AliasReader
from siltstone.query.index import OpenIndex
from siltstone.query.index_chroma import open_index
from siltstone.query.index_memory import open_memory_index
from siltstone.query.messages import QueryInput, QueryOutput
from siltstone.query.pending import MAX_PENDING_BYTES, PendingReader
from siltstone.query.query import Readers, query
from siltstone.query.reader import KEEP_BYTES, SnapshotReader
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.snapshots.chroma import open_chroma
from siltstone.stores import Stores
from siltstone.stores.hints import MemoryHints
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.provider_memory import MemoryProvider
from siltstone.stores.sources_memory import MemorySources
from siltstone.stores.vectors import OpenStore
from siltstone.stores.vectors_memory import open_memory
from ulid import ULID

DIMENSION = 32
SETTLE = 60
Row = tuple[np.ndarray, str | None, dict[str, Any]]
Hook = Callable[[], None]


@dataclass(frozen=True)
class Engine:
    """Who writes a version's files and who reads them."""

    store: OpenStore
    index: OpenIndex


CHROMA = Engine(open_chroma, open_index)
MEMORY = Engine(open_memory, open_memory_index)


class Watched(MemoryObjects):
    """Counts calls by name and key; a hook runs once, before or after the next such call. ``get`` and ``get_file`` are
    both a "read"."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.calls: Counter[str] = Counter()
        self.keys: list[tuple[str, str]] = []
        self._hooks: list[tuple[str, str, str, Hook]] = []

    def before(self, name: str, hook: Hook, containing: str = "") -> None:
        self._hooks.append(("before", name, containing, hook))

    def after(self, name: str, hook: Hook, containing: str = "") -> None:
        self._hooks.append(("after", name, containing, hook))

    @property
    def all_ran(self) -> bool:
        return not self._hooks

    def forget(self) -> None:
        self.calls.clear()
        self.keys.clear()

    def _run(self, when: str, name: str, key: str) -> None:
        for hook in list(self._hooks):
            if hook[:2] == (when, name) and hook[2] in key:
                self._hooks.remove(hook)
                hook[3]()

    def _watch(self, name: str, key: str, act: Callable[[], Any]) -> Any:
        self.calls[name] += 1
        self.keys.append((name, key))
        self._run("before", name, key)
        result = act()
        self._run("after", name, key)
        return result

    def get(self, key: str, **more: Any) -> Any:
        return self._watch("read", key, lambda: MemoryObjects.get(self, key, **more))

    def get_if_changed(self, key: str, etag: str | None) -> Any:
        return self._watch("get_if_changed", key, lambda: _if_changed(self, key, etag))

    def get_file(self, key: str, path: Path, **more: Any) -> Any:
        def act() -> None:
            path.write_bytes(MemoryObjects.get(self, key, **more).body)

        return self._watch("read", key, act)

    def list_page(self, prefix: str, token: str | None = None) -> Any:
        return self._watch("list_page", prefix, lambda: MemoryObjects.list_page(self, prefix, token))

    def list_versions(self, prefix: str, **more: Any) -> Any:
        return self._watch(
            "list_versions", prefix, lambda: iter(list(MemoryObjects.list_versions(self, prefix, **more)))
        )


def _if_changed(store: MemoryObjects, key: str, etag: str | None) -> Any:
    found = MemoryObjects.get(store, key)
    return None if found.info.etag == etag else found


def embed(texts: Sequence[str], dimension: int) -> np.ndarray:
    """The same vector for the same text."""
    return np.stack([np.random.default_rng(list(text.encode())).normal(size=dimension) for text in texts]).astype(
        np.float32
    )


class House:
    def __init__(
        self,
        folder: Path,
        engine: Engine = CHROMA,
        *,
        collections: Sequence[str] = ("texts",),
        keep_bytes: int = KEEP_BYTES,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        legacy: str | None = None,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.engine = engine
        self.clock = ManualClock()
        self.deltas, self.snapshots = Watched(self.clock), Watched(self.clock)
        self.settings = CollectionSettings(dimension=DIMENSION, **settings)
        self.book = CollectionBook(
            collections=dict.fromkeys(collections, self.settings),
            settle_seconds=SETTLE,
            legacy_delta_collection=legacy,
        )
        self.stores = Stores(
            deltas=self.deltas,
            snapshots=self.snapshots,
            leases=MemoryLeases(),
            ledger=MemoryLedger(),
            sources=MemorySources(),
            hints=MemoryHints(),
            settings=self.book,
        )
        self.provider = MemoryProvider(embed, self.clock)
        self.scratch = folder / "reading"
        self.readers = self.new_readers(keep_bytes=keep_bytes, max_pending_bytes=max_pending_bytes)
        self.oracle: dict[str, dict[str, Row]] = {name: {} for name in collections}
        self.merged: dict[str, dict[str, Row]] = {name: {} for name in collections}  # at the promoted versions

    def new_readers(
        self,
        keep_bytes: int = KEEP_BYTES,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        book: CollectionBook | None = None,
    ) -> Readers:
        snapshots = SnapshotReader(self.snapshots, self.clock, self.scratch, self.engine.index, keep_bytes=keep_bytes)
        pending = PendingReader(self.deltas, snapshots, book or self.book, self.scratch, max_bytes=max_pending_bytes)
        return Readers(snapshots, pending, AliasReader(self.snapshots, book or self.book, self.clock))

    # Writing --------------------------------------------------------------------------------------
    def write(self, rows: DeltaRows, collection: str = "texts", **more: Any) -> WrittenDelta:
        """A durable delta; a second passes."""
        written = write_delta(rows, collection=collection, stores=self.stores, clock=self.clock, **more)
        self.clock.advance(1)
        for place, row in enumerate(rows.ids):
            if rows.deletes[place]:
                self.oracle[collection].pop(row, None)
            else:
                origin = {
                    "model": self.settings.model,
                    "input_format": self.settings.input_format,
                    "delta_id": written.delta_id,
                }
                self.oracle[collection][row] = (
                    rows.embeddings[place],
                    rows.documents[place],
                    {**origin, **rows.metadatas[place]},
                )
        return written

    def upsert(self, *ids: str, seed: int = 0, collection: str = "texts") -> WrittenDelta:
        return self.write(upserts(ids, seed), collection)

    def delete(self, *ids: str, collection: str = "texts") -> WrittenDelta:
        return self.write(DeltaRows.deletions(ids, DIMENSION), collection)

    # Compaction -----------------------------------------------------------------------------------
    def compact(self, collection: str = "texts", *, and_retire: bool = True) -> str:
        """Everything settles and is merged, shard by shard. The last shard's version."""
        self.clock.advance(SETTLE + 1)
        version = ""
        for name in physical(collection, self.settings):
            run = self.prepare(name)
            if run is not None:
                version = self.finish(run, and_retire=and_retire)
        self.merged[collection] = dict(self.oracle[collection])
        self.readers_may_refresh()
        return version

    def prepare(self, name: str = "texts") -> tuple[Run, PromotePointerInput] | None:
        """A run up to the commit; ``None`` if nothing was pending."""
        run = acquire_lock(AcquireLockInput(collection=name, execution=str(ULID()), index=0), self.stores, self.clock)
        work = self.folder / "compaction"
        planned = download(RunInput(run=run), self.stores, self.clock, workspace=work)
        if not planned.deltas:
            release_lock(ReleaseLockInput(run=run), self.stores, self.clock)
            return None
        merged = merge(
            MergeInput(run=run, plan=planned.plan),
            self.stores,
            self.clock,
            workspace=work,
            seconds_left=lambda: 900.0,
            open_store=self.engine.store,
        )
        assert merged.sealed is not None
        uploaded = upload(UploadInput(run=run, plan=planned.plan, sealed=merged.sealed), self.stores, self.clock)
        return run, PromotePointerInput(run=run, plan=planned.plan, manifest=uploaded.manifest)

    def finish(self, prepared: tuple[Run, PromotePointerInput] | None, *, and_retire: bool = True) -> str:
        """The commit, and what follows."""
        assert prepared is not None
        run, request = prepared
        version = promote_pointer(request, self.stores, self.clock).version
        if and_retire:
            retire(RetireInput(run=run, version=version), self.stores, self.clock)
        release_lock(ReleaseLockInput(run=run), self.stores, self.clock)
        return version

    def readers_may_refresh(self) -> None:
        self.clock.advance(10)

    # Reading --------------------------------------------------------------------------------------
    def ask(self, operation: str = "query", *, readers: Readers | None = None, **request: Any) -> QueryOutput:
        asked = QueryInput.model_validate({"collection_name": "texts", "operation": operation, **request})
        return query(asked, readers or self.readers, self.book, self.clock, lambda: self.provider)

    def ids(self, consistency: str = "strong", **request: Any) -> list[str]:
        found = self.ask("get", consistency=consistency, limit=1_000, **request).results
        assert found is not None
        return found.ids

    def folders(self) -> list[Path]:
        """Of versions that are on the disk."""
        return [path for private in self.scratch.glob("private-*") for path in private.iterdir()]

    def close(self) -> None:
        self.readers.snapshots.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def upserts(ids: Sequence[str], seed: int = 0, **columns: Any) -> DeltaRows:
    """Vectors, documents and metadata that depend on id and seed alone."""
    vectors = [np.random.default_rng([seed, *row.encode()]).normal(size=DIMENSION) for row in ids]
    columns.setdefault("documents", [f"text {seed} of {row}" for row in ids])
    columns.setdefault("metadatas", [{"seed": seed, "length": len(row)} for row in ids])
    return DeltaRows.upserts(ids, np.array(vectors, np.float32).reshape(len(ids), DIMENSION), **columns)


def vector(seed: int, dimension: int = DIMENSION) -> list[float]:
    return np.random.default_rng([7, seed]).normal(size=dimension).astype(np.float32).tolist()


def names(count: int, prefix: str = "r") -> list[str]:
    return [f"{prefix}{number:04d}" for number in range(count)]


def exact(rows: dict[str, Row], asked: Sequence[float], space: str) -> dict[str, float]:
    """Distances in float64, as Chroma defines them."""
    query_vector = np.asarray(asked, np.float64)
    found: dict[str, float] = {}
    for row, (embedding, _, _) in rows.items():
        one = embedding.astype(np.float64)
        dot = float(one @ query_vector)
        if space == "l2":
            found[row] = float(((one - query_vector) ** 2).sum())
        else:
            found[row] = 1 - (dot if space == "ip" else dot / float(np.linalg.norm(one) * np.linalg.norm(query_vector)))
    return found
