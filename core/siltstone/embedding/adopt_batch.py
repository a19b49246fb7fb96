"""Adoption of a batch that was submitted by hand: its records are rebuilt from the provider's input file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from siltstone import keys
from siltstone.clock import Clock
from siltstone.embedding.batch_files import RECORD_SCHEMA, RECORDS, BatchFiles, batch_files, record_table
from siltstone.embedding.messages import SubmitBatchInput
from siltstone.embedding.requests import RequestRow, read_requests
from siltstone.errors import BadEvent, BadRecord, BadSource, IllegalTransition, ObjectNotFound
from siltstone.parallel import chunks, in_parallel
from siltstone.records.ids import TextId, family, parse_record_id
from siltstone.records.record import Record, make_records
from siltstone.settings import CollectionSettings
from siltstone.sources.canonical import sha256_hex
from siltstone.sources.source import source_from_body
from siltstone.sources.state import claimed, with_state
from siltstone.sources.text import text_source_id
from siltstone.stores import Stores
from siltstone.stores.ledger import BatchItem
from siltstone.stores.provider import EmbeddingProvider
from siltstone.stores.sources import Claim, SourceItem

_CHUNK = 100
_OTHER_REVISION = ""  # no revision is empty: CreateDelta leaves such a row out


def adopt_batch(
    request: SubmitBatchInput,
    openai_batch_id: str,
    *,
    stores: Stores,
    clock: Clock,
    provider: EmbeddingProvider,
    workspace: Path,
) -> BatchItem:
    """Put the provider's batch into the ledger, as this batch's present attempt or as a batch of its own.

    A row that belongs to no source is rejected later, one whose input is not the source's any more is outdated. Raises
    `BadEvent` for a batch of another model or of other rows than the ledger's, `IllegalTransition` where the ledger's
    batch was submitted as another one.
    """
    item = stores.ledger.read_many([request.batch_id]).get(request.batch_id)
    if item is not None and item.openai_batch_id == openai_batch_id:
        return item
    if item is not None and item.status not in {"PLANNED", "SUBMITTING"}:
        raise IllegalTransition(
            f"Batch {item.batch_id} is {item.status} as {item.openai_batch_id}, so {openai_batch_id} can't be it.",
            remedy="Adopt it under an id of its own.",
        )
    if item is None and request.collection is None:
        raise BadEvent(
            f"The ledger does not know batch {request.batch_id!r}.", remedy="Give 'collection' to adopt it as new."
        )
    collection = item.collection if item else request.collection or ""
    settings = stores.settings.resolve(collection)
    info = provider.get_batch(openai_batch_id)
    with batch_files(stores.deltas, request.batch_id, item.attempt if item else 1, workspace) as files:
        provider.download_file(info.input_file_id, files.path("input.jsonl"))
        rows = list(_rows(files.path("input.jsonl"), settings))
        if item is not None:
            _check_rows(rows, files)
            moved = item.moved("SUBMITTED", openai_batch_id=openai_batch_id, input_file_id=info.input_file_id)
            return stores.ledger.save(moved, now=clock.now())
        item = BatchItem(
            batch_id=request.batch_id,
            collection=collection,
            plan="adopted",
            model=settings.model,
            status="SUBMITTED",
            records=len(rows),
            submission=1,
            input_file_id=info.input_file_id,
            openai_batch_id=openai_batch_id,
        )
        table, sources = _rebuild(rows, item, settings, stores, clock)
        pq.write_table(table, files.path(RECORDS), compression="zstd")
        files.upload(RECORDS)
    return stores.ledger.create(item.model_copy(update={"sources": sources}), now=clock.now())


def _rows(path: Path, settings: CollectionSettings) -> Iterator[RequestRow]:
    with path.open("rb") as file:
        for row in read_requests(file):
            if not isinstance(row, RequestRow):
                raise BadEvent(f"Line {row.line} of the batch's input file: {row.reason}.", remedy="Don't adopt it.")
            if row.model != settings.model or row.dimension not in {None, settings.dimension}:
                raise BadEvent(
                    f"Line {row.line} of the batch's input file asks for {row.model} ({row.dimension}), "
                    f"the collection has {settings.model} ({settings.dimension}).",
                    remedy="Adopt it into a collection of its model.",
                )
            yield row


def _check_rows(rows: list[RequestRow], files: BatchFiles) -> None:
    """The ledger's batch under the right ids with other texts would give every record a wrong vector."""
    table = files.read_records(["id", "input_sha256"])
    expected = dict(zip(table.column("id").to_pylist(), table.column("input_sha256").to_pylist(), strict=True))
    for row in rows:
        if expected.get(row.custom_id) != sha256_hex(row.text.encode()):
            raise BadEvent(
                f"Row {row.custom_id[:80]!r} of the provider's batch is not in the ledger's with this input.",
                remedy="Adopt it under an id of its own.",
            )


