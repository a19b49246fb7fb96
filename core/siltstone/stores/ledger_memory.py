"""The ledger in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from siltstone.errors import LedgerChanged, UnknownBatch
from siltstone.stores.ledger import BatchItem, stored
from siltstone.stores.migrations import MigrationItem, migration_key, stored_migration


class MemoryLedger:
    """`siltstone.stores.ledger.Ledger` in a dictionary. Safe for threads."""

    def __init__(self) -> None:
        self._items: dict[str, BatchItem] = {}
        self._migrations: dict[str, MigrationItem] = {}
        self._lock = threading.RLock()

    def create(self, item: BatchItem, *, now: float) -> BatchItem:
        return self._put(stored(item, now=now))

    def read(self, batch_id: str) -> BatchItem:
        with self._lock:
            found = self._items.get(batch_id)
        if found is None:
            raise UnknownBatch(f"The ledger has no batch {batch_id!r}.")
        return found

    def read_many(self, batch_ids: Iterable[str]) -> dict[str, BatchItem]:
        with self._lock:
            return {batch_id: self._items[batch_id] for batch_id in batch_ids if batch_id in self._items}

    def save(self, item: BatchItem, *, now: float) -> BatchItem:
        return self._put(stored(item, now=now))

    def touch(self, batch_id: str, *, now: float) -> None:
        with self._lock:
            if batch_id in self._items:
                self._items[batch_id] = self._items[batch_id].model_copy(update={"seen_at": now})

    def note_quarantine(self, batch_id: str, *, delta_key: str, records: int) -> bool:
        with self._lock:
            found = self._items.get(batch_id)
            if found is None:
                return False
            noted = {**found.quarantined, delta_key: records}
            self._items[batch_id] = found.model_copy(update={"quarantined": noted})
            return True

    def request_cancel(self, batch_id: str, *, now: float) -> bool:
        with self._lock:
            found = self._items.get(batch_id)
            if found is None:
                return False
            self._items[batch_id] = found.model_copy(update={"cancel_requested_at": now})
            return True

    def list(self, *, open_only: bool = False) -> Iterator[BatchItem]:
        with self._lock:
            found = list(self._items.values())
        return (item for item in found if item.open or not open_only)

    def read_migration(self, name: str, namespace: str) -> MigrationItem | None:
        with self._lock:
            return self._migrations.get(migration_key(name, namespace))

    def save_migration(self, item: MigrationItem, *, now: float) -> MigrationItem:
        with self._lock:
            found = self._migrations.get(item.key)
            if (found.version if found else 0) != item.version:
                raise LedgerChanged(
                    f"The migration {item.name} of {item.namespace!r} moved on since it was read.",
                    remedy="Somebody else runs it, too: let one of the two go on.",
                )
            self._migrations[item.key] = stored_migration(item, now=now)
            return self._migrations[item.key]

    def _put(self, item: BatchItem) -> BatchItem:
        with self._lock:
            found = self._items.get(item.batch_id)
            if (found.version if found else 0) != item.version - 1:
                raise LedgerChanged(f"Batch {item.batch_id} changed since it was read.")
            if found is not None:
                marks = {"quarantined": found.quarantined, "cancel_requested_at": found.cancel_requested_at}
                item = item.model_copy(update=marks)
            self._items[item.batch_id] = item
            return item
