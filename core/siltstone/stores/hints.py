"""The delta queue. Its messages are hints: S3's listing is the truth, so losing every one loses nothing."""

from __future__ import annotations

from typing import Protocol


class HintQueue(Protocol):
    """Tells the compaction that a delta was written."""

    def tell(self, *, collection: str, delta_key: str, embedding_count: int) -> None:
        """Send one hint. Never raises for a queue that is down: it logs and returns, since nothing depends on it."""
        ...


class MemoryHints:
    """In-memory twin: keeps what was told."""

    def __init__(self) -> None:
        self.told: list[dict[str, object]] = []

    def tell(self, *, collection: str, delta_key: str, embedding_count: int) -> None:
        self.told.append({"collection": collection, "delta_key": delta_key, "embedding_count": embedding_count})
