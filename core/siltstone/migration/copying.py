"""A namespace into a collection, a page at a time: ids, vectors, one delta, and a line in the ledger.

::

    ledger: page 7 is next, behind cursor c7
        ids behind c7 ── fetch them ── delta 7 ── ledger: page 8 is next, behind c8
                                            ^
                                   killed here: ids behind c7 are fetched again; the same rows have the same delta id,
                                   and that key was written before, so nothing is written. Rows that changed in the
                                   meantime make another id, and their delta overwrites, as it should: no row is lost
                                   because a page of the same number was written once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from siltstone.clock import Clock
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.produce import tell
from siltstone.deltas.writer import WrittenDelta, write_delta
from siltstone.errors import LedgerImbalance, SettingsMismatch
from siltstone.migration.convert import Converted, convert
from siltstone.migration.job import Job
from siltstone.migration.plan import check_name
from siltstone.migration.source import SourceIndex, SourceVector
from siltstone.stores import Stores
from siltstone.stores.migrations import MigrationCounts, MigrationItem

_EXAMPLES = 100  # in the ledger's item; a verification names all
_PART = 40  # characters of a name in a delta's id

Progress = Callable[[MigrationItem], None]


def copy_namespace(
    job: Job,
    index: SourceIndex,
    stores: Stores,
    clock: Clock,
    *,
    restart: bool = False,
    progress: Progress = lambda item: None,
) -> MigrationItem:
    """Copy what is left of ``job``; what was copied before is not asked for again. ``progress``: after every page.

    ``restart``: from the first page. Pages whose rows are the same are read again, and not written again.
    Raises `IndexUnavailable` and `IndexRefused` (call it again: it goes on), `SettingsMismatch` if the migration began
    with another index, collection or list of ids, `LedgerChanged` if somebody else runs it at the same time.
    """
    item = _begin(job, index, stores, restart=restart)
    progress(item)
    while item.status == "COPYING":
        page = job.walk.page(item.namespace, item.cursor, job.pages.rows)
        ids = list(dict.fromkeys(page.ids))
        vectors = job.fetch(index, ids)
        found = convert(vectors, job.move.settings, document_key=job.document_key)
        if len(found.rows):
            tell(stores.hints, _write(item, found.rows, stores, clock))
        item = stores.ledger.save_migration(
            item.changed(
                cursor=page.next,
                status="COPYING" if page.next is not None else "COPIED",
                pages=item.pages + 1,
                counts=item.counts.plus(_counts(page.ids, ids, vectors, found)),
                json_keys=_first(Counter(item.json_keys) + found.json_keys),
                left_out=_first({**item.left_out, **found.left_out}),
            ),
            now=clock.now(),
        )
        if not item.counts.balanced:
            raise LedgerImbalance(f"The migration {job.name} of {item.namespace!r} does not add up: {item.counts}.")
        progress(item)
    return item


def _begin(job: Job, index: SourceIndex, stores: Stores, *, restart: bool) -> MigrationItem:
    fresh = MigrationItem(
        name=check_name(job.name),
        namespace=job.move.namespace,
        index=index.name,
        collection=job.move.collection,
        ids=job.walk.identity,
    )
    item = stores.ledger.read_migration(fresh.name, fresh.namespace)
    if item is None:
        return fresh
    for what, began, now in (
        ("index", item.index, fresh.index),
        ("collection", item.collection, fresh.collection),
        ("list of ids", item.ids, fresh.ids),
    ):
        if began != now and not (restart and what == "list of ids"):
            raise SettingsMismatch(
                f"The migration {item.name} of {item.namespace!r} began with the {what} {began!r}, not {now!r}.",
                remedy="Give it another name (--name)" + ("." if what != "list of ids" else ", or --restart."),
            )
    return fresh.changed(version=item.version, created_at=item.created_at) if restart else item


def _write(item: MigrationItem, rows: DeltaRows, stores: Stores, clock: Clock) -> WrittenDelta:
    return write_delta(rows, collection=item.collection, stores=stores, clock=clock, delta_id=_delta_id(item, rows))


def _delta_id(item: MigrationItem, rows: DeltaRows) -> str:
    """Derived from migration, namespace, page and content: a page that is written again is the same delta.

    It sorts before every ULID: of a copy and of what somebody writes in the same second, the copy is the older one.
    """
    whose = hashlib.sha256(json.dumps([item.name, item.namespace, item.index]).encode()).hexdigest()[:8]
    content = hashlib.sha256(json.dumps([rows.ids, rows.documents, rows.metadatas], sort_keys=True).encode())
    content.update(rows.embeddings.tobytes())
    readable = f"0-migrate-{_part(item.name)}-{_part(item.namespace)}-{whose}"
    return f"{readable}-{item.pages:06d}-{content.hexdigest()[:16]}"


def _part(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", name)[:_PART]


def _counts(
    listed: Sequence[str], ids: Sequence[str], vectors: Sequence[SourceVector], found: Converted
) -> MigrationCounts:
    rows = found.rows
    return MigrationCounts(
        listed=len(listed),
        written=len(rows),
        missing=len(ids) - len(vectors),
        repeated=len(listed) - len(ids),
        left_out=len(found.left_out),
        sparse=found.sparse,
        as_json=found.as_json,
        deltas=bool(len(rows)),
        vector_bytes=rows.embeddings.nbytes,
    )


def _first(found: dict[str, Any]) -> dict[str, Any]:
    return dict(list(found.items())[:_EXAMPLES])
