"""Which versions are kept: the current one, pinned ones, the newest few, and all that were current until lately.

Every time compared here is S3's own. A version was superseded when its successor was promoted. For the current one
that is the pointer's time. For an earlier one it is not recorded, but it came before the successor's own successor was
made from it, and within a day of its manifest. The earlier of the two keeps a version a little too long, never too
short.

A pin and a removal of one version meet: each leaves its mark first and looks for the other's then, so at least one of
them sees the other and gives way.

    pin        put pin ── mark of a removal? ── manifest there? ── pinned
    removal    put mark ── pin? ── delete manifest, files, mark
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice
from typing import Literal

from siltstone import keys
from siltstone.compaction.documents import Manifest
from siltstone.compaction.manifests import lineage, version_folders
from siltstone.compaction.version import Version
from siltstone.errors import PointerMissing, UnknownVersion
from siltstone.settings import RetentionSettings
from siltstone.stores.objects import ObjectStore

RUN_SECONDS = 86_400  # no run lives as long: neither between its first file and its manifest, nor until it promotes
ATTEMPT_SECONDS = 1_000  # no attempt of a state lives as long, its last request included


def pin(snapshots: ObjectStore, collection: str, version: str) -> None:
    """Keep a version until `unpin`. Raises `UnknownVersion`, also for one that is being removed."""
    key = keys.pins(collection) + str(Version.parse(version))
    held = snapshots.head(key) is not None  # by an earlier call: it stays, whatever is found now
    snapshots.put(key, b"")
    removing = snapshots.head(keys.removals(collection) + version) is not None
    if not removing and snapshots.head(keys.manifest(collection, version)) is not None:
        return
    if not held:
        snapshots.delete(key)
    raise UnknownVersion(
        f"{collection} {'is about to remove' if removing else 'has no version'} {version}.",
        remedy="`siltstone versions` lists those that exist.",
    )


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
    folders = version_folders(snapshots, collection)
    kept = {manifest.version for manifest in chain[: 1 + settings.keep_at_least]} | pinned(snapshots, collection)
    kept |= _beyond_a_gap(snapshots, chain, folders, 1 + settings.keep_at_least - len(chain))
    # An attempt of Upload that was given up may run on until its function's end, and a create-only write succeeds over
    # a delete marker: the manifest would come back, without its files. None began after the successor took the lock.
    keep_seconds = max(settings.keep_seconds, settings.grace_seconds, ATTEMPT_SECONDS)
    removed = 0
    for folder in folders:
        version = str(folder)
        if folder.token >= Version.parse(current).token or version in kept:
            continue
        if snapshots.head(keys.manifest(collection, version)) is None:
            _remove_unfinished(snapshots, keys.version(collection, version), now)
        elif now - _superseded(snapshots, chain, folder, promoted) >= keep_seconds:
            removed += _remove(snapshots, collection, version)
    _forget_removals(snapshots, collection, {str(folder) for folder in folders})
    return removed


def remove_early(
    snapshots: ObjectStore, collection: str, version: str, current: str, settings: RetentionSettings
) -> int | Literal["pinned"] | None:
    """Delete a version that retention would still keep, if it is older than ``current`` and nobody may be using it.

    Returns ``"pinned"``, or from when on it may go (epoch seconds by S3's clock), or ``None``: it is gone.
    """
    page = snapshots.list_page(keys.pointer(collection))
    if not page.objects:
        raise PointerMissing(f"{keys.pointer(collection)} was there a moment ago.", remedy="Remove its delete marker.")
    chain = list(lineage(snapshots, collection, current))
    superseded = _superseded(snapshots, chain, Version.parse(version), page.objects[0].last_modified)
    free = superseded + max(settings.grace_seconds, ATTEMPT_SECONDS)
    if page.date < free:
        return free
    return None if _remove(snapshots, collection, version) else "pinned"


def _beyond_a_gap(snapshots: ObjectStore, chain: list[Manifest], folders: list[Version], wanted: int) -> set[str]:
    """The newest versions before the end of a chain that is too short, as a purge took out what came before it.

    One that was never promoted may be among them and takes a place: what is kept is a little too much.
    """
    if chain[-1].parent is None:
        return set()
    collection, oldest = chain[-1].collection, chain[-1].token
    older = [str(folder) for folder in reversed(folders) if folder.token < oldest]
    there = (version for version in older if snapshots.head(keys.manifest(collection, version)) is not None)
    return set(islice(there, max(0, wanted)))


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


def _remove(snapshots: ObjectStore, collection: str, version: str) -> bool:
    """The manifest first: from then on the version does not exist, however far the rest comes. ``False``: pinned.

    A mark that was left stays until the version is gone: it may be another removal's, which has looked for pins.
    """
    mark = keys.removals(collection) + version
    snapshots.put(mark, b"")
    if snapshots.head(keys.pins(collection) + version) is not None:  # since the pins were listed
        return False
    snapshots.delete(keys.manifest(collection, version))
    snapshots.delete_many([found.key for found in snapshots.list(keys.version(collection, version))])
    snapshots.delete(mark)
    return True


def _forget_removals(snapshots: ObjectStore, collection: str, existing: set[str]) -> None:
    """Delete the marks of removals that stopped just before their end."""
    prefix = keys.removals(collection)
    done = [found.key for found in snapshots.list(prefix) if found.key.removeprefix(prefix) not in existing]
    if done:
        snapshots.delete_many(done)


def _remove_unfinished(snapshots: ObjectStore, prefix: str, now: int) -> None:
    found = list(snapshots.list(prefix))
    if found and now - max(each.last_modified for each in found) >= RUN_SECONDS:
        snapshots.delete_many([each.key for each in found])
