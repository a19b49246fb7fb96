"""``embed_now``: small amounts need no batch. The embeddings API answers at once, at the full price.

Sources come with the call, or by id where they are loaded already. Whoever wants a whole collection asks
`siltstone.embedding.preview` which of its sources are open: the function itself never searches the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field
from ulid import ULID

from siltstone.clock import Clock
from siltstone.compaction.messages import Message
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.produce import tell
from siltstone.deltas.writer import write_delta
from siltstone.embedding.claims import Claims
from siltstone.embedding.messages import PlanBatchesInput
from siltstone.embedding.plan_sources import SourceReader
from siltstone.embedding.preview import preview_plan
from siltstone.embedding.prices import cost_usd
from siltstone.embedding.settle import SourceRows, settle_sources
from siltstone.errors import BadEvent
from siltstone.records.record import Record
from siltstone.sources.canonical import canonical_json
from siltstone.sources.loading import load_sources, wanted_records
from siltstone.sources.source import Source, source_from_body
from siltstone.sources.state import claimed, digest, with_state
from siltstone.stores import Stores
from siltstone.stores.provider import EmbeddingProvider
from siltstone.stores.sources import Claim, SourceItem

MAX_RECORDS = 2_000  # a handful of requests; more is what the batch API is half as dear for
MAX_SOURCES = 1_000  # by id, in one call

SourceId = Annotated[str, Field(min_length=1, max_length=190)]


class EmbedNowInput(Message):
    """Sources as their JSON has them (see `siltstone.sources.receipt.Receipt` and `siltstone.sources.text.Text`), and
    ids of sources that are loaded and not embedded."""

    receipts: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    texts: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    source_ids: list[SourceId] = Field(default_factory=list[str], max_length=MAX_SOURCES)
    collections: list[str] | None = Field(default=None, min_length=1, max_length=100)  # None: all that they are in
    retry_failed: bool = False  # also take what is FAILED


class EmbedNowOutput(Message):
    sources: int  # given
    embedded: int  # records; those that were there already are not embedded again
    waiting: int  # sources that an open batch has at the moment: it embeds them
    failed: int  # sources that are FAILED now: their items say why
    delta_keys: list[str]
    tokens: int
    cost_usd: float | None


def embed_now(request: EmbedNowInput, stores: Stores, clock: Clock, provider: EmbeddingProvider) -> EmbedNowOutput:
    """Load, embed and write a few sources.

    Raises `BadSource`, `UnknownSource`, `UnknownCollection` and `BadEvent` (too many records) before anything is
    written.
    """
    for name in request.collections or []:
        stores.settings.resolve(name)
    receipts = [source_from_body("receipt", canonical_json(one)) for one in request.receipts]
    texts = [source_from_body("text", canonical_json(one)) for one in request.texts]
    return _embed([*receipts, *texts], request, stores, clock, provider)


def embed_sources_now(
    sources: Sequence[Source], stores: Stores, clock: Clock, provider: EmbeddingProvider
) -> EmbedNowOutput:
    """The same for sources in hand. What it claims and never finishes, a plan takes after an hour."""
    return _embed(sources, EmbedNowInput(), stores, clock, provider)


def portions(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Source ids (given with their numbers of records) in groups that one call takes.

    Raises `BadEvent` before the first for a source that is too large alone.
    """
    for source_id, records in sizes.items():
        if records > MAX_RECORDS:
            raise BadEvent(
                f"Source {source_id} has {records} records, more than {MAX_RECORDS} at once.",
                remedy="Start a batch: siltstone embed start.",
            )
    group: list[str] = []
    total = 0
    for source_id, records in sizes.items():
        if group and (len(group) == MAX_SOURCES or total + records > MAX_RECORDS):
            yield group
            group, total = [], 0
        group.append(source_id)
        total += records
    if group:
        yield group


