"""Which ids there are: from the index's own listing, or from a list that somebody has, a page at a time.

A filter on ``id`` finds nothing in Pinecone, since filters see metadata alone: its listing is the only walk over all
ids, and pod-based indexes have none.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from siltstone import keys
from siltstone.errors import BadSettings, BadSource, IndexRefused, ObjectNotFound
from siltstone.migration.source import LIST_LIMIT, IdPage, SourceIndex
from siltstone.parallel import chunks, in_parallel
from siltstone.sources.loading import wanted_records
from siltstone.sources.source import source_from_body
from siltstone.stores import Stores
from siltstone.stores.sources import SourceItem

_TOGETHER = 100  # sources


class Walk(Protocol):
    """All ids of a namespace. ``identity``: another one is another walk, and a cursor of one means nothing to it."""

    @property
    def identity(self) -> str: ...

    def page(self, namespace: str, cursor: str | None, size: int) -> IdPage:
        """At most ``size`` ids behind ``cursor`` (``None``: from the start)."""
        ...


@dataclass(frozen=True)
class Listing:
    """What the index lists. A page of ours is as many of its pages as fit."""

    index: SourceIndex
    identity: str = "listed"

    def page(self, namespace: str, cursor: str | None, size: int) -> IdPage:
        limit = min(size, LIST_LIMIT)
        ids: list[str] = []
        while len(ids) + limit <= size:
            found = self.index.list_ids(namespace, cursor, limit)
            ids += found.ids
            if found.next is None:
                return IdPage(ids, None)
            if found.next == cursor:
                raise IndexRefused(f"The listing of {namespace!r} does not come to an end: it repeats its token.")
            cursor = found.next
        return IdPage(ids, cursor)


class GivenIds:
    """Ids that somebody has, for every namespace alike: one that a namespace has not is counted as missing."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = sorted(set(ids))
        self.identity = hashlib.sha256("\n".join(self._ids).encode()).hexdigest()[:16]

    def page(self, namespace: str, cursor: str | None, size: int) -> IdPage:
        del namespace
        start = 0 if cursor is None else bisect_right(self._ids, cursor)
        ids = self._ids[start : start + size]
        return IdPage(ids, ids[-1] if start + size < len(self._ids) else None)


def ids_of_file(path: Path) -> GivenIds:
    """One id in each line, in UTF-8; empty lines don't count. Raises `BadSettings`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"The ids in {path} can't be read ({error}).", remedy="One id per line, in UTF-8.") from error
    found = [line for line in (raw.strip() for raw in text.split("\n")) if line]
    if not found:
        raise BadSettings(f"There is no id in {path}.", remedy="One id per line, in UTF-8.")
    return GivenIds(found)


def ids_of_sources(collection: str, stores: Stores) -> GivenIds:
    """Ids of all records that the loaded sources have in ``collection``. Raises `BadSettings` if there are none."""
    found = GivenIds(_records(collection, stores))
    if not found.page("", None, 1).ids:
        raise BadSettings(
            f"No loaded source has a record in {collection}.", remedy="Load them: siltstone receipts load, texts load."
        )
    return found


def _records(collection: str, stores: Stores) -> Iterator[str]:
    alive = (item for item in stores.sources.list() if item.deleted_at is None)

    def ids(item: SourceItem) -> list[str]:
        try:
            body = stores.deltas.get(keys.source(item.kind, item.source_id)).body
            return list(wanted_records(source_from_body(item.kind, body), stores).get(collection, {}))
        except (ObjectNotFound, BadSource):
            return []  # `siltstone sources status` names it

    for some in chunks(alive, _TOGETHER):
        for each in in_parallel(ids, some):
            yield from each
