"""The versions of a collection, as their manifests tell: which exist, and who descends from whom."""

from __future__ import annotations

from collections.abc import Iterator

from siltstone import keys
from siltstone.compaction.documents import Manifest
from siltstone.compaction.staging import parse_document
from siltstone.compaction.version import Version
from siltstone.errors import InvalidInput, ManifestDamaged, ObjectNotFound, UnknownVersion
from siltstone.stores.objects import ObjectStore


def read_manifest(snapshots: ObjectStore, collection: str, version: str) -> Manifest:
    """Read a version's manifest. Raises `UnknownVersion`, `ManifestDamaged`, `SchemaTooNew`."""
    key = keys.manifest(collection, version)
    try:
        stored = snapshots.get(key)
    except ObjectNotFound as error:
        raise UnknownVersion(
            f"{collection} has no version {version}.", remedy="`siltstone versions` lists those that exist."
        ) from error
    manifest = parse_document(Manifest, stored.body, key)
    if (manifest.collection, manifest.version) != (collection, version):
        raise ManifestDamaged(
            f"{key} speaks of {manifest.collection} {manifest.version}.", remedy="Run `siltstone verify`."
        )
    return manifest


def version_folders(snapshots: ObjectStore, collection: str) -> list[Version]:
    """Every folder named like a version, with or without a manifest, oldest token first."""
    found: list[Version] = []
    for prefix in snapshots.list_prefixes(keys.versions(collection)):
        try:
            found.append(Version.parse(prefix.removesuffix("/").rpartition("/")[2]))
        except InvalidInput:
            continue  # latest/ and pins/ are not versions
    return sorted(found)


def lineage(snapshots: ObjectStore, collection: str, version: str) -> Iterator[Manifest]:
    """The version's manifest, its parent's, and so on, newest first, up to the first that retention removed.

    Tokens fall on the way, so a damaged parent link can't make a circle: it raises `ManifestDamaged`.
    """
    following: str | None = version
    while following is not None:
        try:
            manifest = read_manifest(snapshots, collection, following)
        except UnknownVersion:
            return
        yield manifest
        if manifest.parent is not None and Version.parse(manifest.parent).token >= manifest.token:
            raise ManifestDamaged(
                f"{following} names {manifest.parent} as its parent, which is not older.",
                remedy="Run `siltstone verify`.",
            )
        following = manifest.parent


def descends(snapshots: ObjectStore, collection: str, version: str, ancestor: str) -> bool:
    """Whether ``ancestor`` is ``version`` or among its parents. ``False`` also where the chain is cut before it."""
    if version == ancestor:
        return True
    oldest = Version.parse(ancestor).token
    for manifest in lineage(snapshots, collection, version):
        if manifest.parent == ancestor:
            return True
        if manifest.token <= oldest:
            return False
    return False
