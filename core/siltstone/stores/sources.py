"""The source table: one item per source, with its revision and its status per collection."""

from __future__ import annotations

from typing import Protocol


class SourceTable(Protocol):
    """Conditional updates of source items."""
