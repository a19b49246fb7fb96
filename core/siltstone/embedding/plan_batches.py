"""``PlanBatches``: claim sources, pack their records into batches, write request file, record file and ledger item.

A batch is written in this order: claims, files, ledger. A crash before the ledger leaves claims on a batch that the
ledger does not know: a retry of this plan takes them again at once, any other plan after an hour.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from ulid import ULID

from siltstone.clock import Clock
from siltstone.embedding.batch_files import batch_files, record_table
from siltstone.embedding.claims import Claims
from siltstone.embedding.messages import PlanBatchesInput, PlanBatchesOutput, PlannedExecution
from siltstone.embedding.packing import BatchLimits, PlannedBatch, pack
from siltstone.embedding.plan_sources import SourceReader
from siltstone.errors import LedgerChanged, UnknownCollection
from siltstone.parallel import chunks
from siltstone.records.record import Record
from siltstone.sources.deletes import pay_deletes
from siltstone.sources.loading import unwanted
from siltstone.sources.state import claimed, with_state
from siltstone.stores import Stores
from siltstone.stores.ledger import BatchItem
from siltstone.stores.sources import Claim

_log = logging.getLogger(__name__)
_CHUNK = 100
ORPHAN_SECONDS = 2 * 3_600.0  # twice the longest wait between two signs of life of an execution
RESERVE_SECONDS = 300.0  # enough to claim and write the batches that are open when time gets short


def plan_batches(
    request: PlanBatchesInput,
    stores: Stores,
    clock: Clock,
    *,
    workspace: Path,
    limits: BatchLimits | None = None,
    seconds_left: Callable[[], float] = lambda: float("inf"),
) -> PlanBatchesOutput:
    """Plan everything that is open. Raises `UnknownCollection` for a collection that was asked for and has no setting.

    A collection that has sources but no setting is logged and left out, the others go on.
    """
    for name in request.collections or []:
        stores.settings.resolve(name)
    plan = _Plan(request, stores, clock, workspace=workspace, limits=limits or BatchLimits(), seconds_left=seconds_left)
    executions = [execution_of(batch) for batch in plan.unfinished()]
    todo = plan.survey()
    for name in sorted(todo):
        executions += [execution_of(batch) for batch in plan.batches(name, todo[name])]
    return PlanBatchesOutput(
        batches=executions,
        sources=len(plan.claimed),
        records=plan.records,
        rejected=plan.reader.rejected,
        more=plan.more,
    )


class _Plan:
    """One run of ``PlanBatches``."""

    def __init__(
        self,
        request: PlanBatchesInput,
        stores: Stores,
        clock: Clock,
        *,
        workspace: Path,
        limits: BatchLimits,
        seconds_left: Callable[[], float],
    ) -> None:
        self._request = request
        self._stores = stores
        self._clock = clock
        self._workspace = workspace
        self._limits = limits
        self._seconds_left = seconds_left
        # A function with little time altogether must still get somewhere, or it would start itself again for ever.
        self._reserve = min(RESERVE_SECONDS, seconds_left() / 3)
        self._claims = Claims(request, stores, clock.now())
        self.reader = SourceReader(stores, clock, self._claims, retry_failed=request.retry_failed)
        self.claimed: set[str] = set()
        self.records = 0
        self.more = False

    def unfinished(self) -> Iterator[BatchItem]:
        """What an earlier try of this plan wrote, and open batches that no execution works on any more."""
        now = self._clock.now()
        for batch in sorted(self._stores.ledger.list(open_only=True), key=lambda batch: batch.batch_id):
            if batch.seen_at <= now - ORPHAN_SECONDS:
                # An execution's name stays taken for 90 days: the batch needs a new one.
                try:
                    yield self._stores.ledger.save(
                        batch.model_copy(update={"generation": batch.generation + 1}), now=now
                    )
                except LedgerChanged:
                    continue  # so somebody does work on it
            elif batch.plan == self._request.execution:
                yield batch

    def survey(self) -> dict[str, list[str]]:
        """Ids of the sources to take, by collection; at most ``limit`` distinct ones."""
        todo: dict[str, list[str]] = {}
        taken = 0
        # Another order for every plan: with a limit and a fixed order, the last ones would wait for ever.
        salt = self._request.execution.encode()
        open_ids = sorted(self._stores.sources.list_open(), key=lambda one: sha256(salt + one.encode()).digest())
        for chunk in chunks(open_ids, _CHUNK):
            if self._short_of_time():
                break
            items = self._stores.sources.read_many(chunk)
            gone = [(item, unwanted(item)) for item in items.values() if item.deleted_at is not None and item.open]
            pay_deletes(gone, self._stores, self._clock)
            for source_id, names in self._claims.takeable(items.values()).items():
                known = [name for name in names if self._known(name)]
                if known and taken == self._request.limit:
                    self.more = True
                    return todo
                taken += bool(known)
                for name in known:
                    todo.setdefault(name, []).append(source_id)
        return todo

    def batches(self, collection: str, source_ids: list[str]) -> Iterator[BatchItem]:
        """Plan one collection, a batch at a time: one batch of records is held in memory."""
        readable = self.reader.read(collection, self._in_time(source_ids))
        for packed in pack(readable, self._limits, self._stores.settings):
            if isinstance(packed, PlannedBatch):
                batch = self._write(packed)
                if batch is not None:
                    yield batch
            else:
                self.reader.refuse(packed.source.source_id, collection, packed.what)

    def _write(self, packed: PlannedBatch) -> BatchItem | None:
        batch_id = str(ULID.from_timestamp(self._clock.now()))
        records = self._claim(packed, batch_id)
        if not records:
            return None
        settings = self._stores.settings.resolve(packed.collection)
        revisions = {source.source_id: source.revision for source in packed.sources}
        with batch_files(self._stores.deltas, batch_id, 1, self._workspace) as files:
            files.write_batch(record_table(records, revisions), settings)
        sources = {record.source_id for record in records}
        self.claimed |= sources
        self.records += len(records)
        return self._stores.ledger.create(
            BatchItem(
                batch_id=batch_id,
                collection=packed.collection,
                plan=self._request.execution,
                model=settings.model,
                records=len(records),
                sources=len(sources),
            ),
            now=self._clock.now(),
        )

    def _claim(self, packed: PlannedBatch, batch_id: str) -> list[Record]:
        """Claim the sources, each on the version that its records were made from; the records of those that were."""
        rows: dict[str, list[Record]] = {}
        for record in packed.records:
            rows.setdefault(record.source_id, []).append(record)
        items = [self.reader.forget(source.source_id) for source in packed.sources]
        now = self._clock.now()
        saved, _ = self._stores.sources.save_many(
            [
                with_state(
                    item,
                    packed.collection,
                    claimed(
                        item.collections[packed.collection],
                        Claim(plan=self._request.execution, batch_id=batch_id, revision=item.revision, at=now),
                        frozenset(record.record_id for record in rows[item.source_id]),
                    ),
                )
                for item in items
            ],
            now=now,
        )
        return [record for record in packed.records if record.source_id in saved]

    def _in_time(self, source_ids: list[str]) -> Iterator[list[str]]:
        for chunk in chunks(source_ids, _CHUNK):
            if self._short_of_time():
                return
            yield chunk

    def _short_of_time(self) -> bool:
        if self._seconds_left() < self._reserve:
            self.more = True
            return True
        return False

    def _known(self, collection: str) -> bool:
        try:
            self._stores.settings.resolve(collection)
        except UnknownCollection as error:
            _log.warning("Sources are left waiting: %s", error)
            return False
        return True


def execution_of(batch: BatchItem) -> PlannedExecution:
    """What carries this batch, under its name."""
    return PlannedExecution(
        batch_id=batch.batch_id,
        execution=f"{batch.batch_id}-{batch.generation}",
        collection=batch.collection,
        records=batch.records,
    )
