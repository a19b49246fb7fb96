"""What is remembered of a source that was forgotten: hashes of keys, the batches it was in, no content and no id.

It is written before anything is removed, so a purge that stopped anywhere goes on where it was; and `verify` reads it:
what a purge took out is no damage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Literal

from pydantic import Field

from siltstone import keys
from siltstone.clock import Clock, iso
from siltstone.compaction.messages import Message
from siltstone.compaction.staging import parse_document
from siltstone.errors import ManifestDamaged, ObjectNotFound, PreconditionFailed, SchemaTooNew, StoreUnavailable
from siltstone.stores.objects import ObjectStore

_RACES = 10


class DeadSlots(Message):
    """The first version that was seen without the source's records, and the dead slots of its index.

    A dead slot keeps a vector until the index is rebuilt. They only grow in number until then: fewer of them in a later
    version prove that it was. ``slots`` 0: none is left of that time.
    """

    version: str
    slots: int


class PurgeRecord(Message):
    """``purged/{SHA-256 of the source's id}.json``. It only ever grows."""

    schema_version: Literal[1] = 1
    first_asked_at: str
    keys: list[str] = Field(default_factory=list[str])  # SHA-256, sorted: see `purged_keys`
    # Batches that had it, and when the provider's files of each were deleted (epoch seconds).
    batches: dict[str, float | None] = Field(default_factory=dict[str, float | None])
    clean: list[str] = Field(default_factory=list[str])  # prefixes of versions that were read and don't hold it, sorted
    index: dict[str, DeadSlots] = Field(default_factory=dict[str, DeadSlots])  # by physical collection

    def with_keys(self, removed: Iterable[str]) -> PurgeRecord:
        """The record with these keys, too."""
        return self.model_copy(update={"keys": sorted({*self.keys, *map(key_hash, removed)})})

    def with_batches(self, batches: dict[str, float | None]) -> PurgeRecord:
        """The record with these batches; one whose files were deleted stays so."""
        done = {name: at for name, at in self.batches.items() if at is not None}
        return self.model_copy(update={"batches": {**self.batches, **batches, **done}})

    def with_clean(self, prefixes: Iterable[str]) -> PurgeRecord:
        """The record with these versions."""
        return self.model_copy(update={"clean": sorted({*self.clean, *prefixes})})

    def with_index(self, collection: str, slots: DeadSlots) -> PurgeRecord:
        """The record with what is known of one index."""
        return self.model_copy(update={"index": {**self.index, collection: slots}})


def key_hash(key: str) -> str:
    """SHA-256 of a key, or of a source's id: either may name a person."""
    return hashlib.sha256(key.encode()).hexdigest()


def update_record(
    store: ObjectStore, source_id: str, clock: Clock, change: Callable[[PurgeRecord], PurgeRecord]
) -> PurgeRecord:
    """Change the record, whoever else changes it at the same time. Raises `StoreUnavailable`."""
    key = keys.purged(key_hash(source_id))
    for _ in range(_RACES):
        try:
            stored = store.get(key)
        except ObjectNotFound:
            found, etag = PurgeRecord(first_asked_at=iso(clock.now())), None
        else:
            found, etag = parse_document(PurgeRecord, stored.body, key), stored.info.etag
        changed = change(found)
        if changed == found and etag is not None:
            return found
        try:
            store.put(key, changed.model_dump_json().encode(), create_only=etag is None, if_match=etag)
        except PreconditionFailed:
            continue  # another purge of it, or our own write whose reply was lost
        return changed
    raise StoreUnavailable(f"{key} changed {_RACES} times while it was written.", remedy="Again.")


def purged_keys(store: ObjectStore) -> frozenset[str]:
    """`key_hash` of every manifest that any purge removed, and of the key that a delta had before the quarantine that a
    purge took it out of. (Other deltas leave their delete markers.) As far as the records can be read.
    """
    found: set[str] = set()
    for info in store.list(keys.PURGED):
        with suppress(ManifestDamaged, SchemaTooNew, ObjectNotFound):
            found.update(parse_document(PurgeRecord, store.get(info.key).body, info.key).keys)
    return frozenset(found)
