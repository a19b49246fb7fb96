"""The versions that hold a source's records, and staging: what is older than a current version without them goes.

Whether a version holds them is looked up in the version itself, opened from a verified copy: manifests can't tell,
since a rollback brings back what later versions had deleted, and retention cuts the line.
"""

from __future__ import annotations

import shutil

from ulid import ULID

from siltstone import keys
from siltstone.compaction import lock
from siltstone.compaction.documents import Manifest
from siltstone.compaction.retention import remove_early
from siltstone.errors import Damage, InvalidInput, UnknownVersion
from siltstone.purge.record import DeadSlots
from siltstone.purge.work import Purge
from siltstone.snapshots.restore import restore_version
from siltstone.sources.deletes import delete_rows, is_known
from siltstone.stores.objects import ObjectVersion
from siltstone.stores.vectors import CollectionSpec
from siltstone.verify.inventory import Inventory, token_of

_AGAIN = "Run the purge again then."


def purge_current(purge: Purge, inventory: Inventory, last: dict[str, bool]) -> bool:
    """Whether the current version is without the source's records. ``last``: see `DeltasFound`.

    Records that nothing deletes (a rollback or a replay brought them back) get a delete now.
    """
    collection, current = inventory.collection, inventory.current
    manifest = inventory.versions.manifests.get(current or "")
    if manifest is None and inventory.writes:
        purge.hold(
            "version", keys.pointer(collection), "No current version can be read.", "`siltstone verify` says why."
        )
        return False
    held = _records(purge, manifest) if manifest is not None else []
    if held is None:
        return False
    back = [row for row in held if row not in last] + [row for row, gone in last.items() if not gone]
    name = purge.subject.collections[collection]
    if back and is_known(name, purge.stores):
        delete_rows(purge.stores, purge.clock, name, back)
        purge.records[collection] += len(back)
    if held and manifest is not None:
        purge.hold(
            "version",
            keys.version(collection, manifest.version),
            f"The current version holds {len(held)} of its records until the deletes are merged. Older versions, and "
            "staging, come after that.",
            f"siltstone compact start {name}, then run the purge again.",
        )
    elif manifest is not None:
        _purge_index(purge, inventory, manifest)
    return not held


def purge_versions(purge: Purge, inventory: Inventory) -> None:
    """Remove the other versions that hold the source's records, and what S3 keeps of removed ones."""
    collection, current = inventory.collection, inventory.current
    if current is None:
        return
    retention = purge.stores.settings.resolve(purge.subject.collections[collection]).retention
    for version, manifest in sorted(inventory.versions.manifests.items()):
        prefix = keys.version(collection, version)
        if version == current or prefix in purge.record.clean:
            continue
        held = _records(purge, manifest)
        if not held:
            continue
        if token_of(version) > token_of(current):
            purge.hold("version", prefix, "It is not current yet: a run is on its way, or failed.", _AGAIN)
            continue
        purge.note(lambda record, version=version: record.with_keys([keys.manifest(collection, version)]))
        outcome = remove_early(purge.stores.snapshots, collection, version, current, retention)
        if outcome == "pinned":
            purge.hold("version", prefix, "It is pinned.", "Unpin it (siltstone.compaction.retention.unpin). " + _AGAIN)
        elif outcome is not None:
            why = "Readers may be downloading it, and a run that was given up may still write to it."
            purge.hold("version", prefix, why, _AGAIN, until=outcome)
    _purge_history(purge, collection, current)


def purge_staging(purge: Purge, collection: str) -> None:
    """Remove the scratch files of every run but the one that holds the lock."""
    prefix = f"{keys.STAGING}{collection}/"
    runs: dict[str, list[ObjectVersion]] = {}
    for entry in purge.stores.snapshots.list_versions(prefix):
        runs.setdefault(entry.key.removeprefix(prefix).split("/")[0], []).append(entry)
    lease = purge.stores.leases.read(lock.lock_id(collection))  # after the listing: whoever wrote there had the lock
    for run, entries in runs.items():
        if lease is not None and lease.owner == run and lease.expires >= purge.clock.now():
            why = "A run is on its way; its scratch files may hold rows of the version that it started from."
            purge.hold("staging", f"{prefix}{run}/", why, _AGAIN, until=lease.expires)
        else:
            purge.remove("staging", purge.stores.snapshots, entries)


def _records(purge: Purge, manifest: Manifest) -> list[str] | None:
    """The source's ids in a version; ``None`` (and held) where it can't be opened."""
    prefix = keys.version(manifest.collection, manifest.version)
    if prefix in purge.record.clean:
        return []
    folder = purge.folder / f"version-{ULID()}"
    try:
        restore_version(purge.stores.snapshots, manifest, folder)
        store = purge.open_store(folder, CollectionSpec.of(manifest.collection, manifest.settings))
        try:
            found = purge.subject.owned(manifest.collection, store.ids())
        finally:
            store.close()
    except UnknownVersion:
        return []  # retention removed it meanwhile: what S3 keeps of it goes below
    except Damage as error:
        purge.hold("version", prefix, f"It can't be opened: {error.message}", "`siltstone verify` says what to do.")
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not found:
        purge.note(lambda record: record.with_clean([prefix]))
    return found


def _purge_history(purge: Purge, collection: str, current: str) -> None:
    """What S3 keeps of versions that are gone holds what they held, whether this purge removed them or retention."""
    folders: dict[str, list[ObjectVersion]] = {}
    prefix = keys.versions(collection)
    for entry in purge.stores.snapshots.list_versions(prefix):
        folders.setdefault(entry.key.removeprefix(prefix).split("/")[0], []).append(entry)
    for name, entries in folders.items():
        if not _is_older(name, current):
            continue
        there = {entry.key for entry in entries if entry.is_latest and not entry.is_delete_marker}
        if not there:
            purge.remove("version", purge.stores.snapshots, entries)
        elif keys.manifest(collection, name) not in there:
            why = "It has no manifest: a run that failed left it, or a removal has not finished."
            remedy = "The next compactions remove it once it is a day old. " + _AGAIN
            purge.hold("version", keys.version(collection, name), why, remedy)


def _is_older(name: str, current: str) -> bool:
    """``False`` also for ``latest/``, ``pins/``, ``removing/``; and for what a run may be writing."""
    try:
        return token_of(name) < token_of(current)
    except InvalidInput:
        return False


def _purge_index(purge: Purge, inventory: Inventory, current: Manifest) -> None:
    """A delete only marks a slot of the index: the vector stays in the file until the index is rebuilt."""
    collection = inventory.collection
    noted = purge.record.index.get(collection)
    if noted is None:
        noted = DeadSlots(version=current.version, slots=current.dead_slots)
    elif noted.slots and any(
        manifest.dead_slots < noted.slots
        for manifest in inventory.line
        if manifest.token > token_of(noted.version) and manifest.reason == "compaction"
    ):
        noted = DeadSlots(version=noted.version, slots=0)
    purge.note(lambda record, noted=noted: record.with_index(collection, noted))
    if noted.slots:
        purge.hold(
            "index",
            keys.version(collection, current.version),
            f"Its index has {current.dead_slots} dead slots, its vectors perhaps among them: without id, text or "
            "metadata and found by no query, but in the file until the index is rebuilt. So have versions since then.",
            "Nothing: the index is rebuilt when a fifth of its slots is dead, and older versions go with retention.",
        )
