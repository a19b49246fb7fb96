"""The batch ledger: one item per OpenAI batch, with its attempts and what became of every record."""

from __future__ import annotations

from typing import Protocol


class Ledger(Protocol):
    """Conditional updates of batch items."""
