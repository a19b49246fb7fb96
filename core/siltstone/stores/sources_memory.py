"""The source table in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from siltstone.errors import SourceChanged
from siltstone.stores.sources import SourceItem, stored


class MemorySources:
    """`siltstone.stores.sources.SourceTable` in a dictionary. Safe for threads."""

    def __init__(self) -> None:
        self._items: dict[str, SourceItem] = {}
        self._lock = threading.RLock()

    def read(self, source_id: str) -> SourceItem | None:
        with self._lock:
            return self._items.get(source_id)

    def read_many(self, source_ids: Iterable[str]) -> dict[str, SourceItem]:
        with self._lock:
            return {source_id: self._items[source_id] for source_id in source_ids if source_id in self._items}

    def save(self, item: SourceItem, *, now: float) -> SourceItem:
        with self._lock:
            found = self._items.get(item.source_id)
            wanted = stored(item, now=now)
            if (found.version if found else 0) != item.version:
                raise SourceChanged(f"Source {item.source_id} changed since it was read.")
            self._items[item.source_id] = wanted
            return wanted

    def save_many(self, items: Iterable[SourceItem], *, now: float) -> tuple[dict[str, SourceItem], set[str]]:
        saved: dict[str, SourceItem] = {}
        changed: set[str] = set()
        for item in items:
            try:
                saved[item.source_id] = self.save(item, now=now)
            except SourceChanged:
                changed.add(item.source_id)
        return saved, changed

    def list_open(self) -> Iterator[str]:
        with self._lock:
            return iter([item.source_id for item in self._items.values() if item.open])

    def list(self) -> Iterator[SourceItem]:
        with self._lock:
            return iter(list(self._items.values()))
