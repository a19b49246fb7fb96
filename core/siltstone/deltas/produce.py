"""For producers: a delta from plain columns, in one call. Stores come from the environment where none are given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypedDict

import boto3
import numpy as np
from numpy.typing import ArrayLike, NDArray

from siltstone.clock import Clock, SystemClock
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.writer import DeltaStores, WrittenDelta, write_delta
from siltstone.errors import BadDelta, BadSettings
from siltstone.settings import CollectionBook
from siltstone.stores.aws import CLIENT_CONFIG
from siltstone.stores.hints import HintQueue
from siltstone.stores.hints_sqs import SqsHints
from siltstone.stores.objects import ObjectStore
from siltstone.stores.objects_s3 import S3Objects


class Produced(TypedDict):
    """What was written. ``embedding_count``: rows, deletes among them."""

    delta_id: str
    delta_key: str
    embedding_count: int


class ProducerStores(DeltaStores, Protocol):
    """What a producer needs of `siltstone.stores.Stores`."""

    @property
    def hints(self) -> HintQueue: ...


def produce_embedding_delta(
    ids: Sequence[str],
    embeddings: ArrayLike,
    documents: Sequence[str | None] | None,
    metadatas: Sequence[Mapping[str, Any] | None] | None,
    collection: str,
    *,
    stores: ProducerStores | None = None,
    clock: Clock | None = None,
) -> Produced:
    """Write upserts as one delta and tell the queue. ``embeddings``: n vectors, kept as float32.

    At most 50,000 rows, since one call is one write that is seen as a whole or not at all: call it again for more.
    Raises `BadDelta` naming row, id and reason, before anything is written; `UnknownCollection`.
    """
    vectors = _vectors(embeddings)
    for name, column in (("embeddings", vectors), ("documents", documents), ("metadatas", metadatas)):
        if column is not None and len(column) != len(ids):
            raise BadDelta(f"There are {len(ids):,} ids and {len(column):,} {name}.", remedy="Send one for each id.")
    return _write(DeltaRows.upserts(ids, vectors, documents, metadatas), collection, stores, clock)


def produce_deletes(
    ids: Sequence[str], collection: str, *, stores: ProducerStores | None = None, clock: Clock | None = None
) -> Produced:
    """Write deletes as one delta and tell the queue. An id that no row has is no error. At most 50,000."""
    there = stores or producer_from_environment()
    dimension = there.settings.resolve(collection).dimension
    return _write(DeltaRows.deletions(ids, dimension), collection, there, clock)


def _write(rows: DeltaRows, collection: str, stores: ProducerStores | None, clock: Clock | None) -> Produced:
    there = stores or producer_from_environment()
    written = write_delta(rows, collection=collection, stores=there, clock=clock or SystemClock())
    tell(there.hints, written)
    return Produced(delta_id=written.delta_id, delta_key=written.delta_key, embedding_count=written.embedding_count)


def tell(hints: HintQueue, written: WrittenDelta) -> None:
    """One hint for each object that is still to be merged."""
    for part in written.parts:
        if part.etag is not None:
            hints.tell(collection=part.collection, delta_key=part.key, embedding_count=part.count)


def _vectors(embeddings: ArrayLike) -> NDArray[np.float32]:
    try:
        found = np.asarray(embeddings)
    except ValueError as error:
        raise BadDelta("The embeddings have different lengths.", remedy="Send vectors of one dimension.") from error
    if found.ndim != 2 or found.dtype.kind not in "fiu":
        raise BadDelta("The embeddings are not n vectors of numbers.", remedy="Send an array of shape (n, dimension).")
    with np.errstate(over="ignore"):  # infinite then, which is refused with the row's name
        return found.astype(np.float32)


@dataclass(frozen=True)
class _Producer:
    deltas: ObjectStore
    hints: HintQueue
    settings: CollectionBook


class _NoHints:
    """Without a queue the hourly run finds the delta all the same."""

    def tell(self, *, collection: str, delta_key: str, embedding_count: int) -> None:
        pass


@lru_cache(maxsize=1)
def producer_from_environment() -> ProducerStores:
    """``DELTA_BUCKET``, and if set ``DELTA_QUEUE_URL`` and ``SILTSTONE_COLLECTIONS``. Raises `BadSettings`."""
    bucket, queue = os.environ.get("DELTA_BUCKET"), os.environ.get("DELTA_QUEUE_URL")
    if not bucket:
        raise BadSettings("The environment variable DELTA_BUCKET is not set.", remedy="Set it, or pass stores.")
    return _Producer(
        deltas=S3Objects(bucket, boto3.client("s3", config=CLIENT_CONFIG)),
        hints=SqsHints(queue, boto3.client("sqs", config=CLIENT_CONFIG)) if queue else _NoHints(),
        settings=CollectionBook.parse(os.environ.get("SILTSTONE_COLLECTIONS", "{}")),
    )
