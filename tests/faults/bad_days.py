"""A stage in memory in front of the real batch server and the real client, driven as the state machine drives it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import openai
from siltstone.embedding.messages import PollBatchOutput, SubmitBatchOutput
from siltstone.errors import BatchFailed, ProviderUnavailable, SiltstoneError, StoreUnavailable, SubmissionUnclear
from siltstone.records.record import make_records
from siltstone.sources.loading import delete_sources, load_sources
from siltstone.sources.source import Source
from siltstone.stores.provider_openai import OpenAIProvider
from siltstone_local import embedder
from siltstone_local.batch_server import BatchServer

from tests.faults.purchases import check_attempts, check_inputs
from tests.unit.embedding.house import DIMENSION, House, receipt, text

NAMES = ("a", "b", "c", "d", "e")
VICTIMS = (
    "a",
    "d",
)  # a fault that takes two rows in the order of the first plan takes the first one's, not the other's
_UNCLEAR, _UNAVAILABLE = 20, 8  # the state machine's retries
_REST = 10_000.0  # seconds: longer than an execution may be silent

Reply = TypeVar("Reply")
Event = Callable[["World"], None]


class World:
    """Five texts and a receipt, what they should be, and the batches on their way.

    The stage's clock is our own, and years behind the server's: no jump of it gets ahead, where the provider's list
    would be asked for too little. A wait of the machine's costs it its seconds, and the server a hundredth of them. So
    ``patience``, in seconds, is short only where the server is to be silent: on a busy machine it would cut purchases
    that are being made, and the list would be believed before it can know of them.
    """

    def __init__(self, server: BatchServer, workspace: Path, patience: float) -> None:
        self.server = server
        self.house = House(workspace)
        self.house.provider = OpenAIProvider("key", server.base_url, answer_seconds=patience)  # type: ignore[assignment]
        self.client = openai.OpenAI(api_key="any", base_url=server.base_url)
        self.wanted: dict[str, Source | None] = {}
        self.loaded: Counter[tuple[str, str]] = Counter()  # by record id and input
        self.plans = 0
        self.died: list[SiltstoneError] = []  # what ended an execution
        for name in NAMES:
            self.load(text(name, f"the text of {name}"))
        self.load(receipt(1, ["milk 1.20", "bread 2.40", "total 3.60"]))

    def load(self, source: Source) -> None:
        self.wanted[source.source_id] = source
        book = self.house.stores.settings
        for collection in source.collections(book):
            for record in make_records(source, collection, book.resolve(collection)):
                self.loaded[record.record_id, record.input] += 1
        load_sources([source], self.house.stores, self.house.clock)

    def delete(self, source_id: str) -> None:
        self.wanted[source_id] = None
        delete_sources([source_id], self.house.stores, self.house.clock)

    # The machine ------------------------------------------------------------------------------------
    def plan(self, **more: Any) -> list[str]:
        self.plans += 1
        return [one.batch_id for one in self.house.plan(f"plan-{self.plans}", **more).batches]

    def execute(self, batch_id: str, *, open_: Event | None = None, late: Event | None = None) -> None:
        """One execution of a batch. ``open_`` happens once the provider has it, ``late`` once its delta is written.

        What ends the execution is noted, as the service would note it.
        """
        try:
            self._execute(batch_id, open_, late)
        except SiltstoneError as error:
            self.died.append(error)

    def _execute(self, batch_id: str, open_: Event | None, late: Event | None) -> None:
        house = self.house
        while True:
            try:
                sent = self._retried(house.submit, batch_id)
                open_ = self._happen(open_)
                looked = self._poll(sent)
                if looked.state == "resubmit":
                    house.clock.advance(looked.wait_seconds)
                    continue
                failed = looked.cause
                if looked.state == "ready":
                    self._retried(house.create, batch_id, sent.attempt)
                    late = self._happen(late)
            except BatchFailed as error:
                failed = str(error)
            attempt = house.stores.ledger.read(batch_id).attempt
            if not self._retried(house.record, batch_id, attempt, failed).retry:
                return

    def _poll(self, sent: SubmitBatchOutput) -> PollBatchOutput:
        polls, deadline = 0, time.monotonic() + 60
        while True:
            looked = self._retried(self.house.poll, sent, polls)
            if looked.state != "running":
                return looked
            assert time.monotonic() < deadline, "the server never ends the batch"
            polls = looked.polls
            self.house.clock.advance(looked.wait_seconds)
            time.sleep(0.02)

    def _retried(self, state: Callable[..., Reply], *arguments: Any) -> Reply:
        """As ``statemachines/embedding.asl.json`` retries it."""
        unclear = unavailable = 0
        while True:
            try:
                return state(*arguments)
            except SubmissionUnclear:
                unclear += 1
                if unclear > _UNCLEAR:
                    raise
                self.house.clock.advance(30)
                time.sleep(0.3)
            except (ProviderUnavailable, StoreUnavailable):
                unavailable += 1
                if unavailable > _UNAVAILABLE:
                    raise
                self.house.clock.advance(30)

    def _happen(self, event: Event | None) -> None:
        if event is not None:
            self.house.clock.advance(1)
            event(self)
            self.house.clock.advance(1)

    def come_to_rest(self, **more: Any) -> None:
        """Plan and execute until nothing is left to do."""
        for _ in range(12):
            self.house.clock.advance(_REST)
            batches = self.plan(**more)
            if not batches:
                return
            for batch_id in batches:
                self.execute(batch_id)
        raise AssertionError("it never comes to rest")

    # What must hold -----------------------------------------------------------------------------------
    def check(self) -> None:
        """At rest: the ledger balances, nothing was paid twice, and readers see the sources as they are."""
        self.check_ledger()
        assert self.check_paid_once() > 0
        for item in self.house.stores.sources.list():
            for state in item.collections.values():
                assert not state.pending and not state.stray and state.claim is None
                if self.wanted[item.source_id] is not None:
                    assert state.status == ("FAILED" if state.refused else "SUCCESS"), state
        for collection in ("texts", "lines"):
            self._check_rows(collection)

    def check_ledger(self) -> None:
        """submitted = embedded + to retry + rejected + outdated, for each attempt and over all."""
        for batch in self.house.stores.ledger.list():
            assert batch.status in ("COMPLETE", "FAILED"), batch
            assert batch.counts.balanced
            assert batch.counts.to_retry == 0 or batch.status == "FAILED"
            submitted = batch.records
            for attempt in sorted(batch.attempts, key=lambda one: one.attempt):
                assert attempt.counts.balanced and attempt.counts.submitted == submitted
                assert attempt.recorded_at is not None
                submitted = attempt.counts.to_retry

    def check_paid_once(self) -> int:
        """How many answers were paid for, none of them twice."""
        mine = {batch.batch_id: batch for batch in self.house.stores.ledger.list()}
        check_attempts(self.client, mine)
        return check_inputs(self.client, mine, self.loaded)

    def refused(self, collection: str = "texts") -> set[str]:
        """Ids of the records that were given up."""
        return {
            record_id
            for item in self.house.stores.sources.list()
            if collection in item.collections and item.deleted_at is None
            for record_id in item.collections[collection].refused
        }

    def _check_rows(self, collection: str) -> None:
        book = self.house.stores.settings
        expected = {
            record.record_id: record
            for source in self.wanted.values()
            if source is not None and collection in source.collections(book)
            for record in make_records(source, collection, book.resolve(collection))
        }
        found = self.house.store(collection)
        assert found.keys() == expected.keys() - self.refused(collection)
        for record_id, row in found.items():
            record = expected[record_id]
            assert (row["document"], row["metadata"]["input_sha256"]) == (record.document, record.input_sha256)
            np.testing.assert_array_equal(row["vector"], embedder.embed([record.input], DIMENSION)[0])


def nothing(_: World) -> None:
    """An ordinary day at our side."""


def delete(world: World) -> None:
    for name in VICTIMS:
        world.delete(f"text.texts.{name}")


def change(world: World) -> None:
    for name in VICTIMS:
        world.load(text(name, f"the new text of {name}"))


def change_and_change_back(world: World) -> None:
    change(world)
    world.house.clock.advance(1)
    for name in VICTIMS:
        world.load(text(name, f"the text of {name}"))


def delete_and_load_again(world: World) -> None:
    delete(world)
    world.house.clock.advance(1)
    for name in VICTIMS:
        world.load(text(name, f"the text of {name}"))


EVENTS: tuple[Event, ...] = (nothing, delete, change, change_and_change_back, delete_and_load_again)
