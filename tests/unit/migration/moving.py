"""A stage in memory, an index in memory, and the way from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from siltstone.clients.in_process import StoresTransport
from siltstone.clock import ManualClock
from siltstone.migration.copying import copy_namespace
from siltstone.migration.job import Job, Pages
from siltstone.migration.patience import PatientIndex
from siltstone.migration.plan import plan_moves
from siltstone.migration.report import MigrationReport
from siltstone.migration.source import SourceIndex, SourceVector
from siltstone.migration.source_memory import MemoryIndex
from siltstone.migration.verifying import verify_migration
from siltstone.migration.walk import Listing, Walk
from siltstone.stores.migrations import MigrationItem

from tests.unit.query.house import CHROMA, DIMENSION, House


def vector(row_id: str, *, seed: int = 0, **more: Any) -> SourceVector:
    """The same for the same id and seed."""
    values = np.random.default_rng([seed, *row_id.encode()]).normal(size=DIMENSION).astype(np.float32)
    more.setdefault("metadata", {"text": f"text of {row_id}", "n": len(row_id), "share": 0.1})
    return SourceVector(row_id, more.pop("values", values), **more)


def vectors(count: int, prefix: str = "r") -> list[SourceVector]:
    return [vector(f"{prefix}{number:05d}") for number in range(count)]


class Moving:
    """Everything that is needed to migrate `index` into `house`."""

    def __init__(self, folder: Path, index: SourceIndex, **settings: Any) -> None:
        collections = settings.pop("collections", ("lines", "words", "texts"))
        self.house = House(folder, settings.pop("engine", CHROMA), collections=collections, **settings)
        self.clock: ManualClock = self.house.clock
        self.index = index
        self.transport = StoresTransport(
            self.house.stores, self.clock, lambda: self.house.provider, self.house.engine.index, folder / "client"
        )

    def jobs(
        self, name: str = "move", *, rows: int = 50, fetch: int = 20, walk: Walk | None = None, **options: Any
    ) -> list[Job]:
        document_key = options.pop("document_key", "text")
        patient = PatientIndex(self.index, self.clock)
        moves = plan_moves(patient.shape(), self.house.stores, **options)
        pages = Pages(rows, fetch, workers=2)
        return [Job(name, move, walk or Listing(patient), pages, document_key) for move in moves]

    def copy(self, name: str = "move", *, restart: bool = False, **options: Any) -> list[MigrationItem]:
        patient = PatientIndex(self.index, self.clock)
        return [
            copy_namespace(job, patient, self.house.stores, self.clock, restart=restart)
            for job in self.jobs(name, **options)
        ]

    def verify(self, name: str = "move", **options: Any) -> MigrationReport:
        patient = PatientIndex(self.index, self.clock)
        return verify_migration(self.jobs(name, **options), patient, self.transport, self.clock)

    def keys(self, collection: str) -> list[str]:
        return [each.key for each in self.house.deltas.list(f"deltas/{collection}/")]

    def close(self) -> None:
        self.transport.close()
        self.house.close()


def index_of(rows: Sequence[SourceVector], namespace: str = "texts", **more: Any) -> MemoryIndex:
    return MemoryIndex({namespace: rows}, dimension=DIMENSION, **more)
