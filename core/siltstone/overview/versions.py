"""The versions of a collection, as their manifests tell."""

from __future__ import annotations

from typing import Literal

from siltstone.compaction.manifests import read_manifest, version_folders
from siltstone.compaction.messages import Message
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.retention import pinned
from siltstone.errors import ManifestDamaged, PointerMissing, SchemaTooNew, UnknownCollection, UnknownVersion
from siltstone.parallel import in_parallel
from siltstone.stores import Stores
from siltstone.stores.objects import ObjectStore


class VersionInfo(Message):
    """One version. What its manifest would tell is ``None`` where that can't be read; ``fault`` says why."""

    version: str
    current: bool
    pinned: bool
    parent: str | None = None
    reason: Literal["compaction", "rollback", "takeover"] | None = None
    restored_from: str | None = None
    created_at: str | None = None
    rows: int | None = None
    bytes: int | None = None
    inserted: int | None = None
    updated: int | None = None  # another vector, or other metadata or document
    deleted: int | None = None
    deltas: int | None = None  # named by the manifest, also those an earlier version had merged already
    fault: str | None = None


def list_versions(stores: Stores, collection: str) -> list[VersionInfo]:
    """Every version with a manifest, newest first. Raises `UnknownCollection` where there is none at all."""
    snapshots = stores.snapshots
    current = _current(snapshots, collection)
    pins = pinned(snapshots, collection)
    names = [str(version) for version in reversed(version_folders(snapshots, collection))]

    def read(version: str) -> VersionInfo | None:
        place = VersionInfo(version=version, current=version == current, pinned=version in pins)
        try:
            manifest = read_manifest(snapshots, collection, version)
        except UnknownVersion:
            return None
        except (ManifestDamaged, SchemaTooNew) as error:
            return place.model_copy(update={"fault": error.message})
        return VersionInfo(
            version=version,
            current=place.current,
            pinned=place.pinned,
            parent=manifest.parent,
            reason=manifest.reason,
            restored_from=manifest.restored_from,
            created_at=manifest.created_at,
            rows=manifest.counts.after,
            bytes=manifest.total_bytes,
            inserted=manifest.counts.inserted,
            updated=manifest.counts.updated + manifest.counts.metadata_only,
            deleted=manifest.counts.deleted,
            deltas=len(manifest.applied),
        )

    found = [version for version in in_parallel(read, names) if version is not None]
    if not found:
        raise UnknownCollection(
            f"The collection {collection!r} has no version.", remedy="`siltstone status` lists the collections."
        )
    return found


def _current(snapshots: ObjectStore, collection: str) -> str | None:
    """A pointer that is gone or damaged is no reason not to list what it could be pointed at."""
    try:
        return read_pointer(snapshots, collection).version
    except (PointerMissing, ManifestDamaged):
        return None
