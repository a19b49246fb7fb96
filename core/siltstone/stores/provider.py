"""The embedding provider: files, batches and embeddings, as OpenAI offers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]

RUNNING: frozenset[BatchStatus] = frozenset({"validating", "in_progress", "finalizing", "cancelling"})


@dataclass(frozen=True)
class BatchProblem:
    """Why a batch failed validation: one entry of the provider's list, in its words."""

    code: str
    message: str
    line: int | None = None  # of the input file, from 1


@dataclass(frozen=True)
class RequestCounts:
    """How far a batch is. All zero until it was validated."""

    total: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True)
class BatchInfo:
    """A batch as the provider describes it. ``created_at``: epoch seconds, whole, by the provider's clock.

    An expired or cancelled batch keeps an output file with what was finished. A file id is ``None`` where there
    is no such file (yet): a batch without a single success has no output file, one without errors no error file.
    """

    id: str
    status: BatchStatus
    input_file_id: str
    created_at: int
    output_file_id: str | None = None
    error_file_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    errors: tuple[BatchProblem, ...] = ()
    request_counts: RequestCounts = RequestCounts()
    tokens: int | None = None  # billed input tokens, once known

    @property
    def running(self) -> bool:
        """Whether the status will still change by itself."""
        return self.status in RUNNING


@dataclass(frozen=True, eq=False)
class Embedded:
    """``vectors``: float32 (n, dimension), in the order of the texts. ``tokens``: what the provider bills."""

    vectors: NDArray[np.float32]
    tokens: int


class EmbeddingProvider(Protocol):
    """Every method raises `ProviderUnavailable` (429, 5xx, time-out, lost connection: the same call may be made
    again) or `ProviderRefused` (any other 4xx, with the provider's words). No message holds the API key.
    """

    def upload_file(self, source: Path | BinaryIO, filename: str) -> str:
        """Stream a request file up and return its id. ``filename`` ends in ``.jsonl``. A repeat makes a second file."""
        ...

    def create_batch(self, file_id: str, metadata: Mapping[str, str]) -> BatchInfo:
        """Buy a batch over an uploaded file: exactly one call, never repeated inside.

        After `ProviderUnavailable` it is **unknown** whether the batch was made: look `list_batches` up before
        buying again. `BatchFailed`: refused, nothing was made.
        ``metadata``: at most 16 pairs, keys up to 64 and values up to 512 characters.
        """
        ...

    def get_batch(self, batch_id: str) -> BatchInfo:
        """The batch as it is now."""
        ...

    def list_batches(self, *, since: float = 0) -> Iterator[BatchInfo]:
        """All batches created at or after ``since`` (epoch seconds), newest first, every page.

        A new batch can be missing from the list for some seconds.
        """
        ...

    def download_file(self, file_id: str, path: Path) -> int:
        """Stream a file into ``path`` (parents exist; replaced only when complete) and return its size in bytes."""
        ...

    def cancel_batch(self, batch_id: str) -> BatchInfo:
        """Ask for cancellation; the batch is ``cancelling`` for a while and keeps what was finished."""
        ...

    def delete_file(self, file_id: str) -> None:
        """Delete a file. A missing one is no error."""
        ...

    def embed(self, texts: Sequence[str], *, model: str, dimension: int) -> Embedded:
        """Embed at once, at the full price, in as many requests as the API's limits ask for.

        Every vector that is returned is finite and has ``dimension`` components.
        """
        ...
