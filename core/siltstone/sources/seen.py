"""Which sources a reading has had, so that an id that is there twice is noticed."""

from __future__ import annotations

import hashlib
import sqlite3

from siltstone.sources.problem import SourceProblem
from siltstone.sources.source import Source


class Seen:
    """Which sources a reading has had, and where. On disk beyond some 2 MB, so any number of them."""

    def __init__(self) -> None:
        # The empty name is SQLite's private temporary database: its cache is bounded, and it goes with the connection.
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("CREATE TABLE seen (id BLOB PRIMARY KEY, revision TEXT, place TEXT) WITHOUT ROWID")
        self._rows.execute("BEGIN")

    def note(self, source_id: str, revision: str, place: str) -> tuple[str, bool] | None:
        """``None`` if ``source_id`` is new, else the place where it was first and whether it is the same content."""
        key = hashlib.blake2b(source_id.encode(), digest_size=16).digest()
        row = (key, revision, place)
        if self._rows.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", row).rowcount:
            return None
        first_revision, first_place = self._rows.execute(
            "SELECT revision, place FROM seen WHERE id = ?", (key,)
        ).fetchone()
        return first_place, first_revision == revision

    def repeated(
        self, source: Source, path: str, *, line: int | None = None, row: int | None = None, item: str
    ) -> SourceProblem | None:
        """What is wrong with a source that this reading has had already, else ``None``."""
        place = f"line {line}" if row is None else f"row {row}"
        found = self.note(source.source_id, source.revision, place)
        if found is None:
            return None
        first, same = found
        return SourceProblem(
            path=path,
            line=line,
            row=row,
            item=item,
            what=f"{source.source_id} is in {first} already, {'with the same' if same else 'with other'} content",
            remedy="The first one was taken; remove one of the two, or give it an id of its own.",
            duplicate=same,
        )
