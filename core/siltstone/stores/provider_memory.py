"""In-memory twin of the embedding provider. Batches move only when `MemoryProvider.advance` is called."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from siltstone.clock import Clock
from siltstone.embedding.requests import MAX_BATCH_BYTES, MAX_BATCH_ROWS, MalformedRow, RequestRow, read_requests
from siltstone.errors import BatchFailed, ProviderRefused, SiltstoneError
from siltstone.stores.provider import BatchInfo, BatchProblem, BatchStatus, Embedded, RequestCounts

Embedder = Callable[[Sequence[str], int], NDArray[np.float32]]
"""(n texts, dimension) -> float32 (n, dimension). Deterministic: tests compare bytes."""

End = Literal["completed", "expired", "cancelled"]
_NEXT: dict[BatchStatus, BatchStatus] = {"validating": "in_progress", "in_progress": "finalizing"}


def embeddings_body(model: str, embeddings: Sequence[object], tokens: int) -> dict[str, Any]:
    """Body of an answer of ``/v1/embeddings``; ``embeddings``: base64, or anything that serializes as floats."""
    data = [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(embeddings)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def answered(row_id: str, custom_id: str, status: int, body: dict[str, Any]) -> dict[str, Any]:
    """Row of a request that ran, well or badly: a refusal is ``body["error"]``, not the row's own ``error``."""
    response = {"status_code": status, "request_id": f"req_{row_id}", "body": body}
    return {"id": f"batch_req_{row_id}", "custom_id": custom_id, "response": response, "error": None}


def never_ran(row_id: str, custom_id: str, why: Literal["batch_expired", "batch_cancelled"]) -> dict[str, Any]:
    """Row of a request that an ended batch did not get to."""
    message = {
        "batch_expired": "This request could not be executed before the completion window expired.",
        "batch_cancelled": "This request was not executed because the batch was cancelled.",
    }[why]
    error = {"code": why, "message": message}
    return {"id": f"batch_req_{row_id}", "custom_id": custom_id, "response": None, "error": error}


