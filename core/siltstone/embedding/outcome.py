"""What was decided about each row of an attempt: made once, so that a retry can't decide otherwise."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from siltstone.errors import LedgerImbalance, PreconditionFailed
from siltstone.stores.ledger import Counts
from siltstone.stores.objects import ObjectStore

_META = b"siltstone"


class Fate(IntEnum):
    """What became of a row. Every row has exactly one."""

    TO_RETRY = 0  # a row that never came back is this
    EMBEDDED = 1
    REJECTED = 2
    OUTDATED = 3


@dataclass
class Outcome:
    """One attempt's decisions, in the order of its record file.

    ``fates``: int8 (n,), values of `Fate`. ``deletes``: bool (n,), rejected rows whose old content may be in the store.
    ``reasons``: by place, in the provider's words. ``unknown_rows``: came back under ids that were never sent.
    """

    fates: NDArray[np.int8]
    deletes: NDArray[np.bool_]
    reasons: dict[int, str] = field(default_factory=dict[int, str])
    tokens: int = 0
    unknown_rows: int = 0

    @staticmethod
    def blank(rows: int) -> Outcome:
        """Nothing came back yet."""
        return Outcome(np.zeros(rows, np.int8), np.zeros(rows, np.bool_))

    def places(self, fate: Fate) -> NDArray[np.intp]:
        """Places of the rows with this fate."""
        return np.flatnonzero(self.fates == fate)

    @property
    def counts(self) -> Counts:
        """How many of each."""
        submitted, embedded = len(self.fates), len(self.places(Fate.EMBEDDED))
        return Counts(
            submitted=submitted,
            embedded=embedded,
            to_retry=len(self.places(Fate.TO_RETRY)),
            rejected=len(self.places(Fate.REJECTED)),
            outdated=len(self.places(Fate.OUTDATED)),
        )

    def encode(self) -> bytes:
        """Parquet bytes."""
        reasons = [self.reasons.get(place) for place in range(len(self.fates))]
        table = pa.table(
            {"fate": pa.array(self.fates), "delete": pa.array(self.deletes), "reason": pa.array(reasons, pa.string())}
        )
        meta = json.dumps({"tokens": self.tokens, "unknown_rows": self.unknown_rows})
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata({_META: meta}), sink, compression="zstd")
        return sink.getvalue().to_pybytes()

    @staticmethod
    def decode(body: bytes, rows: int) -> Outcome:
        """Inverse of `encode`. Raises `LedgerImbalance` if it is not about ``rows`` rows."""
        table = pq.read_table(pa.BufferReader(body))
        if len(table) != rows:
            raise LedgerImbalance(f"{rows} rows were sent and {len(table)} were decided about.")
        meta = json.loads((table.schema.metadata or {})[_META])
        reasons = enumerate(table.column("reason").to_pylist())
        return Outcome(
            fates=table.column("fate").to_numpy().astype(np.int8),
            deletes=table.column("delete").to_numpy(zero_copy_only=False).astype(np.bool_),
            reasons={place: reason for place, reason in reasons if reason is not None},
            **meta,
        )


def decide_once(store: ObjectStore, key: str, outcome: Outcome) -> Outcome:
    """Make ``outcome`` the decision, unless there is one: then that one holds.

    The delta is create-only under a derived id. If a retry could decide anew, because a source changed in between, its
    ledger would speak of another delta than the one that was written.
    """
    try:
        store.put(key, outcome.encode(), create_only=True)
    except PreconditionFailed:
        return Outcome.decode(store.get(key).body, len(outcome.fates))
    return outcome
