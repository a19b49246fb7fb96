"""Every delta that is or was there, as the bucket's history tells: what it held, and when it was deleted.

::

    put(a) ──── marker             one life: merged or quarantined, then deleted
    put(a) ──── marker ── put(b)   two: the second one is never merged, the next run deletes it again
    put(a) ─ put(b)                one life, two bodies: a key that was overwritten
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from siltstone import keys
from siltstone.compaction.documents import AppliedDelta
from siltstone.deltas.listing import CHROMA_FILE, Layout, chroma_folder, folder_etag
from siltstone.settings import CollectionBook
from siltstone.stores.objects import ObjectInfo, ObjectStore, ObjectVersion


@dataclass(frozen=True)
class Body:
    """What a delta held. ``etag``: as manifests name it. ``objects``: one, or those of a directory."""

    etag: str
    objects: tuple[ObjectVersion, ...]


@dataclass(frozen=True)
class Life:
    """From a write to its delete marker. ``bodies``: oldest first; none where they have expired."""

    bodies: tuple[Body, ...]
    ended: int | None  # epoch seconds; None: it is listed


@dataclass(frozen=True)
class KnownDelta:
    """A delta's key with its history. ``lives``: oldest first, at least one."""

    key: str
    layout: Layout
    lives: tuple[Life, ...]

    @property
    def listed(self) -> bool:
        """Whether it is there now."""
        return self.lives[-1].ended is None

    def identities(self, life: Life) -> list[AppliedDelta]:
        """How a manifest or the quarantine may name what this life held."""
        return [AppliedDelta(key=self.key, etag=body.etag) for body in life.bodies]

    def body(self, etag: str) -> Body | None:
        """The body of this ETag, if it can still be read."""
        return next((body for life in self.lives for body in life.bodies if body.etag == etag), None)


def known_deltas(store: ObjectStore, collection: str, book: CollectionBook) -> tuple[dict[str, KnownDelta], list[str]]:
    """By key, and the listed keys in the collection's folder that are no delta's. Reads listings only."""
    own, legacy = keys.deltas(collection), collection == book.legacy_delta_collection
    history: dict[str, list[ObjectVersion]] = {}
    for entry in store.list_versions(keys.DELTAS if legacy else own):
        history.setdefault(entry.key, []).append(entry)
    found: dict[str, KnownDelta] = {}
    strange: list[str] = []
    for key, entries in history.items():
        layout = _layout(key, own, legacy=legacy)
        if layout is not None:
            found[key] = KnownDelta(key, layout, _lives(entries))
        elif key.startswith(own) and not key.endswith("/") and not entries[0].is_delete_marker:
            strange.append(key)
    if legacy:
        found |= {delta.key: delta for delta in _directories(store.list_versions(keys.LEGACY_CHROMA_DELTAS))}
    return found, strange


def _layout(key: str, own: str, *, legacy: bool) -> Layout | None:
    match key.split("/"):
        case [_, _, _, keys.DELTA_FILE] if key.startswith(own):
            return "parquet"
        case [_, _, keys.LEGACY_DELTA_FILE] if legacy:
            return "json"
        case _:
            return None


def _lives(entries: list[ObjectVersion]) -> tuple[Life, ...]:
    """``entries``: of one key, newest first."""
    lives: list[Life] = []
    bodies: list[Body] = []
    for entry in reversed(entries):
        if not entry.is_delete_marker:
            bodies.append(Body(entry.etag, (entry,)))
        elif bodies or not lives:  # else what was gone was deleted once more
            lives.append(Life(tuple(bodies), entry.last_modified))
            bodies = []
    if bodies:
        lives.append(Life(tuple(bodies), None))
    return tuple(lives)


def _directories(entries: Iterable[ObjectVersion]) -> list[KnownDelta]:
    """Directories that had an sqlite file. What each held last is one body, whatever came of its single objects."""
    folders: dict[str, dict[str, list[ObjectVersion]]] = {}
    for entry in entries:
        if not entry.key.endswith("/"):
            folders.setdefault(chroma_folder(entry.key), {}).setdefault(entry.key, []).append(entry)
    found: list[KnownDelta] = []
    for folder, history in folders.items():
        key = folder + CHROMA_FILE
        if key not in history:
            continue
        newest = history[key][0]
        kept = [entry for every in history.values() if (entry := _held(every, listed=not newest.is_delete_marker))]
        etag = folder_etag(ObjectInfo(entry.key, entry.etag, entry.size, entry.last_modified) for entry in kept)
        bodies = (Body(etag, tuple(kept)),) if any(entry.key == key for entry in kept) else ()
        found.append(
            KnownDelta(key, "chroma", (Life(bodies, newest.last_modified if newest.is_delete_marker else None),))
        )
    return found


def _held(entries: list[ObjectVersion], *, listed: bool) -> ObjectVersion | None:
    """Of one object of a directory that is ``listed``, or of one that was deleted: what it held."""
    if listed and entries[0].is_delete_marker:
        return None
    return next((entry for entry in entries if not entry.is_delete_marker), None)