def encode_vector(vector: NDArray[np.float32]) -> str:
    """float32 (d,) as ``encoding_format: "base64"`` has it: little-endian, exact."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


@dataclass
class _Ordered:
    """What a batch was told to become, for `MemoryProvider.advance` to carry out."""

    end: End = "completed"
    share: float = 1.0  # of the rows that are run before it ends
    failure: BatchProblem | None = None


class MemoryProvider:
    """Implements `siltstone.stores.provider.EmbeddingProvider`; one token per whitespace-separated word.

    ``edit_rows``: changes a batch's result rows before they are written (drop, repeat, reorder, spoil); the ones
    without a status of 200 then go to the error file.
    ``unlisted``: ids of batches that `list_batches` does not show yet.
    ``calls``: how often each method was called.
    """

    def __init__(self, embedder: Embedder, clock: Clock) -> None:
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, BatchInfo] = {}  # oldest first
        self.calls: Counter[str] = Counter()
        self.unlisted: set[str] = set()
        self.edit_rows: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda rows: rows
        self._embedder = embedder
        self._clock = clock
        self._orders: dict[str, _Ordered] = {}
        self._failures: dict[str, list[tuple[SiltstoneError, bool]]] = {}
        self._made = 0

    # What tests decide ----------------------------------------------------------------------------
    def fail_next(self, method: str, error: SiltstoneError, *, done: bool = False) -> None:
        """Let the next call of ``method`` raise ``error``. ``done``: only the reply is lost, the work happens."""
        self._failures.setdefault(method, []).append((error, done))

    def end_as(self, batch_id: str, end: End, *, share: float = 0.5) -> None:
        """Let the batch end as ``end`` after ``share`` of its rows."""
        self._orders[batch_id] = _Ordered(end, share)

    def fail(self, batch_id: str, code: str, message: str) -> None:
        """Let the batch fail its validation (``token_limit_exceeded``, ...)."""
        self._orders[batch_id] = _Ordered(failure=BatchProblem(code, message))

    def advance(self, steps: int = 1) -> None:
        """Move every batch on by ``steps`` statuses: validating, in_progress, finalizing, and its end."""
        for _ in range(steps):
            for batch in list(self.batches.values()):
                if batch.running:
                    self.batches[batch.id] = self._next(batch)

    # The provider ---------------------------------------------------------------------------------
    def upload_file(self, source: Path | BinaryIO, filename: str) -> str:
        body = source.read_bytes() if isinstance(source, Path) else source.read()
        with_reply = self._called("upload_file")
        if not filename.endswith(".jsonl") or len(body) > MAX_BATCH_BYTES:
            raise ProviderRefused(f"Uploading {filename}: HTTP 400: not a .jsonl file of at most 200 MB")
        file_id = self._store(body)
        with_reply()
        return file_id

    def create_batch(self, file_id: str, metadata: Mapping[str, str]) -> BatchInfo:
        with_reply = self._called("create_batch")
        if file_id not in self.files:
            raise BatchFailed(f"Creating a batch: HTTP 400: No such File object: {file_id}")
        batch = BatchInfo(
            self._id("batch_"), "validating", file_id, created_at=int(self._clock.now()), metadata=dict(metadata)
        )
        self.batches[batch.id] = batch
        with_reply()
        return batch

    def get_batch(self, batch_id: str) -> BatchInfo:
        self._called("get_batch")()
        return self._known(batch_id)

    def list_batches(self, *, since: float = 0) -> Iterator[BatchInfo]:
        self._called("list_batches")()
        for batch in reversed(list(self.batches.values())):
            if batch.created_at >= int(since) and batch.id not in self.unlisted:
                yield batch

    def download_file(self, file_id: str, path: Path) -> int:
        self._called("download_file")()
        if file_id not in self.files:
            raise ProviderRefused(f"Downloading file {file_id}: HTTP 404: No such File object: {file_id}")
        return path.write_bytes(self.files[file_id])

    def cancel_batch(self, batch_id: str) -> BatchInfo:
        with_reply = self._called("cancel_batch")
        batch = self._known(batch_id)
        if not batch.running:
            raise ProviderRefused(f"Cancelling batch {batch_id}: HTTP 409: its status is {batch.status}")
        share = {"validating": 0.0, "in_progress": 0.5}.get(batch.status, 1.0)
        self.end_as(batch_id, "cancelled", share=share)
        self.batches[batch_id] = replace(batch, status="cancelling")
        with_reply()
        return self.batches[batch_id]

    def delete_file(self, file_id: str) -> None:
        with_reply = self._called("delete_file")
        self.files.pop(file_id, None)
        with_reply()

    def embed(self, texts: Sequence[str], *, model: str, dimension: int) -> Embedded:
        self._called("embed")()
        if not all(texts):
            raise ProviderRefused(f"Embedding {len(texts)} texts with {model}: HTTP 400: input cannot be empty")
        vectors = self._embedder(texts, dimension) if texts else np.empty((0, dimension), np.float32)
        return Embedded(vectors, sum(_tokens(text) for text in texts))

    # Inside ---------------------------------------------------------------------------------------
    def _called(self, method: str) -> Callable[[], None]:
        """Count the call and raise what was ordered for it; the result raises a lost reply, once the work is done."""
        self.calls[method] += 1
        error, done = (self._failures.get(method) or [(None, False)]).pop(0)
        if error is not None and not done:
            raise error

        def reply() -> None:
            if error is not None:
                raise error

        return reply

    def _known(self, batch_id: str) -> BatchInfo:
        if batch_id not in self.batches:
            raise ProviderRefused(f"HTTP 404: No batch found with id {batch_id!r}")
        return self.batches[batch_id]

    def _id(self, prefix: str) -> str:
        self._made += 1
        return f"{prefix}{self._made:06d}"

    def _store(self, body: bytes) -> str:
        file_id = self._id("file-")
        self.files[file_id] = body
        return file_id

    def _next(self, batch: BatchInfo) -> BatchInfo:
        order = self._orders.get(batch.id, _Ordered())
        if batch.status == "validating":
            problems = (order.failure,) if order.failure else self._validate(batch)
            if problems:
                return replace(batch, status="failed", errors=problems)
        following = _NEXT.get(batch.status)
        return replace(batch, status=following) if following else self._finish(batch, order)

    def _rows(self, batch: BatchInfo) -> list[RequestRow | MalformedRow]:
        return list(read_requests(BytesIO(self.files[batch.input_file_id])))

    def _validate(self, batch: BatchInfo) -> tuple[BatchProblem, ...]:
        rows = self._rows(batch)
        if not rows:
            return (BatchProblem("empty_file", "The batch input file is empty."),)
        if len(rows) > MAX_BATCH_ROWS:
            return (BatchProblem("too_many_tasks", f"The batch has more than {MAX_BATCH_ROWS} requests."),)
        bad = [BatchProblem("invalid_json_line", row.reason, row.line) for row in rows if isinstance(row, MalformedRow)]
        counts = Counter(row.custom_id for row in rows)
        twice = [BatchProblem("duplicate_custom_id", f"{name!r} is not unique.") for name, n in counts.items() if n > 1]
        return (*bad, *twice)

    def _finish(self, batch: BatchInfo, order: _Ordered) -> BatchInfo:
        rows = [row for row in self._rows(batch) if isinstance(row, RequestRow)]
        ran = rows[: int(len(rows) * order.share)] if order.end != "completed" else rows
        why: Literal["batch_expired", "batch_cancelled"] = (
            "batch_expired" if order.end == "expired" else "batch_cancelled"
        )
        results = [self._answer(row) for row in ran]
        results += [never_ran(row.custom_id, row.custom_id, why) for row in rows[len(ran) :]]
        results = self.edit_rows(results)
        output = [row for row in results if (row.get("response") or {}).get("status_code") == 200]
        errors = [row for row in results if (row.get("response") or {}).get("status_code") != 200]
        return replace(
            batch,
            status=order.end,
            output_file_id=self._store(_jsonl(output)) if output else None,
            error_file_id=self._store(_jsonl(errors)) if errors else None,
            request_counts=RequestCounts(len(rows), len(output), len(errors)),
            tokens=sum(_tokens(row.text) for row in ran),
        )

    def _answer(self, row: RequestRow) -> dict[str, Any]:
        vector = self._embedder([row.text], row.dimension or 1536)[0]
        body = embeddings_body(row.model, [encode_vector(vector)], _tokens(row.text))
        return answered(row.custom_id, row.custom_id, 200, body)


def _tokens(text: str) -> int:
    return max(1, len(text.split()))


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
