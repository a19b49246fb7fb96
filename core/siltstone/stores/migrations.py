"""How far a migration is: one item of the ledger for each namespace, saved after every page.

A page is written before it is counted. Who is killed in between goes on from the page before, fetches it again, and
finds its delta written (`siltstone.deltas.writer`): nothing is lost, and nothing is there or counted twice.
"""

from __future__ import annotations

from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

KEY_PREFIX = "migration#"
"""No batch's id begins like this: batches have ULIDs."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MigrationCounts(_Model):
    """What became of the ids that were met. ``listed = written + missing + repeated + left_out``."""

    listed: int = 0
    written: int = 0
    missing: int = 0  # listed, and gone when they were fetched
    repeated: int = 0  # a second time in one page
    left_out: int = 0  # can't be held by the collection at all; each is reported
    sparse: int = 0  # of those written: with sparse values, which are kept as JSON
    as_json: int = 0  # of those written: with metadata that is kept as JSON
    deltas: int = 0
    vector_bytes: int = 0  # of what was written, as float32

    @property
    def balanced(self) -> bool:
        """Whether every id ended as exactly one thing."""
        return self.listed == self.written + self.missing + self.repeated + self.left_out

    def plus(self, other: MigrationCounts) -> MigrationCounts:
        """Both together."""
        mine, more = self.model_dump(), other.model_dump()
        return MigrationCounts(**{name: mine[name] + more[name] for name in mine})


class MigrationItem(_Model):
    """A namespace's copy as stored. Times are epoch seconds. ``version`` is 0 before the first write."""

    name: str  # of the migration
    namespace: str
    index: str  # where from: a migration of another index has another name
    collection: str
    ids: str = "listed"  # or a hash of the ids that were given
    status: Literal["COPYING", "COPIED"] = "COPYING"
    cursor: str | None = None  # where the next page begins; None: at the start
    pages: int = 0  # done
    counts: MigrationCounts = MigrationCounts()
    json_keys: dict[str, int] = {}  # metadata key -> rows in which it is kept as JSON; the first hundred keys
    left_out: dict[str, str] = {}  # id -> why; the first hundred
    version: int = 0
    write_id: str = ""  # of the latest write
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def key(self) -> str:
        """Of the item in the ledger."""
        return migration_key(self.name, self.namespace)

    def changed(self, **changes: Any) -> MigrationItem:
        """The item with these fields, not yet saved."""
        return MigrationItem.model_validate({**dict(self), **changes})


def migration_key(name: str, namespace: str) -> str:
    """Key of a namespace's item. A name has no ``#``, so no two of them meet."""
    return f"{KEY_PREFIX}{name}#{namespace}"


def stored_migration(item: MigrationItem, *, now: float) -> MigrationItem:
    """``item`` as the next write stores it, with a mark by which a write that is sent twice knows itself."""
    times = {"created_at": item.created_at or now, "updated_at": now}
    return item.model_copy(update={"version": item.version + 1, "write_id": uuid4().hex, **times})
