"""What is stored of one collection, read once, in the order in which a run that is under way can't mislead.

Deltas are listed first, then the quarantine and the versions, then the pointer, then the lock. What is seen gone was
deleted by a version that was promoted before, so its manifest shows up in the later listing; what a manifest names as
its parent was promoted before, so the pointer's history, read last, names it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from siltstone import keys
from siltstone.compaction import lock
from siltstone.compaction.documents import AppliedDelta, Manifest
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.pointer import pin_of
from siltstone.compaction.version import Version
from siltstone.deltas.listing import PendingDelta, list_pending
from siltstone.errors import InvalidInput, ManifestDamaged, ObjectNotFound, SchemaTooNew, UnknownVersion
from siltstone.parallel import in_parallel
from siltstone.purge.record import key_hash, purged_keys
from siltstone.stores import Stores
from siltstone.stores.leases import Lease
from siltstone.stores.objects import ObjectStore, ObjectVersion
from siltstone.verify.delta_history import KnownDelta, known_deltas
from siltstone.verify.findings import Findings
from siltstone.verify.quarantine import Aside, read_quarantine

_LISTINGS = 3  # of versions: again where the pointer moved on meanwhile


@dataclass(frozen=True)
class PointerWrite:
    """One entry of the pointer's history. ``version`` is ``None`` for a delete marker and for a body that is none."""

    version: str | None
    entry: ObjectVersion
    fault: str = ""  # what is wrong with the body


@dataclass
class Folder:
    """A version's prefix. ``objects``: there now, by path; ``manifests``: the manifest's history, newest first."""

    version: str
    objects: dict[str, ObjectVersion] = field(default_factory=dict[str, ObjectVersion])
    manifests: list[ObjectVersion] = field(default_factory=list[ObjectVersion])


@dataclass(frozen=True)
class Versions:
    """The folders of a collection, those manifests that can be read, the pins, and keys that belong to none of them."""

    folders: dict[str, Folder]
    manifests: dict[str, Manifest]
    pins: set[str]
    strange: list[str]


@dataclass(frozen=True)
class Inventory:
    """A collection as stored. ``writes``: of the pointer, oldest first. ``date``: the store's clock, epoch seconds.

    ``purged``: hashes of the keys that purges removed, see `siltstone.purge.record.key_hash`.
    """

    collection: str
    pending: list[PendingDelta]
    deltas: dict[str, KnownDelta]
    strange: list[str]
    aside: list[Aside]
    versions: Versions
    writes: list[PointerWrite]
    lease: Lease | None
    date: int
    purged: frozenset[str]

    @property
    def current(self) -> str | None:
        """What the pointer names now; ``None`` also where it is gone or can't be read."""
        return self.writes[-1].version if self.writes else None

    def was_purged(self, key: str) -> bool:
        """Whether somebody who asked to be forgotten is why it is gone."""
        return key_hash(key) in self.purged

    @property
    def newest(self) -> str | None:
        """The greatest version that the pointer ever named: where the collection's line ends."""
        return max((write.version for write in self.writes if write.version), key=token_of, default=None)

    @property
    def line(self) -> list[Manifest]:
        """From `newest` back over the parents, as far as manifests are kept."""
        found: list[Manifest] = []
        manifest = self.versions.manifests.get(self.newest or "")
        while manifest is not None:
            found.append(manifest)
            parent = self.versions.manifests.get(manifest.parent or "")
            manifest = parent if parent is not None and parent.token < manifest.token else None
        return found

    def promoted_at(self, version: str) -> int | None:
        """When the pointer first named ``version``, epoch seconds by the store's clock."""
        return next((write.entry.last_modified for write in self.writes if write.version == version), None)


def token_of(version: str) -> int:
    """The token of a version id."""
    return Version.parse(version).token


