"""Who acts: processes' clocks, producers, readers and what they ask. The work of each is ordinary product code."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import DeltaHeader, encode
from siltstone.deltas.ids import GrowingIds
from siltstone.deltas.produce import tell
from siltstone.deltas.writer import WrittenDelta, write_delta
from siltstone.errors import StoreUnavailable
from siltstone.query.index_memory import open_memory_index
from siltstone.query.messages import QueryInput, QueryOutput
from siltstone.query.query import open_readers, query
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.stores import Stores
from siltstone.stores.vectors import CollectionSpec, Rows
from siltstone.stores.vectors_memory import MemoryVectors, open_memory

from tests.faults.facts import Content, Kind, Operations

IDS = "abcdefgh"
POISON = "poison"  # an id that ends whoever merges it
BAD_BODIES = ("no parquet", "another model", "not a number")


class ActorClock:
    """A process's own clock: right, or off by ``skew`` seconds. Waiting takes true time."""

    def __init__(self, true: ManualClock, skew: float = 0.0) -> None:
        self._true = true
        self.skew = skew

    def now(self) -> float:
        return self._true.now() + self.skew

    def monotonic(self) -> float:
        return self._true.monotonic()

    def sleep(self, seconds: float) -> None:
        self._true.advance(seconds)


class Actor:
    """Somebody with a clock, and, of producers, ids that grow."""

    def __init__(self, name: str, true: ManualClock) -> None:
        self.name = name
        self.clock = ActorClock(true)
        self.ids = GrowingIds()


class Reader(Actor):
    """A process that answers queries, with what it keeps between them. ``life``: how often it was started."""

    def __init__(self, name: str, true: ManualClock, stores: Stores, folder: Path) -> None:
        super().__init__(name, true)
        self._stores = stores
        self._folder = folder
        self.life = 0
        self.restart()

    def restart(self) -> None:
        self.life += 1
        self.readers = open_readers(self._stores, self.clock, self._folder, open_memory_index)

    @property
    def process_name(self) -> str:
        return f"{self.name} (process {self.life})"

    def ask(self, collection: str, *, strong: bool) -> QueryOutput:
        request = QueryInput(
            collection_name=collection,
            operation="get",
            limit=1_000,
            include=("metadatas", "documents", "embeddings"),
            consistency="strong" if strong else "snapshot",
        )
        return query(request, self.readers, self._stores.settings, self.clock, _no_provider)


def _no_provider() -> Any:
    raise AssertionError("nobody asks by text")


def content_of(output: QueryOutput) -> Content:
    """An answer, as the oracle keeps rows."""
    results = output.results
    assert results is not None and results.embeddings is not None
    assert results.documents is not None and results.metadatas is not None
    return {
        row_id: (
            np.asarray(results.embeddings[place], np.float32).tobytes(),
            results.documents[place],
            json.dumps(results.metadatas[place] or {}, sort_keys=True),
        )
        for place, row_id in enumerate(results.ids)
    }


@dataclass(frozen=True)
class Delta:
    """What a producer is about to write. The ``number`` makes its rows unlike all others.

    ``ids``: lower case for an upsert, upper case for a delete. ``same``: the vector that other deltas have too.
    """

    number: int
    collection: str
    ids: str
    kind: Kind = "good"
    derived: str | None = None
    same: bool = False

    @property
    def batch_id(self) -> str | None:
        return None if self.derived is None else self.derived.partition(".")[0]

    def rows(self, dimension: int) -> DeltaRows:
        ids = [*self.ids.lower(), *([POISON] if self.kind == "poison" else [])]
        vectors = np.full((len(ids), dimension), 1.0 if self.same else self.number, np.float32)
        vectors[:, -1] = [1.0 if self.same else place + 1 for place in range(len(ids))]
        deletes = np.array([row_id.isupper() for row_id in self.ids] + [False] * (len(ids) - len(self.ids)), np.bool_)
        vectors[deletes] = 0.0
        return DeltaRows(
            ids=ids,
            deletes=deletes,
            embeddings=vectors,
            documents=[None if delete else f"text {self.number % 3}" for delete in deletes.tolist()],
            metadatas=[
                {} if delete else {"n": self.number, **({f"k{self.number % 4}": True})} for delete in deletes.tolist()
            ],
        )

    def operations(self, delta_id: str, settings: CollectionSettings) -> Operations:
        """What it does, by plain words and not by the code that writes it."""
        origin: dict[str, Any] = {"model": settings.model, "input_format": settings.input_format, "delta_id": delta_id}
        if self.batch_id is not None:
            origin["batch_id"] = self.batch_id
        rows = self.rows(settings.dimension)
        return {
            row_id: None
            if rows.deletes[place]
            else (
                rows.embeddings[place].tobytes(),
                rows.documents[place],
                json.dumps({**origin, **rows.metadatas[place]}, sort_keys=True),
            )
            for place, row_id in enumerate(rows.ids)
        }

    def write(self, stores: Stores, actor: Actor, tries: int) -> WrittenDelta | None:
        """As a producer does that asks again when a store does not answer: under the same id if it is derived."""
        settings = stores.settings.resolve(self.collection)
        if self.kind == "bad":
            self._write_bad(stores, actor, settings)
            return None
        while True:
            tries -= 1
            try:
                written = write_delta(
                    self.rows(settings.dimension),
                    collection=self.collection,
                    stores=stores,
                    clock=actor.clock,
                    delta_id=self.derived,
                    batch_id=self.batch_id,
                )
                tell(stores.hints, written)
            except StoreUnavailable:
                if tries <= 0:
                    raise
            else:
                return written

    def _write_bad(self, stores: Stores, actor: Actor, settings: CollectionSettings) -> None:
        """A foreign writer, who checks nothing."""
        delta_id, rows = actor.ids.next(actor.clock), self.rows(settings.dimension)
        header = DeltaHeader(
            delta_id=delta_id,
            collection=self.collection,
            count=len(rows),
            model=settings.model,
            dimension=settings.dimension,
            input_format=settings.input_format,
            batch_id="batch-0",
            created_at="",
        )
        match BAD_BODIES[self.number % len(BAD_BODIES)]:
            case "no parquet":
                body = b"no parquet %d" % self.number
            case how if how == "another model" or rows.deletes.all():  # a delete has no vector to be wrong
                body = encode(rows, header.model_copy(update={"model": "another"}))
            case _:
                rows.embeddings[:] = np.nan
                body = encode(rows, header)
        stores.deltas.put(keys.delta(self.collection, delta_id), body, create_only=True)


class Poisonable(MemoryVectors):
    """A vector store that some rows crash."""

    def insert(self, rows: Rows) -> None:
        if POISON in rows.ids:
            raise RuntimeError("poison")
        super().insert(rows)


def open_poisonable(folder: Path, spec: CollectionSpec) -> MemoryVectors:
    """The vector store's twin, which poison ends."""
    store = open_memory(folder, spec)
    store.__class__ = Poisonable
    return store


class Timer:
    """How long a turn of Merge has: it is asked before each step, and says no from some time on."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def __call__(self) -> float:
        self._left -= 1
        return 900.0 if self._left >= 0 else 0.0


def turn_steps(seed: str) -> int:
    """Steps of one turn: mostly all, sometimes one or two, rarely none (which is `NoProgress`)."""
    return random.Random(seed).choices([99, 1, 2, 3, 0], weights=[60, 18, 12, 8, 2])[0]


def book(collections: tuple[str, ...], settings: CollectionSettings) -> CollectionBook:
    return CollectionBook(collections=dict.fromkeys(collections, settings), settle_seconds=60)
