"""Deltas that can't be used: moved aside with the reason, counted, and written again once the reason is mended.

``quarantine/{collection}/{delta_id}/`` holds the delta's objects and ``reason.json``. Nothing there expires.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError
from ulid import ULID

from siltstone import keys
from siltstone.clock import Clock, iso
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import DeltaHeader, decode, read_header
from siltstone.deltas.legacy_chroma import fetch_chroma
from siltstone.deltas.legacy_json import decode_json
from siltstone.deltas.listing import Layout, PendingDelta, folder_etag
from siltstone.deltas.retire import delete_objects
from siltstone.deltas.vetting import vetting
from siltstone.deltas.writer import DeltaStores, WrittenDelta, write_delta
from siltstone.errors import BadDelta, ManifestDamaged, ObjectNotFound, PreconditionFailed, SchemaTooNew
from siltstone.stores.ledger import Ledger
from siltstone.stores.objects import ObjectStore

REASON_FILE = "reason.json"

_log = logging.getLogger(__name__)


class Quarantined(BaseModel):
    """``reason.json``: which delta, why, when. ``records`` and ``batch_id`` where its header could be read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    collection: str
    delta_id: str
    key: str
    etag: str
    layout: Layout
    reason: str
    run: str
    quarantined_at: str
    batch_id: str | None = None
    records: int | None = None


class QuarantineStores(DeltaStores, Protocol):
    """What quarantine needs of `siltstone.stores.Stores`."""

    @property
    def ledger(self) -> Ledger: ...


def quarantine_delta(
    delta: PendingDelta, reason: str, *, header: DeltaHeader | None, run: str, stores: QuarantineStores, clock: Clock
) -> Quarantined:
    """Move a delta aside. A stop at any point leaves it in one of the two places, and running again finishes it."""
    note = Quarantined(
        collection=delta.collection,
        delta_id=delta.delta_id,
        key=delta.key,
        etag=delta.etag,
        layout=delta.layout,
        reason=reason,
        run=run,
        quarantined_at=iso(clock.now()),
        batch_id=header.batch_id if header else None,
        records=header.count if header else None,
    )
    prefix = keys.quarantine(delta.collection, delta.delta_id)
    for found in delta.objects:
        stores.deltas.copy(found.key, prefix + found.key.removeprefix(delta.prefix), if_match=found.etag)
    etag = _write_note(note, stores)
    delete_objects(stores.deltas, delta.objects)
    if header is None and delta.layout == "parquet":
        # Only now: what crashed its readers must be out of the way before it is looked at again.
        with suppress(ObjectNotFound, PreconditionFailed):  # replayed or purged by now: a note alone would be damage
            note = _with_header(note, stores.deltas, prefix + keys.DELTA_FILE)
            _write_note(note, stores, if_match=etag)
    _log.warning("%s went to quarantine: %s", delta.key, reason)
    return note


def list_quarantined(store: ObjectStore, collection: str | None = None) -> Iterator[Quarantined]:
    """What lies in quarantine, of one collection or of all."""
    for found in store.list(keys.QUARANTINE if collection is None else f"{keys.QUARANTINE}{collection}/"):
        if found.key.endswith(f"/{REASON_FILE}"):
            yield _read_note(store, found.key)


def replay(
    collection: str,
    delta_id: str,
    *,
    stores: QuarantineStores,
    clock: Clock,
    workspace: Path,
    into: str | None = None,
) -> WrittenDelta:
    """Write a quarantined delta again: a new write, now, under a new key; then it leaves the quarantine.

    Everything is validated again, against ``into`` where it had come to the wrong collection. A replay that stopped
    half-way and is run again writes nothing twice: its id is derived from what lies there.
    Raises `BadDelta` (it stays where it is), `ObjectNotFound` if there is no such delta.
    """
    prefix = keys.quarantine(collection, delta_id)
    note = _read_note(stores.deltas, prefix + REASON_FILE)
    objects = [found for found in stores.deltas.list(prefix) if found.key != prefix + REASON_FILE]
    batch_id = model = input_format = None
    if note.layout == "chroma":
        rows = fetch_chroma(stores.deltas, prefix, objects, collection=collection, workspace=workspace)
    else:
        key = prefix + note.key.rpartition("/")[2]
        if note.layout == "json":
            rows = decode_json(stores.deltas.get(key).body)
        else:
            header, rows = _decode(stores.deltas, key, workspace)
            batch_id, model, input_format = header.batch_id, header.model, header.input_format
    written = write_delta(
        rows,
        collection=into or collection,
        stores=stores,
        clock=clock,
        delta_id=f"{delta_id[:150]}.replay-{folder_etag(objects)[:12]}",
        batch_id=batch_id,
        model=model,
        input_format=input_format,
    )
    if batch_id is not None:
        stores.ledger.note_quarantine(batch_id, delta_key=note.key, records=0)
    delete_objects(stores.deltas, objects)
    stores.deltas.delete(prefix + REASON_FILE)
    return written


def _decode(store: ObjectStore, key: str, workspace: Path) -> tuple[DeltaHeader, DeltaRows]:
    workspace.mkdir(parents=True, exist_ok=True)
    path = workspace / f"{ULID()}.parquet"
    try:
        store.get_file(key, path)
        vetting.header(path)  # what crashed its readers may lie here
        return decode(path)
    finally:
        path.unlink(missing_ok=True)


def _write_note(note: Quarantined, stores: QuarantineStores, *, if_match: str | None = None) -> str:
    """The note's ETag."""
    key = keys.quarantine(note.collection, note.delta_id) + REASON_FILE
    etag = stores.deltas.put(key, note.model_dump_json(indent=1).encode(), if_match=if_match)
    if note.batch_id is not None:
        stores.ledger.note_quarantine(note.batch_id, delta_key=note.key, records=note.records or 0)
    return etag


def _with_header(note: Quarantined, store: ObjectStore, key: str) -> Quarantined:
    try:
        header = read_header(store.get(key).body)
    except (BadDelta, SchemaTooNew):
        return note
    return note.model_copy(update={"batch_id": header.batch_id, "records": header.count})


def _read_note(store: ObjectStore, key: str) -> Quarantined:
    try:
        return Quarantined.model_validate_json(store.get(key).body)
    except ValidationError as error:
        raise ManifestDamaged(f"{key} can't be read.", remedy="Bring back an earlier version of the object.") from error
    except ObjectNotFound as error:
        raise ObjectNotFound(
            f"There is no {key}.", remedy="List the quarantine: the delta was replayed, or never there."
        ) from error
