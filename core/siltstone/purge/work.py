"""One run of a purge: what every step of it needs, and what they gather."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from siltstone.clock import Clock, iso
from siltstone.purge.record import PurgeRecord, update_record
from siltstone.purge.report import Held, Kind
from siltstone.purge.subject import Subject
from siltstone.stores import Stores
from siltstone.stores.objects import ObjectStore, ObjectVersion
from siltstone.stores.vectors import OpenStore


@dataclass
class Purge:
    """``folder``: a private one on disk. ``removed`` counts object versions (of the provider: files)."""

    subject: Subject
    stores: Stores
    clock: Clock
    folder: Path
    open_store: OpenStore
    record: PurgeRecord
    removed: Counter[Kind] = field(default_factory=Counter[Kind])
    records: Counter[str] = field(default_factory=Counter[str])
    bytes: int = 0
    held: list[Held] = field(default_factory=list[Held])

    def note(self, change: Callable[[PurgeRecord], PurgeRecord]) -> None:
        """Remember something: always before what it speaks of is removed."""
        self.record = update_record(self.stores.deltas, self.subject.source_id, self.clock, change)

    def remove(self, kind: Kind, store: ObjectStore, entries: Sequence[ObjectVersion]) -> None:
        """Take entries out of their bucket's history for good.

        Delete markers last: one that went before what it hides would bring that back, if the purge stopped in between.
        """
        for markers in (False, True):
            some = [entry for entry in entries if entry.is_delete_marker == markers]
            if some:
                store.delete_versions(some)
        self.removed[kind] += sum(not entry.is_delete_marker for entry in entries)
        self.bytes += sum(entry.size for entry in entries)

    def hold(self, kind: Kind, what: str, why: str, remedy: str, *, until: float | None = None) -> None:
        """Something stays for now. ``until``: epoch seconds."""
        end = None if until is None else iso(until)
        self.held.append(Held(kind=kind, what=what, why=why, remedy=remedy, until=end))
