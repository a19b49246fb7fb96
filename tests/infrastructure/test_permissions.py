"""Two whole batches and two whole compactions, each state with the rights of its own role and no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.compaction.acquire_lock import acquire_lock
from siltstone.compaction.download import download
from siltstone.compaction.list_collections import list_collections
from siltstone.compaction.merge import merge
from siltstone.compaction.messages import (
    AcquireLockInput,
    ListCollectionsInput,
    MergeInput,
    PromotePointerInput,
    ReleaseLockInput,
    RetireInput,
    RunInput,
    UploadInput,
)
from siltstone.compaction.pauses import pause
from siltstone.compaction.pointer import read_pointer
from siltstone.compaction.promote_pointer import promote_pointer
from siltstone.compaction.release_lock import release_lock
from siltstone.compaction.renew_lock import renew_lock
from siltstone.compaction.retire import retire
from siltstone.compaction.upload import upload
from siltstone.embedding.create_delta import create_delta
from siltstone.embedding.embed_now import EmbedNowInput, embed_now
from siltstone.embedding.messages import (
    CreateDeltaInput,
    PlanBatchesInput,
    PollBatchInput,
    RecordOutcomeInput,
    SubmitBatchInput,
)
from siltstone.embedding.plan_batches import plan_batches
from siltstone.embedding.poll_batch import poll_batch
from siltstone.embedding.record_outcome import record_outcome
from siltstone.embedding.submit_batch import submit_batch
from siltstone.query.index_chroma import open_index
from siltstone.query.messages import QueryInput
from siltstone.query.query import Readers, open_readers, query
from siltstone.settings import CollectionBook, CollectionSettings, RetentionSettings
from siltstone.sources.loading import load_sources
from siltstone.sources.text import Text
from siltstone.stores import Stores
from siltstone.stores.hints import MemoryHints
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.provider_memory import MemoryProvider
from siltstone.stores.sources_memory import MemorySources

from cdk.settings import FunctionName
from tests.infrastructure.conftest import Synthesize
from tests.infrastructure.guarded import Denied, Role, behind

BOOK = CollectionBook(
    collections={
        "texts": CollectionSettings(
            dimension=8, retention=RetentionSettings(keep_seconds=0, keep_at_least=1, grace_seconds=0)
        )
    },
    settle_seconds=0,
)


def vectors(texts: Sequence[str], dimension: int) -> NDArray[np.float32]:
    return np.stack([np.random.default_rng(list(text.encode())).normal(size=dimension) for text in texts]).astype("f4")


class Stage:
    """The stores of a stage, and each function with its own rights to them."""

    def __init__(self, synthesize: Synthesize, folder: Path) -> None:
        self.clock = ManualClock()
        self.folder = folder
        self.provider = MemoryProvider(vectors, self.clock)
        self.stores = Stores(
            deltas=MemoryObjects(self.clock),
            snapshots=MemoryObjects(self.clock),
            leases=MemoryLeases(),
            ledger=MemoryLedger(),
            sources=MemorySources(),
            hints=MemoryHints(),
            settings=BOOK,
        )
        self._template = synthesize("dev")

    def of(self, name: FunctionName) -> Any:
        return behind(Role(self._template, name), self.stores)

    def load(self, *texts: str) -> None:
        load_sources([Text(collection="texts", id=f"t-{text}", text=text) for text in texts], self.stores, self.clock)

    def embed(self, plan: str) -> None:
        clock, provider, folder = self.clock, self.provider, self.folder
        planned = plan_batches(
            PlanBatchesInput(execution=plan), self.of("plan_batches"), clock, workspace=folder / "plan"
        )
        assert planned.batches
        for batch in planned.batches:
            submitted = submit_batch(
                SubmitBatchInput(batch_id=batch.batch_id),
                self.of("submit_batch"),
                clock,
                provider,
                workspace=folder / "submit",
            )
            provider.advance(4)
            clock.advance(60)
            poll = PollBatchInput(
                batch_id=batch.batch_id, attempt=submitted.attempt, openai_batch_id=submitted.openai_batch_id
            )
            assert poll_batch(poll, self.of("poll_batch"), clock, provider).state == "ready"
            created = create_delta(
                CreateDeltaInput(batch_id=batch.batch_id, attempt=submitted.attempt),
                self.of("create_delta"),
                clock,
                provider,
                workspace=folder / "create",
            )
            assert created.delta_keys
            outcome = record_outcome(
                RecordOutcomeInput(batch_id=batch.batch_id, attempt=submitted.attempt),
                self.of("record_outcome"),
                clock,
                workspace=folder / "record",
            )
            assert outcome.status == "COMPLETE"

    def compact(self, execution: str) -> None:
        clock, folder = self.clock, self.folder
        clock.advance(7200)
        listed = list_collections(ListCollectionsInput(), self.of("list_collections"), clock)
        assert [one.collection for one in listed.due] == ["texts"]
        asked = AcquireLockInput(collection="texts", execution=execution, index=0)
        run = acquire_lock(asked, self.of("acquire_lock"), clock)
        down = download(RunInput(run=run), self.of("download"), clock, workspace=folder / "download")
        renew_lock(RunInput(run=run), self.of("renew_lock"), clock)
        merged = merge(
            MergeInput(run=run, plan=down.plan),
            self.of("merge"),
            clock,
            workspace=folder / "merge",
            seconds_left=lambda: 900.0,
        )
        assert merged.sealed is not None
        sent = upload(UploadInput(run=run, plan=down.plan, sealed=merged.sealed), self.of("upload"), clock)
        promoted = promote_pointer(
            PromotePointerInput(run=run, plan=down.plan, manifest=sent.manifest), self.of("promote_pointer"), clock
        )
        assert promoted.version == run.version
        retire(RetireInput(run=run, version=run.version), self.of("retire"), clock)
        assert release_lock(ReleaseLockInput(run=run), self.of("release_lock"), clock).released


@pytest.fixture
def stage(synthesize: Synthesize, tmp_path: Path) -> Stage:
    return Stage(synthesize, tmp_path)


def test_every_state_of_both_machines_has_the_rights_it_needs(stage: Stage) -> None:
    stage.load("one", "two")
    stage.embed("plan-1")
    stage.compact("run-1")
    first = read_pointer(stage.stores.snapshots, "texts").version
    stage.load("three")
    stage.embed("plan-2")
    stage.stores.deltas.put(keys.delta("texts", "bad"), b"no parquet")  # quarantined on the way
    stage.compact("run-2")
    stage.load("four")
    stage.embed("plan-3")
    stage.compact("run-3")
    stage.load("five")
    stage.embed("plan-4")
    stage.compact("run-4")
    assert not list(stage.stores.deltas.list(keys.DELTAS))
    assert list(stage.stores.deltas.list(keys.QUARANTINE))
    assert first is not None
    assert not list(stage.stores.snapshots.list(keys.version("texts", first))), "retention ran too"
    asked = QueryInput(collection_name="texts", query_text="three", n_results=1, consistency="strong")
    answer = query(asked, readers(stage), BOOK, stage.clock, lambda: stage.provider)
    assert answer.version is not None
    assert "t-three" in answer.model_dump_json()


def test_embed_now_and_a_strong_query_have_the_rights_they_need(stage: Stage) -> None:
    texts = [{"collection": "texts", "id": "t-now", "text": "now"}]
    written = embed_now(EmbedNowInput(texts=texts), stage.of("embed_now"), stage.clock, stage.provider)
    assert written.delta_keys
    stage.clock.advance(5)
    stage.compact("run-1")
    answer = query(
        QueryInput(collection_name="texts", operation="count", consistency="strong"),
        readers(stage),
        BOOK,
        stage.clock,
        lambda: stage.provider,
    )
    assert answer.version is not None


def readers(stage: Stage) -> Readers:
    return open_readers(stage.of("query"), stage.clock, stage.folder / "query", open_index)


@pytest.mark.parametrize(
    ("name", "forbidden"),
    [
        ("merge", lambda stores: stores.snapshots.put(keys.pointer("texts"), b"")),
        ("upload", lambda stores: stores.snapshots.put(keys.pointer("texts"), b"")),
        ("retire", lambda stores: stores.snapshots.delete(keys.pointer("texts"))),
        ("retire", lambda stores: stores.snapshots.delete(f"{keys.pins('texts')}20260131_235959_00000042")),
        ("promote_pointer", lambda stores: stores.snapshots.put(keys.manifest("texts", "v"), b"")),
        ("query", lambda stores: stores.deltas.delete(keys.delta("texts", "D1"))),
        ("renew_lock", lambda stores: stores.leases.acquire("x", "me", now=0, seconds=1, floor=0)),
        ("poll_batch", lambda stores: stores.ledger.list()),
        ("create_delta", lambda stores: stores.sources.save(None, now=0)),
        ("query", lambda stores: stores.hints.tell(collection="a", delta_key="b", embedding_count=1)),
    ],
)
def test_the_guard_refuses_what_a_role_does_not_allow(
    stage: Stage, name: FunctionName, forbidden: Callable[[Any], None]
) -> None:
    with pytest.raises(Denied, match=name):
        forbidden(stage.of(name))


def test_a_pause_is_read_where_runs_begin_and_no_function_may_be_the_one_that_pauses_or_resumes(
    stage: Stage, synthesize: Synthesize
) -> None:
    pause("texts", stage.stores, stage.clock, reason="a look first")
    stage.load("one")
    stage.embed("plan-1")
    stage.clock.advance(7200)
    listed = list_collections(ListCollectionsInput(force=True), stage.of("list_collections"), stage.clock)
    assert (listed.due, listed.paused) == ([], ["texts"])
    for name in get_args(FunctionName):
        role = Role(synthesize("dev"), name)
        for action in ("s3:PutObject", "s3:DeleteObject"):
            with pytest.raises(Denied):
                role.need(action, f"<SnapshotBucket>/{keys.pause('texts')}")
