"""Stores in memory with small vectors, and deltas that are written at a chosen time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from siltstone import keys
from siltstone.clock import ManualClock, iso
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import DeltaHeader, encode
from siltstone.deltas.writer import WrittenDelta, write_delta
from siltstone.settings import CollectionBook, CollectionSettings, DueSettings, RunLimits, Space
from siltstone.stores import Stores
from siltstone.stores.hints import MemoryHints
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.sources_memory import MemorySources

DIMENSION = 4
SETTLE = 60


def settings(
    *, dimension: int = DIMENSION, shards: int = 1, space: Space = "cosine", **more: Any
) -> CollectionSettings:
    return CollectionSettings(dimension=dimension, shards=shards, space=space, **more)


def vectors(count: int, seed: int = 0, dimension: int = DIMENSION) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def upserts(ids: Sequence[str], seed: int = 0, **columns: Any) -> DeltaRows:
    return DeltaRows.upserts(ids, vectors(len(ids), seed), **columns)


def header(rows: DeltaRows, collection: str = "texts", **changes: Any) -> DeltaHeader:
    fields = {
        "delta_id": "d1",
        "collection": collection,
        "count": len(rows),
        "model": "text-embedding-3-small",
        "dimension": rows.dimension,
        "input_format": "plain-v1",
        "created_at": iso(0),
    }
    return DeltaHeader.model_validate({**fields, **changes})


class House:
    def __init__(
        self,
        *,
        due: DueSettings | None = None,
        limits: RunLimits | None = None,
        shards: int = 1,
        legacy: str | None = None,
        page_size: int = 1_000,
        names: Sequence[str] = ("texts", "lines", "merchant-*"),
    ) -> None:
        self.clock = ManualClock()
        self.deltas = MemoryObjects(self.clock, page_size=page_size)
        self.snapshots = MemoryObjects(self.clock)
        self.leases, self.ledger, self.hints = MemoryLeases(), MemoryLedger(), MemoryHints()
        one = settings(shards=shards, due=due or DueSettings(), limits=limits or RunLimits())
        self.stores = Stores(
            deltas=self.deltas,
            snapshots=self.snapshots,
            leases=self.leases,
            ledger=self.ledger,
            sources=MemorySources(),
            hints=self.hints,
            settings=CollectionBook(
                collections=dict.fromkeys(names, one), legacy_delta_collection=legacy, settle_seconds=SETTLE
            ),
        )

    def write(self, rows: DeltaRows, collection: str = "texts", **more: Any) -> WrittenDelta:
        written = write_delta(rows, collection=collection, stores=self.stores, clock=self.clock, **more)
        self.clock.advance(1)
        return written

    def put(self, rows: DeltaRows, name: str, collection: str = "texts", **changes: Any) -> str:
        """A delta as a producer that checks nothing would write it."""
        key = keys.delta(collection, name)
        self.deltas.put(key, encode(rows, header(rows, collection, delta_id=name, **changes)))
        self.clock.advance(1)
        return key

    def settle(self) -> None:
        self.clock.advance(SETTLE + 1)

    def keys(self, prefix: str = "") -> list[str]:
        return [found.key for found in self.deltas.list(prefix)]
