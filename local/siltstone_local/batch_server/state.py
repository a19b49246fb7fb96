"""What the server knows, on disk: files as files, everything else in one SQLite database.

Two processes use it, the one that answers and the one that works, so every change is one short transaction and
nothing is held in memory. It survives a kill at any moment.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from siltstone_local.batch_server.faults import BatchFaults

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, purpose TEXT, body TEXT);
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, created REAL, running INTEGER,
    body TEXT, faults TEXT, progress TEXT
);
CREATE INDEX IF NOT EXISTS running_batches ON batches (running);
"""
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass
class Progress:
    """How far the work on a batch is: enough to go on after a restart. Sizes in bytes of the unfinished files."""

    rows: int = 0
    output_bytes: int = 0
    error_bytes: int = 0
    since: float = 0.0  # epoch seconds of the last change of status


@dataclass
class StoredBatch:
    """A batch: the object that the API shows, and what it does not show."""

    body: dict[str, Any]
    created: float
    faults: BatchFaults = field(default_factory=BatchFaults)
    progress: Progress = field(default_factory=Progress)

    @property
    def id(self) -> str:
        return self.body["id"]

    @property
    def status(self) -> str:
        return self.body["status"]

    def move(self, status: str) -> None:
        """Change the status and note when."""
        now = time.time()
        self.body["status"] = status
        self.body[f"{status}_at"] = int(now)
        self.progress.since = now


class State:
    """The server's folder. Cheap to make; every process has its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "files").mkdir(parents=True, exist_ok=True)
        (folder / "work").mkdir(exist_ok=True)
        with self._open() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(_SCHEMA)

    # Files ----------------------------------------------------------------------------------------
    def content(self, file_id: str) -> Path:
        """Where a file's bytes are."""
        return self.folder / "files" / file_id

    def add_file(self, path: Path, *, filename: str, purpose: str) -> dict[str, Any]:
        """Take the file at ``path`` (same disk) into the store: bytes first, so that a listed file is whole."""
        body: dict[str, Any] = {
            "id": f"file-{uuid.uuid4().hex[:22]}",
            "object": "file",
            "bytes": path.stat().st_size,
            "created_at": int(time.time()),
            "filename": filename,
            "purpose": purpose,
            "status": "processed",
        }
        path.replace(self.content(body["id"]))
        with self._open() as db:
            db.execute(
                "INSERT INTO files (id, purpose, body) VALUES (?, ?, ?)", (body["id"], purpose, json.dumps(body))
            )
        return body

    def file(self, file_id: str) -> dict[str, Any] | None:
        with self._open() as db:
            row = db.execute("SELECT body FROM files WHERE id = ?", (file_id,)).fetchone()
        return json.loads(row[0]) if row else None

    def delete_file(self, file_id: str) -> bool:
        with self._open() as db:
            gone = db.execute("DELETE FROM files WHERE id = ?", (file_id,)).rowcount > 0
        if gone:
            self.content(file_id).unlink(missing_ok=True)
        return gone

    def list_files(
        self, purpose: str | None, after: str | None, limit: int, *, newest_first: bool
    ) -> list[dict[str, Any]]:
        """Up to ``limit`` files behind ``after``."""
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        with self._open() as db:
            rows = db.execute(
                f"SELECT body FROM files WHERE (?1 IS NULL OR purpose = ?1) AND (?2 IS NULL OR seq {beyond} "  # noqa: S608
                f"(SELECT seq FROM files WHERE id = ?2)) ORDER BY seq {order} LIMIT ?3",
                (purpose, after, limit),
            ).fetchall()
        return [json.loads(row[0]) for row in rows]

    # Batches --------------------------------------------------------------------------------------
    def add_batch(self, batch: StoredBatch) -> None:
        with self._open() as db:
            db.execute(
                "INSERT INTO batches (id, created, running, body, faults, progress) VALUES (?, ?, 1, ?, ?, ?)",
                (batch.id, batch.created, *_columns(batch)),
            )

    def batch(self, batch_id: str) -> StoredBatch | None:
        with self._open() as db:
            return _read(db, batch_id)

    def update_batch(self, batch_id: str, change: Callable[[StoredBatch], None]) -> StoredBatch:
        """Read, change and write a batch in one transaction; ``change`` may raise to leave it as it is."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            batch = _read(db, batch_id)
            if batch is None:
                raise KeyError(batch_id)
            change(batch)
            db.execute(
                "UPDATE batches SET running = ?, body = ?, faults = ?, progress = ? WHERE id = ?",
                (int(batch.status not in ENDED), *_columns(batch), batch_id),
            )
        return batch

    def running_batches(self) -> list[str]:
        """Ids of the batches that are to be worked on, oldest first."""
        with self._open() as db:
            return [row[0] for row in db.execute("SELECT id FROM batches WHERE running = 1 ORDER BY seq")]

    def list_batches(self, after: str | None, limit: int, *, created_before: float) -> list[dict[str, Any]]:
        """Up to ``limit`` batches behind ``after``, newest first."""
        with self._open() as db:
            rows = db.execute(
                "SELECT body FROM batches WHERE created <= ?1 AND (?2 IS NULL OR seq < "
                "(SELECT seq FROM batches WHERE id = ?2)) ORDER BY seq DESC LIMIT ?3",
                (created_before, after, limit),
            ).fetchall()
        return [json.loads(row[0]) for row in rows]

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        db = sqlite3.connect(self.folder / "state.sqlite3", timeout=30.0)
        try:
            db.execute("PRAGMA synchronous=NORMAL")  # survives a kill; a power cut may lose the last step
            with db:
                yield db
        finally:
            db.close()


def _columns(batch: StoredBatch) -> tuple[str, str, str]:
    return json.dumps(batch.body), batch.faults.model_dump_json(), json.dumps(asdict(batch.progress))


def _read(db: sqlite3.Connection, batch_id: str) -> StoredBatch | None:
    row = db.execute("SELECT body, created, faults, progress FROM batches WHERE id = ?", (batch_id,)).fetchone()
    if row is None:
        return None
    faults = BatchFaults.model_validate_json(row[2])
    return StoredBatch(json.loads(row[0]), row[1], faults, Progress(**json.loads(row[3])))