def take_inventory(collection: str, stores: Stores, findings: Findings) -> Inventory:
    """Read everything but bodies. Manifests that can't be read become findings. Raises `StoreUnavailable`."""
    pending = list_pending(stores.deltas, collection, stores.settings)
    deltas, strange = known_deltas(stores.deltas, collection, stores.settings)
    aside = read_quarantine(stores.deltas, collection)
    versions, damaged = _read_versions(stores.snapshots, collection)
    writes = _pointer_history(stores.snapshots, collection)
    for _ in range(_LISTINGS - 1):
        if not writes or writes[-1].version is None or writes[-1].version in versions.folders:
            break
        versions, damaged = _read_versions(stores.snapshots, collection)
        writes = _pointer_history(stores.snapshots, collection)
    for version, error in damaged.items():
        findings.error(
            "manifest-damaged",
            keys.manifest(collection, version),
            error.message,
            "Upgrade this release."
            if isinstance(error, SchemaTooNew)
            else "Bring back the object's first version in the bucket; manifests are written once.",
        )
    return Inventory(
        collection=collection,
        pending=pending.deltas,
        deltas=deltas,
        strange=[*strange, *versions.strange],
        aside=aside,
        versions=versions,
        writes=writes,
        lease=stores.leases.read(lock.lock_id(collection)),
        date=stores.snapshots.list_page(keys.pointer(collection)).date,
        purged=purged_keys(stores.deltas),
    )


def merged(line: list[Manifest]) -> set[AppliedDelta]:
    """The deltas that these versions name."""
    return set[AppliedDelta]().union(*(manifest.applied for manifest in line))


def _read_versions(
    snapshots: ObjectStore, collection: str
) -> tuple[Versions, dict[str, ManifestDamaged | SchemaTooNew]]:
    prefix = keys.versions(collection)
    folders: dict[str, Folder] = {}
    pins: set[str] = set()
    strange: list[str] = []
    for entry in snapshots.list_versions(prefix):
        name, _, path = entry.key.removeprefix(prefix).partition("/")
        there = entry.is_latest and not entry.is_delete_marker and not entry.key.endswith("/")  # a console's folder
        if _is_version(name):
            folder = folders.setdefault(name, Folder(name))
            if there:
                folder.objects[path] = entry
            if path == keys.MANIFEST_FILE:
                folder.manifests.append(entry)
        elif there and entry.key.startswith(keys.pins(collection)):
            pins.add(path)
        elif there and entry.key != keys.pointer(collection) and not entry.key.startswith(keys.removals(collection)):
            strange.append(entry.key)
    named = [version for version, folder in folders.items() if keys.MANIFEST_FILE in folder.objects]
    manifests: dict[str, Manifest] = {}
    damaged: dict[str, ManifestDamaged | SchemaTooNew] = {}
    read = in_parallel(lambda version: _manifest(snapshots, collection, version), named)
    for version, found in zip(named, read, strict=True):
        if isinstance(found, Manifest):
            manifests[version] = found
        elif found is None:
            del folders[version]  # retention removed it meanwhile
        else:
            damaged[version] = found
    return Versions(folders, manifests, pins, strange), damaged


def _manifest(
    snapshots: ObjectStore, collection: str, version: str
) -> Manifest | ManifestDamaged | SchemaTooNew | None:
    try:
        return read_manifest(snapshots, collection, version)
    except UnknownVersion:
        return None
    except (ManifestDamaged, SchemaTooNew) as error:
        return error


def _pointer_history(snapshots: ObjectStore, collection: str) -> list[PointerWrite]:
    key = keys.pointer(collection)

    def read(entry: ObjectVersion) -> PointerWrite:
        if entry.is_delete_marker:
            return PointerWrite(None, entry)
        try:
            return PointerWrite(pin_of(snapshots.get_version(key, entry.version_id), collection).version, entry)
        except ManifestDamaged as error:
            return PointerWrite(None, entry, error.message)
        except ObjectNotFound:
            return PointerWrite(None, entry, f"{key} as of version {entry.version_id} can't be read.")

    writes = in_parallel(read, snapshots.list_versions(key, first=key, last=key))
    # S3's times are whole seconds, and within one only the latest is known to be the newest: tokens decide the rest.
    return sorted(
        writes,
        key=lambda write: (
            write.entry.is_latest,
            write.entry.last_modified,
            token_of(write.version) if write.version else 0,
        ),
    )


def _is_version(name: str) -> bool:
    try:
        Version.parse(name)
    except InvalidInput:
        return False
    return True
