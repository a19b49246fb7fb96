"""``verify``: is what is stored of a collection what was promised? Reads only; run it at any time, beside runs too."""

from __future__ import annotations

from pathlib import Path

from siltstone import keys
from siltstone.clock import Clock, iso
from siltstone.compaction.documents import Manifest
from siltstone.errors import InvalidInput, UnknownCollection, UnknownVersion
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.snapshots.scratch import Scratch
from siltstone.stores import Stores
from siltstone.stores.objects import ObjectStore
from siltstone.stores.vectors import OpenStore
from siltstone.verify.contents import Contents, open_plain
from siltstone.verify.deltas import check_deltas, read_pending
from siltstone.verify.findings import Findings, Report, VerifyInput
from siltstone.verify.inventory import Inventory, take_inventory
from siltstone.verify.pointer import check_pointer
from siltstone.verify.progress import Progress, Silent
from siltstone.verify.quarantine import check_quarantine
from siltstone.verify.versions import check_files, check_manifests

_SILENT = Silent()


def verify(
    request: VerifyInput,
    stores: Stores,
    clock: Clock,
    *,
    workspace: Path,
    progress: Progress = _SILENT,
    open_store: OpenStore = open_plain,
) -> Report:
    """Check one physical collection. ``workspace``: scratch on the local disk, for pending deltas and with ``deep``.

    ``deep`` needs room for two versions. Raises `UnknownVersion` for a version without a manifest, `UnknownCollection`
    where nothing at all is stored and no setting matches, `DiskFull`, `StoreUnavailable`. Damage raises nothing: it is
    in the report.
    """
    keys.check_collection(request.collection)
    started, began = clock.now(), clock.monotonic()
    findings = Findings()
    progress.begin("listing", 0, "objects")
    inventory = take_inventory(request.collection, stores, findings)
    settings = _settings(inventory, stores.settings, findings)
    chosen = _chosen(inventory, request.version)
    check_pointer(inventory, settings, findings)
    check_manifests(inventory, findings)
    check_deltas(inventory, findings)
    check_quarantine(inventory.aside, findings)
    _count_staging(stores.snapshots, request.collection, findings)
    scratch = Scratch(workspace)
    scratch.sweep()
    with scratch.private() as folder:
        if settings is not None:
            read_pending(inventory, settings, stores.deltas, folder, findings=findings, progress=progress)
        whole = check_files(inventory, chosen, stores.snapshots, findings, progress)
        if request.deep:
            with Contents(inventory, stores, folder, open_store, findings) as contents:
                contents.check([each for each in chosen if each.version in whole], progress)
    return Report(
        collection=request.collection,
        version=request.version,
        deep=request.deep,
        current=inventory.current,
        started_at=iso(started),
        seconds=round(clock.monotonic() - began, 3),
        figures=findings.figures,
        findings=findings.sorted(),
    )


def _chosen(inventory: Inventory, version: str | None) -> list[Manifest]:
    manifests = inventory.versions.manifests
    if version is None:
        return list(manifests.values())
    if version not in manifests:
        raise UnknownVersion(
            f"{inventory.collection} has no version {version} that can be read.",
            remedy="`siltstone versions` lists those that exist.",
        )
    return [manifests[version]]


def _settings(inventory: Inventory, book: CollectionBook, findings: Findings) -> CollectionSettings | None:
    """The stage's; what a manifest says wins, as it does for a run."""
    try:
        settings = book.resolve(inventory.collection)
    except (UnknownCollection, InvalidInput) as error:
        if not (inventory.deltas or inventory.writes or inventory.versions.folders or inventory.aside):
            raise
        findings.warning(
            "collection-unknown",
            keys.deltas(inventory.collection),
            "No setting of the stage names this collection: it is never compacted.",
            error.remedy,
        )
        return None
    newest = inventory.line[0] if inventory.line else None
    if newest is None:
        return settings
    fixed = {name: value for name, value in newest.settings.items() if name in settings.fixed()}
    return CollectionSettings.model_validate({**settings.model_dump(), **fixed})


def _count_staging(snapshots: ObjectStore, collection: str, findings: Findings) -> None:
    """Scratch of runs, which the bucket's lifecycle removes after two days."""
    for found in snapshots.list(f"{keys.STAGING}{collection}/"):
        findings.count(staging_objects=1, staging_bytes=found.size)
