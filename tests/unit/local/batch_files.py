"""What the batch server's tests share: request files, polling, reading results."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import openai
from openai.types import Batch
from siltstone.embedding.requests import ResultRow, read_results, request_line

MODEL = "text-embedding-3-small"


def request_file(rows: int, dimension: int = 16) -> bytes:
    return b"".join(request_line(f"id-{i}", f"text number {i}", model=MODEL, dimension=dimension) for i in range(rows))


def submit(client: openai.OpenAI, content: bytes, **metadata: str) -> Batch:
    uploaded = client.files.create(file=("requests.jsonl", io.BytesIO(content)), purpose="batch")
    return client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/embeddings", completion_window="24h", metadata=metadata
    )


def wait_for(client: openai.OpenAI, batch: Batch, *statuses: str) -> Batch:
    """Poll until the batch has one of ``statuses``, or (if none is named) has ended."""
    ended = ("completed", "failed", "expired", "cancelled")
    deadline = time.monotonic() + 30
    while batch.status not in (statuses or ended):
        assert time.monotonic() < deadline, batch
        assert not (statuses and batch.status in ended), batch
        time.sleep(0.01)
        batch = client.batches.retrieve(batch.id)
    return batch


def run(client: openai.OpenAI, content: bytes) -> Batch:
    return wait_for(client, submit(client, content))


def raw_rows(client: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    return [json.loads(line) for line in client.files.content(file_id).read().splitlines()]


def results(client: openai.OpenAI, file_id: str | None) -> list[ResultRow]:
    return list(read_results(io.BytesIO(client.files.content(file_id).read()))) if file_id else []
