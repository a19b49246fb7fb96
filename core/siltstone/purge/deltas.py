"""The deltas that hold a source's records: retired ones go, those that wait must be merged first.

A delta that waits is the only place where the other sources' rows in it are, so a purge never touches it: a compaction
merges it, retires it, and the purge after that removes what S3 kept of it. A retired delta has nothing left that a
version doesn't have, and goes whole. Its delete markers stay: they tell a late retry that the key was written once,
and `verify` that the delta was retired.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ulid import ULID

from siltstone import keys
from siltstone.compaction.documents import AppliedDelta
from siltstone.compaction.selection import identity
from siltstone.deltas.codec import read_columns
from siltstone.deltas.listing import chroma_folder
from siltstone.deltas.vetting import vetting
from siltstone.errors import BadDelta, ObjectNotFound, SchemaTooNew, UnknownCollection
from siltstone.purge.work import Purge
from siltstone.stores.objects import ObjectStore, ObjectVersion
from siltstone.verify.delta_history import Body, KnownDelta
from siltstone.verify.deltas import check_deltas
from siltstone.verify.findings import Findings
from siltstone.verify.inventory import Inventory, merged
from siltstone.verify.past_deltas import read_past_delta


@dataclass
class DeltasFound:
    """``going``: entries to remove, of retired ones. ``waiting``: keys of pending ones that hold the source's rows.

    ``last``: the source's ids in deltas that wait to be merged, and whether the last operation deletes them.
    """

    going: list[ObjectVersion] = field(default_factory=list[ObjectVersion])
    waiting: list[str] = field(default_factory=list[str])
    last: dict[str, bool] = field(default_factory=dict[str, bool])


def find_deltas(purge: Purge, inventory: Inventory, *, innocent: set[str]) -> DeltasFound:
    """Look into every delta of the collection that is or was there. ``innocent``: batches that the source is not in."""
    found = DeltasFound()
    lost = _lost(inventory)
    done = merged(inventory.line)
    order = {each.key: place for place, each in enumerate(inventory.pending) if identity(each) not in done}
    for delta in sorted(inventory.deltas.values(), key=lambda each: order.get(each.key, -1)):
        if delta.layout == "parquet" and delta.key.split("/")[2].rpartition("-")[0] in innocent:
            continue
        operations = _operations(purge, inventory, delta)
        if not operations:
            continue
        if delta.listed:
            found.waiting.append(delta.key)
            if delta.key in order:
                found.last.update(operations)
        elif delta.key in lost:
            purge.hold(
                "delta",
                delta.key,
                "It was deleted, and no version contains it: other sources' rows in it would be lost.",
                "`siltstone verify` says how to bring it back; run the purge again once it was merged.",
            )
        else:
            found.going += _entries(purge.stores.deltas, delta)
    return found


def hold_waiting(purge: Purge, collection: str, waiting: list[str]) -> None:
    """Say which deltas must be merged first."""
    if waiting:
        purge.hold(
            "delta",
            keys.deltas(collection),
            "What waits to be merged holds its records, beside others' perhaps: "
            + ", ".join(waiting[:3])
            + (f" and {len(waiting) - 3} more." if waiting[3:] else "."),
            f"siltstone compact start {purge.subject.collections[collection]}, then run the purge again.",
        )


def _lost(inventory: Inventory) -> set[str]:
    findings = Findings()
    check_deltas(inventory, findings)
    return {found.key for found in findings.sorted() if found.code == "delta-lost"}


def _operations(purge: Purge, inventory: Inventory, delta: KnownDelta) -> dict[str, bool]:
    """The source's ids in all bodies of a delta: whether the last operation deletes each."""
    operations: dict[str, bool] = {}
    for body in (body for life in delta.lives for body in life.bodies):
        try:
            rows = _rows(purge, inventory, delta, body)
        except ObjectNotFound:
            continue  # it expired just now
        except (BadDelta, SchemaTooNew, UnknownCollection) as error:
            purge.hold(
                "delta",
                delta.key,
                f"It can't be read, so nothing tells whether it holds its records: {error.message}",
                "If it waits, the next compaction moves it to quarantine. What is retired goes by itself within the "
                "bucket's recovery time (15 days unless cdk.json says otherwise), or by hand.",
            )
            return {}
        operations.update((row, gone) for row, gone in rows if purge.subject.owns(inventory.collection, row))
    return operations


def _rows(purge: Purge, inventory: Inventory, delta: KnownDelta, body: Body) -> list[tuple[str, bool]]:
    if delta.layout == "parquet":
        return read_operations(purge.stores.deltas, body.objects[0], purge.folder)
    rows = read_past_delta(
        purge.stores.deltas,
        inventory.deltas,
        AppliedDelta(key=delta.key, etag=body.etag),
        collection=inventory.collection,
        settings=purge.stores.settings.resolve(inventory.collection),
        folder=purge.folder,
    )
    return list(zip(rows.ids, rows.deletes.tolist(), strict=True))


def read_operations(store: ObjectStore, entry: ObjectVersion, folder: Path) -> list[tuple[str, bool]]:
    """Ids of a delta in today's layout, and which of them are deletes. Raises `BadDelta`, `SchemaTooNew`."""
    path = folder / f"{ULID()}.parquet"
    path.write_bytes(store.get_version(entry.key, entry.version_id).body)
    try:
        vetting.header(path)  # bytes of others: see decision 12
        columns = read_columns(path)
        return list(zip(columns.ids, columns.deletes.tolist(), strict=True))
    finally:
        path.unlink()


def _entries(store: ObjectStore, delta: KnownDelta) -> list[ObjectVersion]:
    """Everything of it but its delete markers."""
    if delta.layout == "chroma":
        history = store.list_versions(chroma_folder(delta.key))
    else:
        history = store.list_versions(delta.key, first=delta.key, last=delta.key)
    return [entry for entry in history if not entry.is_delete_marker]
