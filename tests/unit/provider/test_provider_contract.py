"""What every embedding provider does: the twin in memory, and the real client against the batch server."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from siltstone.clock import ManualClock
from siltstone.embedding.requests import EmbeddedRow, read_results, request_line
from siltstone.errors import BatchFailed, ProviderRefused, ProviderUnavailable
from siltstone.stores.provider import BatchInfo, EmbeddingProvider
from siltstone.stores.provider_memory import MemoryProvider
from siltstone.stores.provider_openai import OpenAIProvider
from siltstone_local.batch_server import BatchServer, Faults, ReplyFault
from siltstone_local.embedder import embed

MODEL = "text-embedding-3-small"


@dataclass
class Subject:
    provider: EmbeddingProvider
    server: BatchServer | None = None

    def finish(self, batch: BatchInfo) -> BatchInfo:
        deadline = time.monotonic() + 30
        while (batch := self.provider.get_batch(batch.id)).running:
            assert time.monotonic() < deadline
            if isinstance(self.provider, MemoryProvider):
                self.provider.advance()
            else:
                time.sleep(0.01)
        return batch

    def lose_the_next_creation(self) -> None:
        if self.server:
            self.server.set_faults(Faults(replies=(ReplyFault(path="/v1/batches", method="POST", kind="lost"),)))
        else:
            self.provider.fail_next("create_batch", ProviderUnavailable("lost"), done=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer]:
    with BatchServer(tmp_path_factory.mktemp("server"), speed=3000) as running:
        yield running


@pytest.fixture(params=["memory", "openai"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "memory":
        yield Subject(MemoryProvider(embed, ManualClock(time.time())))
        return
    server: BatchServer = request.getfixturevalue("server")
    yield Subject(OpenAIProvider("sk-any", server.base_url), server)
    server.clear_faults()


def upload(subject: Subject, texts: list[str]) -> str:
    lines = [request_line(f"id-{i}", text, model=MODEL, dimension=8) for i, text in enumerate(texts)]
    return subject.provider.upload_file(io.BytesIO(b"".join(lines)), "requests.jsonl")


def test_a_batch_goes_from_upload_to_download(subject: Subject, tmp_path: Path):
    batch = subject.provider.create_batch(upload(subject, ["one", "two"]), {"batch": "b1", "attempt": "1"})
    assert batch.status == "validating"
    assert abs(batch.created_at - time.time()) < 60
    batch = subject.finish(batch)
    assert batch.status == "completed"
    assert batch.metadata == {"batch": "b1", "attempt": "1"}
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (2, 2, 0)
    assert batch.error_file_id is None
    assert batch.tokens and batch.tokens >= 2
    size = subject.provider.download_file(batch.output_file_id or "", tmp_path / "out.jsonl")
    assert size == (tmp_path / "out.jsonl").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    with (tmp_path / "out.jsonl").open("rb") as stream:
        rows = {row.custom_id: row for row in read_results(stream)}
    expected = embed(["one", "two"], 8)
    for index in range(2):
        row = rows[f"id-{index}"]
        assert isinstance(row, EmbeddedRow)
        assert np.array_equal(row.vector, expected[index])


def test_a_path_is_uploaded_as_a_stream_is(subject: Subject, tmp_path: Path):
    path = tmp_path / "whatever"
    path.write_bytes(b"some bytes\n")
    file_id = subject.provider.upload_file(path, "requests.jsonl")
    subject.provider.download_file(file_id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


def test_a_file_that_fails_validation_fails_the_batch_with_reasons(subject: Subject):
    file_id = subject.provider.upload_file(io.BytesIO(b"{broken\n"), "requests.jsonl")
    batch = subject.finish(subject.provider.create_batch(file_id, {}))
    assert batch.status == "failed"
    assert (batch.errors[0].code, batch.errors[0].line) == ("invalid_json_line", 1)


def test_batches_are_listed_newest_first_and_not_beyond_a_time(subject: Subject):
    file_id = upload(subject, ["x"])
    made = [subject.provider.create_batch(file_id, {}).id for _ in range(3)]
    listed = [batch.id for batch, _ in zip(subject.provider.list_batches(), range(3), strict=False)]
    assert listed == made[::-1]
    assert {*made} <= {batch.id for batch in subject.provider.list_batches(since=time.time() - 60)}
    assert list(subject.provider.list_batches(since=time.time() + 60)) == []


def test_a_lost_reply_leaves_one_batch_that_the_list_shows(subject: Subject):
    file_id = upload(subject, ["x"])
    subject.lose_the_next_creation()
    with pytest.raises(ProviderUnavailable):
        subject.provider.create_batch(file_id, {"mine": "yes"})
    found = [batch for batch in subject.provider.list_batches() if batch.input_file_id == file_id]
    assert [batch.metadata for batch in found] == [{"mine": "yes"}]


def test_a_cancelled_batch_says_so(subject: Subject):
    batch = subject.provider.create_batch(upload(subject, ["x"]), {})
    try:
        assert subject.provider.cancel_batch(batch.id).status == "cancelling"
    except ProviderRefused:  # a quick server may have finished it
        assert subject.provider.get_batch(batch.id).status == "completed"
        return
    assert subject.finish(batch).status == "cancelled"
    with pytest.raises(ProviderRefused, match="409"):
        subject.provider.cancel_batch(batch.id)


def test_what_does_not_exist_is_refused(subject: Subject, tmp_path: Path):
    with pytest.raises(BatchFailed, match="No such File"):
        subject.provider.create_batch("file-nope", {})
    with pytest.raises(ProviderRefused, match="No such File"):
        subject.provider.download_file("file-nope", tmp_path / "x")
    with pytest.raises(ProviderRefused, match="No batch found"):
        subject.provider.get_batch("batch_nope")
    assert list(tmp_path.iterdir()) == []


def test_a_file_can_be_deleted_twice(subject: Subject, tmp_path: Path):
    file_id = upload(subject, ["x"])
    subject.provider.delete_file(file_id)
    subject.provider.delete_file(file_id)
    with pytest.raises(ProviderRefused):
        subject.provider.download_file(file_id, tmp_path / "x")


def test_texts_are_embedded_at_once_in_order(subject: Subject):
    found = subject.provider.embed(["one", "two", "three"], model=MODEL, dimension=12)
    assert found.vectors.dtype == np.float32
    assert np.array_equal(found.vectors, embed(["one", "two", "three"], 12))
    assert found.tokens >= 3
    nothing = subject.provider.embed([], model=MODEL, dimension=12)
    assert (nothing.vectors.shape, nothing.tokens) == ((0, 12), 0)
    with pytest.raises(ProviderRefused, match="empty"):
        subject.provider.embed(["one", ""], model=MODEL, dimension=12)
