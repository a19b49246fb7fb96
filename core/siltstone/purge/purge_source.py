"""Forget a source: delete it, then take out for good what deleting leaves behind for recovery.

It is run again and again, by hand, until nothing is held: each run removes what can go by then. Nothing that another
source still needs is removed, and nothing that a run, a reader or the provider works on at the moment. A stop at any
point loses nothing: what is about to be removed is in the record before.
"""

from __future__ import annotations

from pathlib import Path

from siltstone import keys
from siltstone.clock import Clock
from siltstone.errors import SourceChanged, UnknownSource
from siltstone.purge.batches import purge_batches, purge_provider
from siltstone.purge.deltas import find_deltas, hold_waiting
from siltstone.purge.quarantine import purge_quarantine
from siltstone.purge.record import update_record
from siltstone.purge.report import PurgeReport
from siltstone.purge.subject import subject_of
from siltstone.purge.versions import purge_current, purge_staging, purge_versions
from siltstone.purge.work import Purge
from siltstone.snapshots.scratch import Scratch
from siltstone.sources.loading import delete_sources
from siltstone.sources.state import forgotten
from siltstone.stores import Stores
from siltstone.stores.provider import EmbeddingProvider
from siltstone.stores.sources import SourceItem
from siltstone.stores.vectors import OpenStore
from siltstone.verify.contents import open_plain
from siltstone.verify.findings import Findings
from siltstone.verify.inventory import take_inventory
from siltstone.verify.progress import Progress, Silent

_SILENT = Silent()


def purge_source(
    source_id: str,
    stores: Stores,
    clock: Clock,
    *,
    provider: EmbeddingProvider | None,
    workspace: Path,
    progress: Progress = _SILENT,
    open_store: OpenStore = open_plain,
) -> PurgeReport:
    """One run. ``provider``: ``None`` if it can't be reached; its files are held then. ``workspace``: scratch on disk.

    Raises `UnknownSource`, `SourceChanged` if it was loaded again meanwhile, `DiskFull`, `StoreUnavailable`, and
    `BadSettings` where the right to delete object versions is missing.
    """
    delete_sources([source_id], stores, clock)
    item = _deleted(source_id, stores)
    scratch = Scratch(workspace)
    scratch.sweep()
    with scratch.private() as folder:
        purge = Purge(
            subject=subject_of(item, stores.settings),
            stores=stores,
            clock=clock,
            folder=folder,
            open_store=open_store,
            record=update_record(stores.deltas, source_id, clock, lambda record: record),
        )
        _purge_body(purge, item)
        progress.begin("batches", 0, "batches")
        innocent = purge_batches(purge)
        purge_provider(purge, provider)
        progress.begin("collections", len(purge.subject.collections), "collections")
        for collection in purge.subject.collections:
            _purge_collection(purge, collection, innocent)
            progress.advance(1)
    _forget_item(purge, stores, clock)
    return PurgeReport(
        source_id=source_id,
        first_asked_at=purge.record.first_asked_at,
        records=dict(purge.records),
        removed={kind: number for kind, number in purge.removed.items() if number},
        bytes=purge.bytes,
        held=purge.held,
    )


def _purge_body(purge: Purge, item: SourceItem) -> None:
    key = keys.source(item.kind, item.source_id)
    purge.remove("body", purge.stores.deltas, list(purge.stores.deltas.list_versions(key, first=key, last=key)))


def _purge_collection(purge: Purge, collection: str, innocent: set[str]) -> None:
    inventory = take_inventory(collection, purge.stores, Findings())
    deltas = find_deltas(purge, inventory, innocent=innocent)
    without = purge_current(purge, inventory, deltas.last)
    hold_waiting(purge, collection, deltas.waiting)
    purge.remove("delta", purge.stores.deltas, deltas.going)
    purge_quarantine(purge, collection, inventory.aside)
    if without:
        purge_versions(purge, inventory)
        purge_staging(purge, collection)


def _deleted(source_id: str, stores: Stores) -> SourceItem:
    item = stores.sources.read(source_id)
    if item is None:
        raise UnknownSource(f"There is no source {source_id[:200]!r}.", remedy="See `siltstone sources status`.")
    if item.deleted_at is None:
        raise SourceChanged(f"Source {source_id} was loaded again.", remedy="Find out by whom, then purge it again.")
    return item


def _forget_item(purge: Purge, stores: Stores, clock: Clock) -> None:
    """The tombstone stays, for what may still arrive; what it says of the content goes."""
    item = _deleted(purge.subject.source_id, stores)
    for name, state in item.collections.items():
        if state.held:
            purge.hold(
                "rows",
                name,
                f"{len(state.held)} records are still to be deleted there, and no setting names the collection.",
                "Name it in cdk.json again, deploy, and run the purge again.",
            )
    changed = forgotten(item)
    if changed != item:
        stores.sources.save(changed, now=clock.now())
