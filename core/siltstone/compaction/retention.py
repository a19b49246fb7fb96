"""Which versions are kept: the current one, pinned ones, the newest few, and all that were current until lately.

Every time compared here is S3's own. A version was superseded when its successor was promoted. For the current one
that is the pointer's time. For an earlier one it is not recorded, but it came before the successor's own successor was
made from it, and within a day of its manifest. The earlier of the two keeps a version a little too long, never too
short.
"""

from __future__ import annotations

from bisect import bisect_right

from siltstone import keys
from siltstone.compaction.documents import Manifest
from siltstone.compaction.manifests import lineage, read_manifest, version_folders
from siltstone.compaction.version import Version
from siltstone.errors import PointerMissing, UnknownVersion
from siltstone.settings import RetentionSettings
from siltstone.stores.objects import ObjectStore

RUN_SECONDS = 86_400  # no run lives as long: neither between its first file and its manifest, nor until it promotes


def pin(snapshots: ObjectStore, collection: str, version: str) -> None:
    """Keep a version until `unpin`. Raises `UnknownVersion`."""
    key = keys.pins(collection) + str(Version.parse(version))
    snapshots.put(key, b"")
    try:
        read_manifest(snapshots, collection, version)  # after the pin: retention may have been on its way
    except UnknownVersion:
        snapshots.delete(key)
        raise


def unpin(snapshots: ObjectStore, collection: str, version: str) -> None:
    """Leave a version to retention again. One that was not pinned is no error."""
    snapshots.delete(keys.pins(collection) + str(Version.parse(version)))


def pinned(snapshots: ObjectStore, collection: str) -> set[str]:
    """The versions that are pinned."""
    prefix = keys.pins(collection)
    return {found.key.removeprefix(prefix) for found in snapshots.list(prefix)}


def remove_expired(snapshots: ObjectStore, collection: str, current: str, settings: RetentionSettings) -> int:
    """Delete the versions beyond retention and the remains of failed uploads; return how many versions went.

    Only what is older than ``current``, the version that the pointer names, is looked at.
    """
    page = snapshots.list_page(keys.pointer(collection))
    if not page.objects:
        raise PointerMissing(f"{keys.pointer(collection)} was there a moment ago.", remedy="Remove its delete marker.")
    now, promoted = page.date, page.objects[0].last_modified
    chain = list(lineage(snapshots, collection, current))
    kept = {manifest.version for manifest in chain[: 1 + settings.keep_at_least]} | pinned(snapshots, collection)
    keep_seconds = max(settings.keep_seconds, settings.grace_seconds)
    removed = 0
    for folder in version_folders(snapshots, collection):
        version = str(folder)
        if folder.token >= Version.parse(current).token or version in kept:
            continue
        if snapshots.head(keys.manifest(collection, version)) is None:
            _remove_unfinished(snapshots, keys.version(collection, version), now)
        elif now - _superseded(snapshots, chain, folder, promoted) >= keep_seconds:
            _remove(snapshots, collection, version)
            removed += 1
    return removed


def _superseded(snapshots: ObjectStore, chain: list[Manifest], version: Version, promoted: int) -> int:
    """When the next version of the chain was promoted at the latest. Since then ``version`` can't become current.

    ``chain``: from the current version back; ``promoted``: when the current one was.
    """
    tokens = [manifest.token for manifest in reversed(chain)]
    successor = len(chain) - 1 - bisect_right(tokens, version.token)
    if successor == 0:
        return promoted
    return min(_made(snapshots, chain[successor]) + RUN_SECONDS, _made(snapshots, chain[successor - 1]))


def _made(snapshots: ObjectStore, manifest: Manifest) -> int:
    key = keys.manifest(manifest.collection, manifest.version)
    found = snapshots.head(key)
    if found is None:  # read a moment ago as the current version or its parent
        raise UnknownVersion(f"{key} is gone.", remedy="Run the state again.")
    return found.last_modified


def _remove(snapshots: ObjectStore, collection: str, version: str) -> None:
    """The manifest first: from then on the version does not exist, however far the rest comes."""
    snapshots.delete(keys.manifest(collection, version))
    snapshots.delete_many([found.key for found in snapshots.list(keys.version(collection, version))])


def _remove_unfinished(snapshots: ObjectStore, prefix: str, now: int) -> None:
    found = list(snapshots.list(prefix))
    if found and now - max(each.last_modified for each in found) >= RUN_SECONDS:
        snapshots.delete_many([each.key for each in found])