def _embed(
    sources: Sequence[Source], request: EmbedNowInput, stores: Stores, clock: Clock, provider: EmbeddingProvider
) -> EmbedNowOutput:
    loaded = request.source_ids
    open_ones = preview_plan(
        stores, clock, source_ids=loaded, collections=request.collections, retry_failed=request.retry_failed
    )
    records = open_ones.records
    records += sum(len(found) for source in sources for found in wanted_records(source, stores).values())
    if records > MAX_RECORDS:
        raise BadEvent(f"{records} records are more than {MAX_RECORDS} at once.", remedy="Load them and plan a batch.")
    load_sources(sources, stores, clock)
    names = {each.collection for each in open_ones.collections}
    names |= {name for source in sources for name in source.collections(stores.settings)}
    if request.collections is not None:
        names &= set(request.collections)
    ids = list(dict.fromkeys([*(source.source_id for source in sources), *loaded]))
    work = _Now(stores, clock, provider, retry_failed=request.retry_failed)
    for name in sorted(names):
        work.embed(name, ids)
    items = stores.sources.read_many(ids).values()
    states = [[state.status for name, state in item.collections.items() if name in names] for item in items]
    costs = [cost for cost in work.costs if cost is not None]
    return EmbedNowOutput(
        sources=len(ids),
        embedded=work.embedded,
        waiting=sum("PENDING" in each for each in states),
        failed=sum("FAILED" in each for each in states),
        delta_keys=work.delta_keys,
        tokens=work.tokens,
        cost_usd=round(sum(costs), 8) if len(costs) == len(work.costs) else None,
    )


class _Now:
    """One call of `embed_now`: claims under a name of its own, one delta per collection."""

    def __init__(self, stores: Stores, clock: Clock, provider: EmbeddingProvider, *, retry_failed: bool) -> None:
        self._retry_failed = retry_failed
        self._stores = stores
        self._clock = clock
        self._provider = provider
        self._name = f"now-{ULID.from_timestamp(clock.now())}"
        self.embedded = self.tokens = 0
        self.costs: list[float | None] = []
        self.delta_keys: list[str] = []

    def embed(self, collection: str, source_ids: list[str]) -> None:
        """Claim, embed, write, settle."""
        rows, records = self._claim(collection, source_ids)
        if not records:
            return
        try:
            self._write(collection, records)
            for record in records:
                rows[record.source_id].embedded[record.record_id] = digest(record)
        finally:
            # Also after a failure: what was claimed is given back at once.
            self.delta_keys += settle_sources(
                rows, collection=collection, batch_id=self._name, stores=self._stores, clock=self._clock
            )

    def _claim(self, collection: str, source_ids: list[str]) -> tuple[dict[str, SourceRows], list[Record]]:
        request = PlanBatchesInput(execution=self._name, retry_failed=self._retry_failed)
        claims = Claims(request, self._stores, self._clock.now())
        reader = SourceReader(self._stores, self._clock, claims, retry_failed=self._retry_failed)
        found = {source.source_id: records for source, records in reader.read(collection, [source_ids])}
        items = [self._claimed(reader.forget(key), collection, records) for key, records in found.items()]
        saved, _ = self._stores.sources.save_many(items, now=self._clock.now())
        rows = {key: SourceRows(item.revision) for key, item in saved.items()}
        return rows, [record for key in saved for record in found[key]]

    def _claimed(self, item: SourceItem, collection: str, records: list[Record]) -> SourceItem:
        claim = Claim(plan=self._name, batch_id=self._name, revision=item.revision, at=self._clock.now())
        ids = frozenset(record.record_id for record in records)
        return with_state(item, collection, claimed(item.collections[collection], claim, ids))

    def _write(self, collection: str, records: list[Record]) -> None:
        settings = self._stores.settings.resolve(collection)
        found = self._provider.embed(
            [record.input for record in records], model=settings.model, dimension=settings.dimension
        )
        self.tokens += found.tokens
        self.costs.append(cost_usd(settings.model, found.tokens, batch=False))
        rows = DeltaRows.upserts(
            [record.record_id for record in records],
            found.vectors,
            [record.document for record in records],
            [{**record.metadata, "input_sha256": record.input_sha256} for record in records],
        )
        written = write_delta(rows, collection=collection, stores=self._stores, clock=self._clock, batch_id=self._name)
        tell(self._stores.hints, written)
        self.embedded += len(records)
        self.delta_keys += written.delta_keys
