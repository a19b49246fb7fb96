"""A whole stage in memory, and short ways to walk a batch through the machine's states."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from siltstone.clock import ManualClock
from siltstone.deltas.codec import decode
from siltstone.embedding.create_delta import create_delta
from siltstone.embedding.messages import (
    CreateDeltaInput,
    CreateDeltaOutput,
    PlanBatchesInput,
    PlanBatchesOutput,
    PollBatchInput,
    PollBatchOutput,
    RecordOutcomeInput,
    RecordOutcomeOutput,
    SubmitBatchInput,
    SubmitBatchOutput,
)
from siltstone.embedding.packing import BatchLimits
from siltstone.embedding.plan_batches import plan_batches
from siltstone.embedding.poll_batch import poll_batch
from siltstone.embedding.record_outcome import record_outcome
from siltstone.embedding.submit_batch import submit_batch
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.sources.receipt import Line, Receipt
from siltstone.sources.text import Text
from siltstone.stores import Stores
from siltstone.stores.hints import MemoryHints
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger import BatchItem
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.provider_memory import MemoryProvider
from siltstone.stores.sources import CollectionState
from siltstone.stores.sources_memory import MemorySources

DIMENSION = 8
SMALL = CollectionSettings(dimension=DIMENSION)


def embed(texts: Sequence[str], dimension: int) -> NDArray[np.float32]:
    """float32 (n, dimension), a direction of its own for every text."""
    seeds = (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts)
    return np.stack([np.random.default_rng(seed).normal(size=dimension) for seed in seeds]).astype(np.float32)


def book(**more: CollectionSettings) -> CollectionBook:
    lines = SMALL.model_copy(update={"input_format": "line-context-v1"})
    return CollectionBook(collections={"lines": lines, "texts": SMALL, **more})


def text(name: str, content: str = "hello", collection: str = "texts", **metadata: Any) -> Text:
    return Text(collection=collection, id=name, text=content, metadata=metadata)


def receipt(number: int, lines: Sequence[str], merchant: str | None = "Kiosk") -> Receipt:
    height = 1 / max(len(lines), 1)
    return Receipt(
        image_id=f"00000000-0000-4000-8000-{number:012d}",
        receipt_id=1,
        merchant_name=merchant,
        lines=tuple(
            Line(line_id=place, text=content, x=0.1, y=place * height, width=0.5, height=height)
            for place, content in enumerate(lines)
        ),
    )


def without_last_line(source: Receipt) -> Receipt:
    """The others exactly as they were."""
    return Receipt(**{**dict(source), "lines": source.lines[:-1], "words": ()})


class House:
    """Everything in memory, on one clock that moves a second with each delta, so that deltas have an order."""

    def __init__(self, workspace: Path, settings: CollectionBook | None = None) -> None:
        self.clock = ManualClock()
        self.workspace = workspace
        self.provider = MemoryProvider(embed, self.clock)
        self.hints = MemoryHints()
        self.stores = Stores(
            deltas=MemoryObjects(self.clock),
            snapshots=MemoryObjects(self.clock),
            leases=MemoryLeases(),
            ledger=MemoryLedger(),
            sources=MemorySources(),
            hints=self.hints,
            settings=settings or book(),
        )

    def with_stores(self, **others: Any) -> House:
        """The same house, some of its stores replaced."""
        house = object.__new__(House)
        house.__dict__ = {**self.__dict__, "stores": replace(self.stores, **others)}
        return house

    # The machine's states ---------------------------------------------------------------------------
    def plan(self, execution: str = "plan-1", limits: BatchLimits | None = None, **more: Any) -> PlanBatchesOutput:
        self.clock.advance(1)
        seconds_left = more.pop("seconds_left", lambda: 900.0)
        request = PlanBatchesInput(execution=execution, **more)
        return plan_batches(
            request, self.stores, self.clock, workspace=self.workspace, limits=limits, seconds_left=seconds_left
        )

    def submit(self, batch_id: str, **more: Any) -> SubmitBatchOutput:
        request = SubmitBatchInput(batch_id=batch_id, **more)
        return submit_batch(request, self.stores, self.clock, self.provider, workspace=self.workspace)

    def poll(self, sent: SubmitBatchOutput, polls: int = 0) -> PollBatchOutput:
        request = PollBatchInput(
            batch_id=sent.batch_id, attempt=sent.attempt, openai_batch_id=sent.openai_batch_id, polls=polls
        )
        return poll_batch(request, self.stores, self.clock, self.provider)

    def create(self, batch_id: str, attempt: int = 1) -> CreateDeltaOutput:
        self.clock.advance(1)
        request = CreateDeltaInput(batch_id=batch_id, attempt=attempt)
        return create_delta(request, self.stores, self.clock, self.provider, workspace=self.workspace)

    def record(self, batch_id: str, attempt: int = 1, failed: str | None = None) -> RecordOutcomeOutput:
        self.clock.advance(1)
        request = RecordOutcomeInput(batch_id=batch_id, attempt=attempt, failed=failed)
        return record_outcome(request, self.stores, self.clock, workspace=self.workspace)

    def sent(self, execution: str = "plan-1") -> SubmitBatchOutput:
        """Plan what must be one batch, submit it and let the provider finish it."""
        (planned,) = self.plan(execution).batches
        sent = self.submit(planned.batch_id)
        self.provider.advance(3)
        return sent

    def run(self, execution: str = "plan-1") -> list[BatchItem]:
        """Plan, and walk every batch to its end as the machine does."""
        return [self.walk(planned.batch_id) for planned in self.plan(execution).batches]

    def walk(self, batch_id: str) -> BatchItem:
        """One batch from where it is to its end."""
        while True:
            sent = self.submit(batch_id)
            self.provider.advance(3)
            looked = self.poll(sent)
            if looked.state == "resubmit":
                continue
            if looked.state == "failed":
                outcome = self.record(batch_id, sent.attempt, failed=looked.cause)
            else:
                self.create(batch_id, sent.attempt)
                outcome = self.record(batch_id, sent.attempt)
            if not outcome.retry:
                return self.stores.ledger.read(batch_id)

    # What there is ----------------------------------------------------------------------------------
    def state(self, source_id: str, collection: str = "texts") -> CollectionState:
        item = self.stores.sources.read(source_id)
        assert item is not None
        return item.collections[collection]

    def store(self, collection: str = "texts") -> dict[str, dict[str, Any]]:
        """What a compaction of all deltas would hold: id -> document, metadata, vector."""
        rows: dict[str, dict[str, Any]] = {}
        deltas = self.stores.deltas.list(f"deltas/{collection}/")
        for info in sorted(deltas, key=lambda info: (info.last_modified, info.key)):
            _, delta = decode(self.stores.deltas.get(info.key).body)
            for place, record_id in enumerate(delta.ids):
                if delta.deletes[place]:
                    rows.pop(record_id, None)
                else:
                    rows[record_id] = {
                        "document": delta.documents[place],
                        "metadata": delta.metadatas[place],
                        "vector": delta.embeddings[place],
                    }
        return rows

    def documents(self, collection: str = "texts") -> dict[str, str]:
        return {key: row["document"] for key, row in self.store(collection).items()}
