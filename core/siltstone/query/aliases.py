"""An alias names a collection. Moving it is one conditional write, and readers follow within seconds.

That is how a collection changes its model, dimension or shards: build another one, then move the alias. Writers name
collections, never aliases: what was written must not depend on when an alias moved.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from siltstone import keys
from siltstone.clock import Clock
from siltstone.compaction.pointer import read_pointer
from siltstone.deltas.shards import physical
from siltstone.errors import (
    InvalidInput,
    ManifestDamaged,
    ObjectNotFound,
    PointerMoved,
    PreconditionFailed,
    StoreUnavailable,
    UnknownCollection,
)
from siltstone.settings import CollectionBook
from siltstone.stores.objects import ObjectStore

REFRESH_SECONDS = 2.0
_REMEMBERED = 1_000  # names; a caller may make up any number of them


@dataclass(frozen=True)
class Alias:
    """What an alias says, and the ETag that moving it is conditional on."""

    collection: str
    etag: str


def read_alias(snapshots: ObjectStore, name: str) -> Alias | None:
    """The alias, or ``None`` if there is none. Raises `ManifestDamaged` if its body is no collection's name."""
    try:
        stored = snapshots.get(keys.alias(name))
    except ObjectNotFound:
        return None
    try:
        return Alias(keys.check_collection(stored.body[:1_000].decode("utf-8", "replace").strip()), stored.info.etag)
    except InvalidInput as error:
        raise ManifestDamaged(f"{stored.info.key}: {error.message}", remedy="Move the alias again.") from error


def move_alias(snapshots: ObjectStore, book: CollectionBook, name: str, to: str, *, held: Alias | None) -> Alias:
    """Let ``name`` name the collection ``to``. ``held``: the alias as it was read, ``None`` to make a new one.

    Running it again is no error. Raises `PointerMoved` if somebody else moved it, `UnknownCollection` if ``to`` has no
    version, `InvalidInput` if ``name`` is a collection itself.
    """
    keys.check_collection(name)
    if name in book.collections or _has_version(snapshots, book, name):
        raise InvalidInput(f"{name} is a collection.", remedy="Choose another name for the alias.")
    if not _has_version(snapshots, book, to):
        raise UnknownCollection(f"{to} has no version yet.", remedy="Compact it first: readers would find nothing.")
    try:
        etag = snapshots.put(
            keys.alias(name), to.encode(), create_only=held is None, if_match=None if held is None else held.etag
        )
        return Alias(to, etag)
    except PreconditionFailed:
        # Moved by somebody else, or by us and the reply was lost.
        found = read_alias(snapshots, name)
        if found is not None and found.collection == to:
            return found
        raise PointerMoved(
            f"The alias {name} names {found.collection if found else 'nothing'} by now.",
            remedy="Look, and decide anew.",
        ) from None


def _has_version(snapshots: ObjectStore, book: CollectionBook, name: str) -> bool:
    try:
        shards = physical(name, book.resolve(name))
    except UnknownCollection:
        return False
    return any(read_pointer(snapshots, shard).version is not None for shard in shards)


class AliasReader:
    """Follows aliases, each asked for at most every few seconds. Safe for several threads.

    A name that the settings have exactly is a collection and costs no request; any other may be an alias.
    """

    def __init__(self, snapshots: ObjectStore, book: CollectionBook, clock: Clock) -> None:
        self._snapshots = snapshots
        self._book = book
        self._clock = clock
        self._known: dict[str, tuple[float, str]] = {}
        self._gate = threading.Lock()

    def collection_of(self, name: str, *, fresh: bool = False) -> str:
        """The collection that ``name`` stands for: its own name if it is no alias. ``fresh``: ask now."""
        if name in self._book.collections:
            return name
        now = self._clock.monotonic()
        asked, collection = self._known.get(name, (None, name))
        if not fresh and asked is not None and now - asked < REFRESH_SECONDS:
            return collection
        try:
            found = read_alias(self._snapshots, name)
        except StoreUnavailable:
            if asked is None or fresh:
                raise
        else:
            collection = found.collection if found else name
        with self._gate:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[name] = now, collection
        return collection
