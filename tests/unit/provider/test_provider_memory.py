"""What the twin in memory does for fault tests, beyond the contract."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from siltstone.clock import ManualClock
from siltstone.embedding.requests import EmbeddedRow, RefusedRow, ResultRow, read_results, request_line
from siltstone.errors import ProviderUnavailable
from siltstone.stores.provider import BatchInfo
from siltstone.stores.provider_memory import MemoryProvider, answered
from siltstone_local.embedder import embed


@pytest.fixture
def provider() -> MemoryProvider:
    return MemoryProvider(embed, ManualClock())


def submit(provider: MemoryProvider, rows: int = 4) -> BatchInfo:
    lines = (request_line(f"id-{i}", f"text {i}", model="m", dimension=8) for i in range(rows))
    return provider.create_batch(provider.upload_file(io.BytesIO(b"".join(lines)), "r.jsonl"), {})


def rows(provider: MemoryProvider, file_id: str | None) -> list[ResultRow]:
    return list(read_results(io.BytesIO(provider.files[file_id]))) if file_id else []


def test_a_batch_moves_only_when_told(provider: MemoryProvider):
    batch = submit(provider)
    seen = []
    for _ in range(4):
        seen.append(provider.get_batch(batch.id).status)
        provider.advance()
    assert seen == ["validating", "in_progress", "finalizing", "completed"]
    ended = provider.get_batch(batch.id)
    provider.advance(3)
    assert provider.get_batch(batch.id) == ended


@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_a_batch_can_end_half_done(provider: MemoryProvider, end: str):
    batch = submit(provider)
    provider.end_as(batch.id, end)
    provider.advance(3)
    batch = provider.get_batch(batch.id)
    assert batch.status == end
    assert [row.custom_id for row in rows(provider, batch.output_file_id)] == ["id-0", "id-1"]
    assert [
        (row.custom_id, row.code) for row in rows(provider, batch.error_file_id) if isinstance(row, RefusedRow)
    ] == [
        ("id-2", f"batch_{end}"),
        ("id-3", f"batch_{end}"),
    ]


def test_a_batch_can_be_failed(provider: MemoryProvider):
    batch = submit(provider)
    provider.fail(batch.id, "token_limit_exceeded", "Enqueued token limit reached")
    provider.advance()
    assert provider.get_batch(batch.id).status == "failed"
    assert provider.get_batch(batch.id).errors[0].code == "token_limit_exceeded"


def test_result_rows_can_be_changed_and_refused_ones_go_to_the_error_file(provider: MemoryProvider):
    refused = answered("x", "id-1", 429, {"error": {"code": "rate_limit", "message": "slow down"}})
    provider.edit_rows = lambda found: [found[3], found[0], found[0], refused]
    batch = submit(provider)
    provider.advance(3)
    batch = provider.get_batch(batch.id)
    assert [row.custom_id for row in rows(provider, batch.output_file_id)] == ["id-3", "id-0", "id-0"]
    assert rows(provider, batch.error_file_id) == [RefusedRow(1, "id-1", "rate_limit", "slow down", 429)]


def test_a_failed_call_does_nothing_and_a_lost_reply_does_it(provider: MemoryProvider):
    for done, batches in ((False, 0), (True, 1)):
        provider.fail_next("create_batch", ProviderUnavailable("no answer"), done=done)
        with pytest.raises(ProviderUnavailable):
            submit(provider)
        assert len(provider.batches) == batches
    assert submit(provider).status == "validating"
    assert provider.calls["create_batch"] == 3


def test_a_new_batch_can_be_missing_from_the_list(provider: MemoryProvider):
    batch = submit(provider)
    provider.unlisted.add(batch.id)
    assert list(provider.list_batches()) == []
    provider.unlisted.clear()
    assert [found.id for found in provider.list_batches()] == [batch.id]


def test_repeated_ids_fail_the_validation(provider: MemoryProvider, tmp_path: Path):
    line = request_line("same", "text", model="m", dimension=8)
    batch = provider.create_batch(provider.upload_file(io.BytesIO(line * 2), "r.jsonl"), {})
    provider.advance()
    assert provider.get_batch(batch.id).errors[0].code == "duplicate_custom_id"


def test_vectors_are_the_embedders(provider: MemoryProvider):
    batch = submit(provider, rows=1)
    provider.advance(3)
    (row,) = rows(provider, provider.get_batch(batch.id).output_file_id)
    assert isinstance(row, EmbeddedRow)
    assert row.vector.tobytes() == embed(["text 0"], 8)[0].tobytes()
