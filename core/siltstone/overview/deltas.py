"""Which deltas wait, what is in one, and which are in quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from siltstone import keys
from siltstone.clock import Clock, iso
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.messages import Message
from siltstone.compaction.pointer import read_pointer
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import DeltaHeader, decode
from siltstone.deltas.listing import Layout, PendingDelta, list_pending
from siltstone.deltas.quarantine import REASON_FILE, Quarantined, list_quarantined
from siltstone.deltas.reading import fetch_delta
from siltstone.deltas.retire import with_earlier_life
from siltstone.errors import ObjectNotFound
from siltstone.stores import Stores

State = Literal["waits", "settling", "merged", "returned"]


class DeltaInfo(Message):
    """A delta that is listed. What the next run does with it is its ``state``.

    ``waits``: merges it; ``settling``: leaves it to a later one, since it is too young; ``merged``: a version has it,
    and it is only to be retired; ``returned``: a producer put back what was retired, so it is deleted again.
    """

    collection: str
    delta_id: str
    key: str
    layout: Layout
    bytes: int
    written_at: str
    age_seconds: float
    state: State


class Operation(Message):
    """One row of a delta."""

    op: Literal["upsert", "delete"]
    id: str
    document: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])


class DeltaContent(Message):
    """What is in a delta. ``header``: what it says of itself, which the older layouts do not.

    ``reason``: why it is in quarantine, if it is there; of such a one nothing else is read.
    """

    key: str
    layout: Layout
    bytes: int
    header: DeltaHeader | None = None
    reason: str | None = None
    upserts: int = 0
    deletes: int = 0
    operations: list[Operation] = Field(default_factory=list[Operation])


def list_deltas(collections: Sequence[str], stores: Stores, clock: Clock) -> list[DeltaInfo]:
    """The deltas of physical collections, each in the order in which they are merged. Raises `StoreUnavailable`."""
    return list(chain.from_iterable(_of(collection, stores, clock) for collection in collections))


def show_delta(collection: str, delta_id: str, stores: Stores, workspace: Path, *, limit: int) -> DeltaContent:
    """A pending or a quarantined delta with its first ``limit`` operations. ``workspace``: scratch on the disk.

    Raises `ObjectNotFound` if neither place has it, `BadDelta` and `SchemaTooNew` if a pending one can't be read.
    """
    for delta in list_pending(stores.deltas, collection, stores.settings).deltas:
        if delta.delta_id == delta_id:
            fetched = fetch_delta(stores.deltas, delta, stores.settings.resolve(collection), workspace)
            return _content(delta, *decode(fetched.path), limit)
    for note in list_quarantined(stores.deltas, collection):
        if note.delta_id == delta_id:
            return _quarantined(note, stores)
    raise ObjectNotFound(
        f"{collection} has no delta {delta_id!r}, neither waiting nor in quarantine.",
        remedy=f"See `siltstone deltas list {collection}`; one that was merged is gone from there.",
    )


def _of(collection: str, stores: Stores, clock: Clock) -> list[DeltaInfo]:
    pending = list_pending(stores.deltas, collection, stores.settings)
    version = read_pointer(stores.snapshots, collection).version
    manifest = read_manifest(stores.snapshots, collection, version) if version else None
    applied = {(each.key, each.etag) for each in manifest.applied} if manifest else set()
    returned = {delta.key for delta in with_earlier_life(stores.deltas, pending.deltas)}
    settled = {delta.key for delta in pending.settled(stores.settings.settle_seconds)}
    found: list[DeltaInfo] = []
    for delta in pending.deltas:
        state: State = "waits" if delta.key in settled else "settling"
        if (delta.key, delta.etag) in applied:
            state = "merged"
        elif delta.key in returned:
            state = "returned"
        found.append(
            DeltaInfo(
                collection=collection,
                delta_id=delta.delta_id,
                key=delta.key,
                layout=delta.layout,
                bytes=delta.size,
                written_at=iso(delta.last_modified),
                age_seconds=max(0.0, clock.now() - delta.last_modified),
                state=state,
            )
        )
    return found


def _quarantined(note: Quarantined, stores: Stores) -> DeltaContent:
    """Only what is known of it: what lies there may be what ended its readers."""
    prefix = keys.quarantine(note.collection, note.delta_id)
    objects = [found for found in stores.deltas.list(prefix) if not found.key.endswith(f"/{REASON_FILE}")]
    return DeltaContent(key=prefix, layout=note.layout, bytes=sum(found.size for found in objects), reason=note.reason)


def _content(delta: PendingDelta, header: DeltaHeader, rows: DeltaRows, limit: int) -> DeltaContent:
    operations = [
        Operation(
            op="delete" if rows.deletes[place] else "upsert",
            id=rows.ids[place],
            document=rows.documents[place],
            metadata=rows.metadatas[place],
        )
        for place in range(min(limit, len(rows)))
    ]
    return DeltaContent(
        key=delta.key,
        layout=delta.layout,
        bytes=delta.size,
        header=header if delta.layout == "parquet" else None,
        upserts=rows.upsert_count,
        deletes=len(rows) - rows.upsert_count,
        operations=operations,
    )
