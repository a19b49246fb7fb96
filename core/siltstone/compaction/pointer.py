"""The pointer, and THE commit point: `promote`.

A collection's current version is what one small object says. Everything before its conditional write is
preparation that nobody sees; everything after it is tidying up. The write carries ``If-Match`` with the ETag
that the run pinned at its start, so of all runs that started from one version at most one gets through,
whatever happened to clocks, leases or retries. A body never repeats (each version has its own token), so an
ETag never does.

    run 7   pin(v5) ──────── work ──────── promote(If-Match v5) ✓
    run 8          pin(v5) ── work ──────────────── promote(If-Match v5) ✗ PointerMoved
"""

from __future__ import annotations

from siltstone import keys
from siltstone.compaction.documents import Pin
from siltstone.compaction.manifests import descends
from siltstone.compaction.version import Version
from siltstone.errors import (
    InvalidInput,
    ManifestDamaged,
    ObjectNotFound,
    PointerMissing,
    PointerMoved,
    PreconditionFailed,
)
from siltstone.stores.objects import ObjectStore, StoredObject


def read_pointer(snapshots: ObjectStore, collection: str) -> Pin:
    """What the pointer says now, with its ETag; both ``None`` where it never existed.

    Raises `PointerMissing` if it existed once and is gone, `ManifestDamaged` if its body is no version.
    """
    key = keys.pointer(collection)
    while True:
        try:
            return pin_of(snapshots.get(key), collection)
        except ObjectNotFound as error:
            newest = next(snapshots.list_versions(key, first=key, last=key), None)
            if newest is None:
                return Pin(version=None, etag=None)
            if newest.is_delete_marker:
                raise PointerMissing(
                    f"{key} existed and is gone.",
                    remedy="Remove its delete marker in the versioned bucket; never start the collection anew over it.",
                ) from error
            # Written between the two requests, by the first promotion: read it.


def promote(snapshots: ObjectStore, collection: str, *, pinned: Pin, version: str) -> str:
    """THE COMMIT. Make ``version`` current if the pointer is still as ``pinned``; return the pointer's new ETag.

    Running it again after it happened is no error. Raises `PointerMoved` if somebody else promoted, and
    `StoreUnavailable` if it is unknown whether the write happened: call again.
    """
    key, body = keys.pointer(collection), keys.version(collection, version).encode()
    if pinned.version is not None and Version.parse(version).token <= Version.parse(pinned.version).token:
        raise PointerMoved(f"{version} is not newer than {pinned.version}.", remedy="Start a new run.")
    try:
        if pinned.etag is not None:
            return snapshots.put(key, body, if_match=pinned.etag)
        # A create-only write succeeds over a delete marker: only a key without any history is new.
        if read_pointer(snapshots, collection).version is None:
            return snapshots.put(key, body, create_only=True)
    except PreconditionFailed:
        pass
    # The pointer is not as pinned. Either somebody else moved it, or we did and the reply was lost.
    found = read_pointer(snapshots, collection)
    if found.version and found.etag and descends(snapshots, collection, found.version, version):
        return found.etag
    raise PointerMoved(
        f"The pointer of {collection} names {found.version}, not {pinned.version}, which this run started from.",
        remedy="Nothing is lost: its deltas are pending, the next run takes them.",
    )


def pin_of(stored: StoredObject, collection: str) -> Pin:
    """What a pointer's body says. Raises `ManifestDamaged` for anything but a version of ``collection``."""
    text = stored.body[:1_000].decode("utf-8", "replace")
    try:
        version = str(Version.parse(text.removeprefix(keys.versions(collection)).removesuffix("/")))
    except InvalidInput:
        version = None
    if version is None or text != keys.version(collection, version):
        raise ManifestDamaged(
            f"{stored.info.key} says {text[:80]!r}.",
            remedy=f"It must be '{keys.versions(collection)}<version>/': bring back an earlier version of the object.",
        )
    return Pin(version=version, etag=stored.info.etag)
