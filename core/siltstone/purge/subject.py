"""Whose traces are looked for, told from a record's id alone: what was deleted long ago is known by nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from siltstone.deltas.shards import physical
from siltstone.errors import UnknownCollection
from siltstone.records.ids import family
from siltstone.settings import CollectionBook
from siltstone.sources.text import text_source_id
from siltstone.stores.sources import SourceItem


@dataclass(frozen=True)
class Subject:
    """A source. ``collections``: physical name -> logical name, of all that ever had records of it."""

    source_id: str
    kind: str
    collections: dict[str, str]

    def owns(self, collection: str, record_id: str) -> bool:
        """Whether the record of this physical collection is the source's."""
        if self.kind == "receipt":
            return record_id != self.source_id == family(record_id)  # an id of another form is its own family
        return text_source_id(self.collections[collection], record_id) == self.source_id

    def owned(self, collection: str, record_ids: Iterable[str]) -> list[str]:
        """Those of the ids that are the source's."""
        return [record_id for record_id in record_ids if self.owns(collection, record_id)]


def subject_of(item: SourceItem, book: CollectionBook) -> Subject:
    """A collection that no setting names any more is looked at under its own name."""
    collections: dict[str, str] = {}
    for name in sorted(item.collections):
        try:
            collections |= dict.fromkeys(physical(name, book.resolve(name)), name)
        except UnknownCollection:
            collections[name] = name
    return Subject(item.source_id, item.kind, collections)
