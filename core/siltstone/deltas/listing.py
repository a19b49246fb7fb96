"""Which deltas wait, and in which order: by S3's clock in whole seconds, then by key.

A listing is not a snapshot: a delta with an early time may show up after one with a later time. A run therefore takes
only what is older than the store's clock at the *first* reply, less a margin that no write outlasts: whatever is
written later sorts behind all of it, so what a run takes is always a prefix of the order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from siltstone import keys
from siltstone.settings import CollectionBook
from siltstone.stores.objects import ObjectInfo, ObjectStore, read_all_pages

CHROMA_QUIET_SECONDS = 15 * 60  # a directory is complete once none of its objects is younger
CHROMA_FILE = "chroma.sqlite3"

Layout = Literal["parquet", "json", "chroma"]


@dataclass(frozen=True)
class PendingDelta:
    """A delta that can be read. Key and ETag are its identity; of a directory: its sqlite file's key, `folder_etag`.

    ``last_modified``: epoch seconds, the first half of its place in the order. ``size``: bytes of all ``objects``.
    """

    collection: str
    key: str
    etag: str
    size: int
    last_modified: int
    layout: Layout
    objects: tuple[ObjectInfo, ...]

    @property
    def delta_id(self) -> str:
        """The folder that it lies in."""
        return self.key.split("/")[-2]

    @property
    def prefix(self) -> str:
        """That folder, with its closing ``/``."""
        return self.key.rpartition("/")[0] + "/"

    @property
    def order(self) -> tuple[int, str]:
        """Its place among all deltas of its collection."""
        return self.last_modified, self.key


@dataclass(frozen=True)
class Pending:
    """What a listing found. ``date``: the store's clock at its first reply. ``strange``: keys that are no delta's."""

    date: int
    deltas: list[PendingDelta]  # in order
    strange: list[str]

    def settled(self, seconds: int) -> list[PendingDelta]:
        """Those that nothing can slip in front of any more, in order."""
        return [delta for delta in self.deltas if delta.last_modified < self.date - seconds]


def list_pending(store: ObjectStore, collection: str, book: CollectionBook) -> Pending:
    """A physical collection's deltas. The older layouts name none: a setting says whose they are."""
    if collection != book.legacy_delta_collection:
        return _list(store, [keys.deltas(collection)], book)
    found = _list(store, [keys.DELTAS, keys.LEGACY_CHROMA_DELTAS], book)
    mine = [delta for delta in found.deltas if delta.collection == collection]
    return Pending(found.date, mine, [])


def list_all_pending(store: ObjectStore, book: CollectionBook) -> Pending:
    """Every collection's deltas: one listing, however many collections there are (two with the older layouts)."""
    older = [keys.LEGACY_CHROMA_DELTAS] if book.legacy_delta_collection else []
    return _list(store, [keys.DELTAS, *older], book)


def folder_etag(objects: Iterable[ObjectInfo]) -> str:
    """One ETag for a delta of many objects: SHA-256 over their keys and ETags. Any change is another delta."""
    named = sorted((found.key, found.etag) for found in objects)
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def chroma_folder(key: str) -> str:
    """Prefix of the directory that ``key`` lies in: ``delta/{uuid}/``."""
    return "/".join(key.split("/")[:2]) + "/"


def _list(store: ObjectStore, prefixes: list[str], book: CollectionBook) -> Pending:
    date: int | None = None
    deltas: list[PendingDelta] = []
    strange: list[str] = []
    folders: dict[str, list[ObjectInfo]] = {}
    for prefix in prefixes:
        for page in read_all_pages(store, prefix):
            date = page.date if date is None else date
            for found in page.objects:
                if found.key.endswith("/"):
                    continue  # an empty "folder" that a console made
                if prefix == keys.LEGACY_CHROMA_DELTAS:
                    folders.setdefault(chroma_folder(found.key), []).append(found)
                elif (delta := _file(found, book)) is not None:
                    deltas.append(delta)
                else:
                    strange.append(found.key)
    deltas += _folders(folders, date or 0, book)
    return Pending(date or 0, sorted(deltas, key=lambda delta: delta.order), strange)


def _file(found: ObjectInfo, book: CollectionBook) -> PendingDelta | None:
    match found.key.split("/"):
        case [_, collection, _, keys.DELTA_FILE]:
            layout: Layout = "parquet"
        case [_, _, keys.LEGACY_DELTA_FILE] if book.legacy_delta_collection is not None:
            collection, layout = book.legacy_delta_collection, "json"
        case _:
            return None
    return PendingDelta(collection, found.key, found.etag, found.size, found.last_modified, layout, (found,))


def _folders(folders: dict[str, list[ObjectInfo]], date: int, book: CollectionBook) -> Iterator[PendingDelta]:
    """Directories that are complete. One counts as written when that was certain, a quarter of an hour after its last
    object: by the object's own time it would appear in front of deltas that a run has merged by then."""
    quiet = max(0, CHROMA_QUIET_SECONDS - book.settle_seconds)
    for prefix, objects in folders.items():
        newest = max(found.last_modified for found in objects)
        if book.legacy_delta_collection is not None and newest < date - CHROMA_QUIET_SECONDS:
            yield PendingDelta(
                collection=book.legacy_delta_collection,
                key=prefix + CHROMA_FILE,
                etag=folder_etag(objects),
                size=sum(found.size for found in objects),
                last_modified=newest + quiet,
                layout="chroma",
                objects=tuple(objects),
            )
