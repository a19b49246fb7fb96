"""Records into batches within the provider's limits, one collection to a batch, as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from siltstone.embedding.requests import MAX_BATCH_BYTES, MAX_BATCH_ROWS, request_line
from siltstone.errors import BadRecord
from siltstone.records.ids import family
from siltstone.records.record import Record
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.sources.canonical import canonical_json
from siltstone.sources.source import Source, SourceKind

MAX_STORED_BYTES = 384 * 2**20  # a delta's reader takes 512 MB of texts; provenance and what Parquet adds fit between


class BatchLimits(BaseModel):
    """What one batch may hold. A row is one record and has one input.

    ``max_bytes``: of the request file. ``max_stored_bytes``: of ids, documents and metadata, which are not all sent but
    are all written into the batch's delta; a batch that was paid for must not become a delta that nobody may read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_records: int = Field(default=MAX_BATCH_ROWS, ge=1, le=MAX_BATCH_ROWS)
    max_inputs: int = Field(default=MAX_BATCH_ROWS, ge=1, le=MAX_BATCH_ROWS)
    max_bytes: int = Field(default=MAX_BATCH_BYTES, ge=1, le=MAX_BATCH_BYTES)
    max_stored_bytes: int = Field(default=MAX_STORED_BYTES, ge=1, le=MAX_STORED_BYTES)

    @property
    def rows(self) -> int:
        """Rows that fit by number."""
        return min(self.max_records, self.max_inputs)


@dataclass(frozen=True)
class SourceRef:
    """A source as it was when its records were made."""

    kind: SourceKind
    source_id: str
    revision: str


@dataclass(frozen=True)
class PlannedBatch:
    """One batch of one collection. All records of its sources in this collection are in it, source by source.

    ``request_bytes``: size of the request file that `siltstone.embedding.requests.write_requests` makes of it.
    """

    collection: str
    sources: tuple[SourceRef, ...]
    records: tuple[Record, ...]
    request_bytes: int


@dataclass(frozen=True)
class PackingRejection:
    """A source that can't go into any batch of ``collection``. ``other``: the source that has the same record id."""

    collection: str
    source: SourceRef
    why: Literal["too_large", "repeated_id"]
    what: str
    remedy: str
    other: str | None = None

    def error(self) -> BadRecord:
        """The same as an error."""
        return BadRecord(self.what, remedy=self.remedy)


@dataclass(frozen=True)
class _Load:
    """What takes room in a batch."""

    rows: int = 0
    sent: int = 0  # bytes of the request file
    stored: int = 0  # bytes of ids, documents and metadata

    def __add__(self, other: _Load) -> _Load:
        return _Load(self.rows + other.rows, self.sent + other.sent, self.stored + other.stored)

    def fits(self, limits: BatchLimits) -> bool:
        return self.rows <= limits.rows and self.sent <= limits.max_bytes and self.stored <= limits.max_stored_bytes


@dataclass
class _Open:
    """A collection's batch that still takes sources, and who has had which ids in the whole stream."""

    settings: CollectionSettings
    sources: list[SourceRef] = field(default_factory=list[SourceRef])
    records: list[Record] = field(default_factory=list[Record])
    load: _Load = _Load()
    owners: dict[str, str] = field(default_factory=dict[str, str])  # family of record ids -> source id


def pack(
    sources: Iterable[tuple[Source, Sequence[Record]]], limits: BatchLimits, book: CollectionBook
) -> Iterator[PlannedBatch | PackingRejection]:
    """Pack ``(source, its records)`` into batches, in the order in which they come.

    A source's records may be of several collections; those of one collection never straddle two batches. A batch is
    yielded once the next source does not fit, the rest at the end by collection name: the same stream gives the same
    batches. Held in memory: one open batch a collection, and two names for each receipt or text seen.

    A source that is too large alone, or has a record id that an earlier source (or itself) has in the same collection,
    is yielded as a `PackingRejection` and the others go on. All lines and words of a receipt belong to one source.
    Raises `UnknownCollection` for a collection that ``book`` does not know.
    """
    open_batches: dict[str, _Open] = {}
    for source, records in sources:
        ref = SourceRef(source.kind, source.source_id, source.revision)
        for collection, group in _by_collection(records).items():
            batch = open_batches.get(collection)
            if batch is None:
                batch = open_batches[collection] = _Open(book.resolve(collection))
            yield from _add(batch, collection, ref, group, limits)
    for collection in sorted(open_batches):
        yield from _close(open_batches[collection], collection)


def _add(
    batch: _Open, collection: str, ref: SourceRef, records: list[Record], limits: BatchLimits
) -> Iterator[PlannedBatch | PackingRejection]:
    load = _load(records, batch.settings)
    if not load.fits(limits):
        yield PackingRejection(
            collection,
            ref,
            "too_large",
            f"{ref.kind} {ref.source_id!r} has {load.rows} records in {collection!r}, {load.sent} bytes to send and "
            f"{load.stored} to store; a batch holds {limits.rows}, {limits.max_bytes} and {limits.max_stored_bytes}.",
            "Split it into several sources.",
        )
        return
    rejection = _repeated(batch, collection, ref, records)
    if rejection is not None:
        yield rejection
        return
    if not (batch.load + load).fits(limits):
        yield from _close(batch, collection)
    batch.sources.append(ref)
    batch.records.extend(records)
    batch.load += load


def _close(batch: _Open, collection: str) -> Iterator[PlannedBatch]:
    if batch.records:
        yield PlannedBatch(collection, tuple(batch.sources), tuple(batch.records), batch.load.sent)
    batch.sources, batch.records, batch.load = [], [], _Load()


def _repeated(batch: _Open, collection: str, ref: SourceRef, records: list[Record]) -> PackingRejection | None:
    """Claim the records' ids for this source, or say who has one already; then nothing is claimed."""
    claims: dict[str, str] = {}
    seen: set[str] = set()
    for record in records:
        name = family(record.record_id)
        other = ref.source_id if record.record_id in seen else batch.owners.get(name)
        if other is not None:
            return PackingRejection(
                collection,
                ref,
                "repeated_id",
                f"The record {record.record_id!r} of {ref.kind} {ref.source_id!r} is in {collection!r} already, "
                f"from {other!r}.",
                "Load one of the two, or give it ids of its own.",
                other,
            )
        seen.add(record.record_id)
        claims[name] = ref.source_id
    batch.owners.update(claims)
    return None


def _by_collection(records: Sequence[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.collection, []).append(record)
    return groups


def _load(records: list[Record], settings: CollectionSettings) -> _Load:
    sent = stored = 0
    for record in records:
        sent += len(request_line(record.record_id, record.input, model=settings.model, dimension=settings.dimension))
        stored += len(f"{record.record_id}{record.document}".encode()) + len(canonical_json(record.metadata))
    return _Load(len(records), sent, stored)
