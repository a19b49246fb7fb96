"""Indexes, namespaces and vectors in one SQLite file: a killed server has lost nothing that it answered."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from siltstone_local.pinecone_server.indexes import IndexSpec

DEFAULT_NAMESPACE = "__default__"  # the name of the namespace of requests that name none
_TABLES = """
CREATE TABLE IF NOT EXISTS indexes (name TEXT PRIMARY KEY, spec TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS namespaces (
    index_name TEXT, name TEXT, state INTEGER NOT NULL, PRIMARY KEY (index_name, name)
);
CREATE TABLE IF NOT EXISTS vectors (
    index_name TEXT, namespace TEXT, id TEXT, dense BLOB NOT NULL, sparse BLOB, metadata BLOB,
    PRIMARY KEY (index_name, namespace, id)
);
"""
_WRITE = "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?, ?, ?)"
_READ = "SELECT id, dense, sparse, metadata FROM vectors WHERE index_name = ? AND namespace = ?"
_LIST = "SELECT id FROM vectors WHERE index_name = ? AND namespace = ? AND id > ? AND id >= ?"
_DELETE = "DELETE FROM vectors WHERE index_name = ? AND namespace = ?"


@dataclass(frozen=True)
class Vector:
    """A vector as it is kept. ``dense``: empty for one that is sparse alone; ``metadata`` None: it has none."""

    id: str
    dense: NDArray[np.float32]
    sparse: dict[str, list[Any]] | None = None  # {"indices": [int, ...], "values": [float, ...]}
    metadata: dict[str, Any] | None = None


class Store:
    """What the server knows. Another process may write to the same folder (see ``seed``) while it runs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(folder / "pinecone.sqlite3", check_same_thread=False, isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA busy_timeout = 20000;"
        )
        self._database.executescript(_TABLES)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Nobody writes between what is read and written within; all of it is written or nothing."""
        with self._lock:
            if self._database.in_transaction:  # within another, whose end decides
                yield self._database
                return
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    # Indexes --------------------------------------------------------------------------------------
    def indexes(self) -> list[IndexSpec]:
        """All, by name."""
        return [IndexSpec.model_validate_json(row[0]) for row in self._rows("SELECT spec FROM indexes ORDER BY name")]

    def index(self, name: str) -> IndexSpec | None:
        rows = self._rows("SELECT spec FROM indexes WHERE name = ?", name)
        return IndexSpec.model_validate_json(rows[0][0]) if rows else None

    def put_index(self, spec: IndexSpec) -> None:
        with self.transaction() as database:
            database.execute("INSERT OR REPLACE INTO indexes VALUES (?, ?)", (spec.name, spec.model_dump_json()))

    def delete_index(self, name: str) -> None:
        with self.transaction() as database:
            database.execute("DELETE FROM indexes WHERE name = ?", (name,))
            database.execute("DELETE FROM vectors WHERE index_name = ?", (name,))
            database.execute("DELETE FROM namespaces WHERE index_name = ?", (name,))

    # Namespaces -----------------------------------------------------------------------------------
    def namespaces(self, index: str) -> dict[str, int]:
        """How many vectors are in each, by name."""
        rows = self._rows(
            "SELECT name, (SELECT COUNT(*) FROM vectors WHERE index_name = n.index_name AND namespace = n.name)"
            " FROM namespaces n WHERE index_name = ? ORDER BY name",
            index,
        )
        return dict(rows)

    def add_namespace(self, index: str, namespace: str) -> None:
        with self.transaction():
            self._changed(index, namespace)

    def delete_namespace(self, index: str, namespace: str) -> None:
        with self.transaction() as database:
            database.execute(_DELETE, (index, namespace))
            database.execute("DELETE FROM namespaces WHERE index_name = ? AND name = ?", (index, namespace))

    def state(self, index: str, namespace: str) -> int | None:
        """A number that is another one after every change. None: there is no such namespace."""
        rows = self._rows("SELECT state FROM namespaces WHERE index_name = ? AND name = ?", index, namespace)
        return rows[0][0] if rows else None

    # Vectors --------------------------------------------------------------------------------------
    def put(self, index: str, namespace: str, vectors: Iterable[Vector]) -> None:
        """Write all of them or none. The namespace comes into being with its first vector."""
        rows = [(index, namespace, *_row(vector)) for vector in vectors]
        with self.transaction() as database:
            database.executemany(_WRITE, rows)
            self._changed(index, namespace)

    def get(self, index: str, namespace: str, ids: Iterable[str]) -> list[Vector]:
        """Those of ``ids`` that exist, in their order."""
        query = f"{_READ} AND id = ?"
        with self._lock:
            found = [self._database.execute(query, (index, namespace, id_)).fetchone() for id_ in dict.fromkeys(ids)]
        return [_vector(row) for row in found if row]

    def all(self, index: str, namespace: str) -> list[Vector]:
        """By id, in the order of its bytes."""
        return [_vector(row) for row in self._rows(f"{_READ} ORDER BY id", index, namespace)]

    def list_ids(self, index: str, namespace: str, *, prefix: str, after: str, limit: int) -> list[str]:
        """Up to ``limit`` ids behind ``after`` that begin with ``prefix``, in the order of their bytes."""
        query = _LIST
        values: list[object] = [index, namespace, after, prefix]
        if prefix:  # ids are ASCII: nothing that begins with the prefix comes behind this
            query, values = f"{query} AND id < ?", [*values, prefix + "\x7f" * 513]
        return [row[0] for row in self._rows(f"{query} ORDER BY id LIMIT ?", *values, limit)]

    def delete(self, index: str, namespace: str, ids: Sequence[str]) -> None:
        with self.transaction() as database:
            places = [(index, namespace, id_) for id_ in ids]
            database.executemany(f"{_DELETE} AND id = ?", places)
            self._changed(index, namespace)

    def delete_all(self, index: str, namespace: str) -> None:
        """The namespace stays, empty."""
        with self.transaction() as database:
            database.execute(_DELETE, (index, namespace))
            self._changed(index, namespace)

    # Inside ---------------------------------------------------------------------------------------
    def _changed(self, index: str, namespace: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO namespaces VALUES (?, ?, random())", (index, namespace))

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            return self._database.execute(query, values).fetchall()


def _row(vector: Vector) -> tuple[object, ...]:
    sparse = None if vector.sparse is None else orjson.dumps(vector.sparse)
    metadata = None if vector.metadata is None else orjson.dumps(vector.metadata)
    return vector.id, np.asarray(vector.dense, np.float32).tobytes(), sparse, metadata


def _vector(row: tuple[str, bytes, bytes | None, bytes | None]) -> Vector:
    id_, dense, sparse, metadata = row
    return Vector(
        id_,
        np.frombuffer(dense, np.float32),
        None if sparse is None else orjson.loads(sparse),
        None if metadata is None else orjson.loads(metadata),
    )
