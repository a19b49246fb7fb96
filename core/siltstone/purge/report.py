"""What a purge removed, and what is still held: until when, why, and what to do about it."""

from __future__ import annotations

from typing import Literal

from siltstone.compaction.messages import Message

Kind = Literal["rows", "body", "batch", "provider", "delta", "quarantine", "version", "index", "staging"]


class Held(Message):
    """What can't be removed yet. ``what``: a key, a prefix, or a name. ``until``: where time alone frees it."""

    kind: Kind
    what: str
    why: str
    remedy: str
    until: str | None = None


class PurgeReport(Message):
    """One run of a purge. ``removed``: object versions (of the provider: files) by kind; ``bytes`` of what was ours.

    ``records``: deletes that this run had to write, by physical collection. Done once ``held`` is empty.
    """

    source_id: str
    first_asked_at: str
    records: dict[str, int]
    removed: dict[Kind, int]
    bytes: int
    held: list[Held]

    @property
    def done(self) -> bool:
        """Whether nothing is left to do, nor to wait for."""
        return not self.held
