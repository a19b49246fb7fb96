"""Deltas leave only here: after a version that contains them was promoted, or because they left once before.

A key is written once in its life, but a create-only PUT succeeds again over a delete marker: a producer's late retry
can put back what was merged and retired long ago. The bucket's history tells.
"""

from __future__ import annotations

from collections.abc import Sequence

from siltstone import keys
from siltstone.deltas.listing import CHROMA_FILE, PendingDelta, chroma_folder, folder_etag
from siltstone.errors import PreconditionFailed
from siltstone.stores.objects import ObjectInfo, ObjectStore


def retire_delta(store: ObjectStore, key: str, etag: str) -> bool:
    """Delete a delta by its identity. ``False``: what lies there is another body, and it was left. Repeatable."""
    if key.startswith(keys.LEGACY_CHROMA_DELTAS):
        return _retire_folder(store, key, etag)
    try:
        store.delete(key, if_match=etag)
    except PreconditionFailed:
        return False
    return True


def delete_objects(store: ObjectStore, objects: Sequence[ObjectInfo]) -> None:
    """Delete these, each conditional on its ETag; of a directory the sqlite file first: without it, it is no delta.

    Raises `PreconditionFailed` if one was written again since it was listed.
    """
    for found in sorted(objects, key=lambda found: not found.key.endswith(f"/{CHROMA_FILE}")):
        store.delete(found.key, if_match=found.etag)


def with_earlier_life(store: ObjectStore, deltas: Sequence[PendingDelta]) -> list[PendingDelta]:
    """Those whose key was deleted before: merged and retired, or quarantined. One look at the history for them all."""
    gone: set[str] = set()
    for prefix in {_root(delta.key) for delta in deltas}:
        range_ = sorted(delta.key for delta in deltas if _root(delta.key) == prefix)
        history = store.list_versions(prefix, first=range_[0], last=range_[-1])
        gone.update(entry.key for entry in history if entry.is_delete_marker)
    return [delta for delta in deltas if delta.key in gone]


def _root(key: str) -> str:
    """The prefix whose history is listed: ``deltas/{collection}/``, and for the older layouts the first folder."""
    parts = key.split("/")
    return "/".join(parts[: max(1, len(parts) - 2)]) + "/"


def _retire_folder(store: ObjectStore, key: str, etag: str) -> bool:
    objects = list(store.list(chroma_folder(key)))
    if any(found.key == key for found in objects) and folder_etag(objects) != etag:
        return False
    # Without its sqlite file it was being retired when something stopped: what is left of it goes too.
    if objects and not any(found.key == key for found in objects):
        history = store.list_versions(key, first=key, last=key)
        if not any(entry.is_delete_marker for entry in history):
            return False
    delete_objects(store, objects)
    return True