def _rebuild(
    rows: list[RequestRow], item: BatchItem, settings: CollectionSettings, stores: Stores, clock: Clock
) -> tuple[pa.Table, int]:
    """The record file's rows, and how many sources they are of. Free sources are claimed."""
    owners: dict[str, list[RequestRow]] = {}
    tables: list[pa.Table] = []
    strangers: list[tuple[RequestRow, str | None]] = []
    for row in rows:
        owners.setdefault(_source_id(row.custom_id, item.collection), []).append(row)
    sources = 0
    for chunk in chunks(owners, _CHUNK):
        items = {key: one for key, one in stores.sources.read_many(chunk).items() if one.deleted_at is None}
        made = in_parallel(lambda one: _records(one, item.collection, settings, stores), items.values())
        known = {record.record_id: record for records in made for record in records}
        matched: dict[str, list[Record]] = {}
        for source_id in chunk:
            for row in owners[source_id]:
                record = known.get(row.custom_id)
                if record is None:
                    strangers.append((row, None))
                elif record.input != row.text:
                    strangers.append((row, source_id))
                else:
                    matched.setdefault(source_id, []).append(record)
        revisions = {key: one.revision for key, one in items.items()}
        tables.append(record_table([record for records in matched.values() for record in records], revisions))
        sources += len(matched)
        _claim_free([items[key] for key in matched], matched, item, stores, clock)
    tables.append(_strangers(strangers))
    return pa.concat_tables(tables), sources


def _claim_free(
    items: list[SourceItem], rows: dict[str, list[Record]], batch: BatchItem, stores: Stores, clock: Clock
) -> None:
    """Claim what nobody has, so that no plan pays for it again. What another has stays his."""
    news: list[SourceItem] = []
    for item in items:
        state = item.collections.get(batch.collection)
        if state is None or state.status not in {"NONE", "FAILED"}:
            continue
        claim = Claim(plan=batch.plan, batch_id=batch.batch_id, revision=item.revision, at=clock.now())
        records = frozenset(record.record_id for record in rows[item.source_id])
        news.append(with_state(item, batch.collection, claimed(state, claim, records)))
    stores.sources.save_many(news, now=clock.now())


def _records(item: SourceItem, collection: str, settings: CollectionSettings, stores: Stores) -> list[Record]:
    if collection not in item.collections:
        return []
    try:
        source = source_from_body(item.kind, stores.deltas.get(keys.source(item.kind, item.source_id)).body)
    except (ObjectNotFound, BadSource):
        return []
    return make_records(source, collection, settings) if source.revision == item.revision else []


def _source_id(record_id: str, collection: str) -> str:
    try:
        found = parse_record_id(record_id)
    except BadRecord:
        return record_id
    return text_source_id(collection, found.id) if isinstance(found, TextId) else family(record_id)


def _strangers(rows: list[tuple[RequestRow, str | None]]) -> pa.Table:
    hashes = [sha256_hex(row.text.encode()) for row, _ in rows]
    columns = {
        "id": [row.custom_id for row, _ in rows],
        "source_id": [source_id for _, source_id in rows],
        "revision": [_OTHER_REVISION] * len(rows),
        "digest": hashes,
        "document": [row.text for row, _ in rows],
        "input": [row.text for row, _ in rows],
        "input_sha256": hashes,
        "metadata": ["{}"] * len(rows),
    }
    return pa.table(columns, schema=RECORD_SCHEMA)
