"""What a collection should hold, and the deltas that bring it there: one wave for each crash."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from siltstone import keys
from siltstone.clock import SystemClock
from siltstone.compaction import lock
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import read_header
from siltstone.deltas.writer import write_delta
from siltstone.stores import Stores

from tests.faults.crashes.house import DIMENSION

_PATIENCE = 60.0  # seconds

Row = tuple[NDArray[np.float32], str | None, dict[str, Any]]


@dataclass
class Truth:
    """A collection's rows as all deltas so far make them, applied in order by the simplest code there is."""

    collection: str
    stores: Stores
    rows: dict[str, Row] = field(default_factory=dict)
    waves: int = 0
    deltas: list[str] = field(default_factory=list)  # keys of the good ones, ever
    bad: list[str] = field(default_factory=list)
    latest: dict[str, Row | None] = field(default_factory=dict)  # what the last wave did
    after_wave: list[dict[str, Row]] = field(default_factory=list)

    def wave(self) -> None:
        """Write upserts, deletes, upserts again of what was deleted; a file that is no delta; one that comes back."""
        number, self.waves = self.waves, self.waves + 1
        old, self.latest = sorted(self.rows), {}
        self._upsert([*(f"row-{number}-{place}" for place in range(5)), *old[:2]], number)
        self._delete([f"row-{number}-0", *old[1:3], *old[4:8]])  # as many as come: every wave does the same things
        again = [f"row-{number}-0", *old[2:3]]
        self._upsert(again, number + 1_000)
        if old[3:]:
            self._change_metadata(old[3], number)
        self._write_garbage(number)
        self._bring_back(number)
        self.after_wave.append(dict(self.rows))
        settle()

    def many(self, deltas: int) -> None:
        """Write so many more, each over rows of the one before."""
        for _ in range(deltas):
            number, self.waves = self.waves, self.waves + 1
            self._upsert([f"row-{number}-{place}" for place in range(2)] + sorted(self.rows)[:1], number)
        settle()

    def roll_back(self, rows: dict[str, Row], *, pending: bool) -> None:
        """The collection is at ``rows`` again; ``pending``: what the last wave did is still to come."""
        self.rows = dict(rows)
        for row, found in self.latest.items() if pending else ():
            if found is None:
                self.rows.pop(row, None)
            else:
                self.rows[row] = found

    def wait_until_free(self) -> None:
        """Until nobody holds the collection's lock."""
        deadline = time.monotonic() + _PATIENCE
        while (lease := self.stores.leases.read(lock.lock_id(self.collection))) is None or lease.owner is not None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.collection} is still locked: {lease}")
            time.sleep(0.05)

    def _upsert(self, ids: list[str], seed: int) -> None:
        random = np.random.default_rng(seed)
        vectors = random.standard_normal((len(ids), DIMENSION), dtype=np.float32)
        metadatas = [{"wave": seed, f"only_{seed}": "x", "share": seed / 7} for _ in ids]
        documents = [f"text {row} of {seed}" for row in ids]
        origin = self._write(DeltaRows.upserts(ids, vectors, documents, metadatas))
        for place, row in enumerate(ids):
            self._set(row, (vectors[place], documents[place], metadatas[place] | origin))

    def _change_metadata(self, row: str, seed: int) -> None:
        vector, document, _ = self.rows[row]
        metadata = {"changed": seed}
        origin = self._write(DeltaRows.upserts([row], vector[None, :], [document], [metadata]))
        self._set(row, (vector, document, metadata | origin))

    def _delete(self, ids: list[str]) -> None:
        self._write(DeltaRows.deletions(ids, DIMENSION))
        for row in ids:
            self.rows.pop(row, None)
            self.latest[row] = None

    def _set(self, row: str, found: Row) -> None:
        self.rows[row] = self.latest[row] = found

    def _write(self, rows: DeltaRows) -> dict[str, Any]:
        """Returns what a row's metadata says of where it came from."""
        written = write_delta(rows, collection=self.collection, stores=self.stores, clock=SystemClock())
        self.deltas += written.delta_keys
        return {"delta_id": written.delta_id, "model": "text-embedding-3-small", "input_format": "plain-v1"}

    def _write_garbage(self, number: int) -> None:
        key = keys.delta(self.collection, f"garbage-{number}")
        self.stores.deltas.put(key, b"PAR1 this is no delta PAR1")
        self.bad.append(key)

    def _bring_back(self, number: int) -> None:
        """A delta that was deleted once is there again: an operation of it that counted would be a second one."""
        rows = DeltaRows.upserts(["back-from-the-dead"], np.ones((1, DIMENSION), np.float32), ["x"], [{"x": 1}])
        settings = {"collection": self.collection, "stores": self.stores, "clock": SystemClock()}
        key = write_delta(rows, delta_id=f"second-life-{number}", **settings).delta_key
        body = self.stores.deltas.get(key).body
        assert read_header(body).count == 1
        self.stores.deltas.delete(key)
        self.stores.deltas.put(key, body)


def settle() -> None:
    """Until what was just written is older than the present second: a run takes nothing younger."""
    time.sleep(math.ceil(time.time()) - time.time() + 0.02)
