"""What a ``mode="delta"`` client gathers until it is uploaded: the last operation for each id, by collection."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import boto3
import numpy as np

from siltstone import keys
from siltstone.clock import Clock
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import MAX_ROWS
from siltstone.deltas.legacy_chroma import write_chroma_delta
from siltstone.deltas.produce import ProducerStores, tell
from siltstone.deltas.writer import write_delta
from siltstone.errors import InvalidInput
from siltstone.settings import CollectionBook
from siltstone.snapshots.chroma import open_chroma
from siltstone.stores.aws import CLIENT_CONFIG
from siltstone.stores.hints import HintQueue
from siltstone.stores.hints_sqs import SqsHints
from siltstone.stores.objects import ObjectStore
from siltstone.stores.objects_s3 import S3Objects
from siltstone.stores.vectors import CollectionSpec, Rows


@dataclass(frozen=True)
class DeltaTarget:
    """Where a delta goes: the bucket, the queue to tell, and the settings it must fit."""

    deltas: ObjectStore
    hints: HintQueue
    settings: CollectionBook


class _NoHints:
    """Without a queue the hourly run finds the delta all the same."""

    def tell(self, *, collection: str, delta_key: str, embedding_count: int) -> None:
        pass


def target_of(bucket: str, settings: CollectionBook) -> DeltaTarget:
    """A bucket by its name, and the queue of the environment's ``DELTA_QUEUE_URL``, if set."""
    queue = os.environ.get("DELTA_QUEUE_URL")
    return DeltaTarget(
        deltas=S3Objects(bucket, boto3.client("s3", config=CLIENT_CONFIG)),
        hints=SqsHints(queue, boto3.client("sqs", config=CLIENT_CONFIG)) if queue else _NoHints(),
        settings=settings,
    )


class PendingOperations:
    """Operations of each collection that are not uploaded yet."""

    def __init__(self) -> None:
        self._batches: dict[str, list[DeltaRows]] = {}

    def add(self, collection: str, rows: DeltaRows) -> None:
        """Take more operations. Raises `InvalidInput` if they'd not fit one delta any more; nothing is taken then."""
        if self.count(collection) + len(rows) > MAX_ROWS:
            raise InvalidInput(
                f"A delta of {collection} holds at most {MAX_ROWS:,} operations.", remedy="Upload what there is first."
            )
        self._batches.setdefault(collection, []).append(rows)

    def count(self, collection: str) -> int:
        """Operations taken so far, repeated ids included."""
        return sum(len(rows) for rows in self._batches.get(collection, []))

    def collections(self) -> list[str]:
        """Collections with operations, sorted."""
        return sorted(self._batches)

    def only(self) -> str:
        """The one collection there is something for. Raises `InvalidInput` if there is none, or more than one."""
        names = self.collections()
        if len(names) != 1:
            raise InvalidInput(
                f"There are operations for {', '.join(names) or 'no collection'}.",
                remedy="Name the collection to upload." if names else "Upsert or delete something first.",
            )
        return names[0]

    def upload(self, collection: str, prefix: str, target: ProducerStores, clock: Clock) -> str:
        """Write one delta, tell the queue, forget what was written, and return its key.

        ``prefix``: ``deltas/`` for Parquet, ``delta/`` for a Chroma directory. On any error nothing is forgotten.
        """
        rows = self._last_for_each_id(collection)
        if prefix == keys.DELTAS:
            written = write_delta(rows, collection=collection, stores=target, clock=clock)
            tell(target.hints, written)
            key = written.delta_key
        elif prefix == keys.LEGACY_CHROMA_DELTAS:
            key = _upload_directory(rows, collection, target)
            target.hints.tell(collection=collection, delta_key=key, embedding_count=len(rows))
        else:
            raise InvalidInput(
                f"Nothing reads deltas under {prefix[:80]!r}.",
                remedy=f"Use '{keys.DELTAS}', or '{keys.LEGACY_CHROMA_DELTAS}' for a Chroma directory.",
            )
        del self._batches[collection]
        return key

    def _last_for_each_id(self, collection: str) -> DeltaRows:
        if collection not in self._batches:
            raise InvalidInput(f"There are no operations for {collection}.", remedy="Upsert or delete something first.")
        rows = DeltaRows.concat(self._batches[collection])
        last = {row: place for place, row in enumerate(rows.ids)}
        return rows.take(np.fromiter(sorted(last.values()), np.intp, len(last)))


def _upload_directory(rows: DeltaRows, collection: str, target: ProducerStores) -> str:
    if rows.upsert_count < len(rows):
        raise InvalidInput(
            "A Chroma directory can't say what is deleted.", remedy=f"Upload under '{keys.DELTAS}' instead."
        )
    settings = target.settings.resolve(collection)
    with tempfile.TemporaryDirectory(prefix="siltstone-delta-") as scratch:
        folder = Path(scratch) / "delta"
        with closing(open_chroma(folder, CollectionSpec.of(collection, settings.fixed()))) as store:
            store.insert(Rows(rows.ids, rows.embeddings, rows.documents, rows.metadatas))
            store.finish()
        key, _ = write_chroma_delta(
            folder, collection, store=target.deltas, settings=target.settings, workspace=Path(scratch)
        )
    return key
