"""The source table: one item per source, with its revision, its status per collection, and what the store may hold.

What is in the vector store is known per record, so that a change embeds only what changed and deletes what vanished:

===========  ===========================================================================================
``settled``  certainly there, with this digest: its delta is durable and nothing later can change it
``refused``  certainly not there: the provider refused this digest, and it is not paid for again
``pending``  in flight under the claim
``stray``    perhaps there, with whatever content: something was in flight while the source changed
===========  ===========================================================================================
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

OPEN_INDEX = "open"
OPEN_SHARDS = 8

SourceStatus = Literal["NONE", "PENDING", "SUCCESS", "FAILED"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Claim(_Model):
    """Who embeds a source at the moment. ``at``: epoch seconds."""

    plan: str
    batch_id: str
    revision: str
    at: float


class CollectionState(_Model):
    """A source's state in one collection. Digests are 16 hex digits (see `siltstone.sources.state.digest`)."""

    status: SourceStatus = "NONE"
    claim: Claim | None = None
    batch_id: str | None = None  # the last one that wrote for it
    failures: int = 0  # batches in a row that failed as a whole
    cause: str | None = None
    settled: dict[str, str] = {}
    refused: dict[str, str] = {}
    pending: frozenset[str] = frozenset()
    stray: frozenset[str] = frozenset()

    @property
    def held(self) -> frozenset[str]:
        """Ids of all records that may be in the store now, not counting what is in flight."""
        return self.stray | self.settled.keys()


class SourceItem(_Model):
    """A source as stored. ``version`` is 0 before the first write; times are epoch seconds."""

    source_id: str  # unique over all kinds
    kind: str  # receipt or text
    revision: str
    collections: dict[str, CollectionState] = {}
    deleted_at: float | None = None  # the tombstone
    version: int = 0
    write_id: str = ""  # of the latest write
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def open(self) -> bool:
        """Whether something is left to do: a collection is not SUCCESS, or a deleted source's rows are still there."""
        if self.deleted_at is not None:
            return any(state.held for state in self.collections.values())
        return any(state.status != "SUCCESS" for state in self.collections.values())


def open_shard(source_id: str) -> str:
    """Partition of the sparse index: spreads the load of one hot status over a few partitions."""
    return str(zlib.crc32(source_id.encode()) % OPEN_SHARDS)


def stored(item: SourceItem, *, now: float) -> SourceItem:
    """``item`` as the next write stores it, with a mark by which a write that is sent twice knows itself."""
    times = {"created_at": item.created_at or now, "updated_at": now}
    return item.model_copy(update={"version": item.version + 1, "write_id": uuid4().hex, **times})


class SourceTable(Protocol):
    """Conditional writes of source items. Every method may raise `StoreUnavailable`."""

    def read(self, source_id: str) -> SourceItem | None:
        """The item, read consistently."""
        ...

    def read_many(self, source_ids: Iterable[str]) -> dict[str, SourceItem]:
        """Those of the items that exist, read consistently, a hundred a request."""
        ...

    def save(self, item: SourceItem, *, now: float) -> SourceItem:
        """Store if the stored version is ``item.version`` (0: there is none), as the next version.

        Raises `SourceChanged`. A write whose reply was lost and that is sent again is no error.
        """
        ...

    def save_many(self, items: Iterable[SourceItem], *, now: float) -> tuple[dict[str, SourceItem], set[str]]:
        """`save` each, some at a time: what was stored, and the ids of those that had changed."""
        ...

    def list_open(self) -> Iterator[str]:
        """Ids of the open sources, from the sparse index: a moment old, so read the items before acting on them."""
        ...

    def list(self) -> Iterator[SourceItem]:
        """All items, in no order: a scan, for an operator."""
        ...
