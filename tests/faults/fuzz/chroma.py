"""Deltas that are Chroma directories: a valid one, and changes to its files, to what its tables say, to its names.

An input is JSON: the name of each object and its bytes, in base64.
"""

from __future__ import annotations

import base64
import json
import random
import sqlite3
import zipfile
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from tests.faults.fuzz.bytewise import EDGES, mutated
from tests.faults.fuzz.jsonwise import MEGABYTE, PATHS, RAW

DATABASE = "chroma.sqlite3"
_SEED = Path(__file__).with_name("chroma_delta.zip")  # 26 rows of dimension 4: 20 in the index, 6 in the queue
_ENDLESS = (
    "CREATE VIEW {0} AS WITH RECURSIVE endless(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM endless) "
    "SELECT {1} FROM before, endless"
)


@lru_cache(maxsize=1)
def seed() -> dict[str, bytes]:
    """The valid one's files by their names."""
    with zipfile.ZipFile(_SEED) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: dict[str, bytes]) -> bytes:
    return json.dumps({name: base64.b64encode(body).decode() for name, body in files.items()}).encode()


def unpacked(body: bytes) -> dict[str, bytes]:
    """Inverse of `packed`."""
    return {name: base64.b64decode(text) for name, text in json.loads(body).items()}


def make(rng: random.Random) -> bytes:
    """A directory that is changed somewhere."""
    files = dict(seed())
    kind = rng.random()
    name = rng.choice(sorted(files))
    if kind < 0.25:
        files[name] = mutated(files[name], rng)
    elif kind < 0.3:
        files[rng.choice((name, DATABASE))] = rng.choice((b"", rng.randbytes(5_000), files[DATABASE][:4_096]))
    elif kind < 0.4:
        body = files.pop(name)
        if kind < 0.38:
            other = rng.choice([path for path in PATHS if len(path) < 1_024 and path.isprintable()])
            files[rng.choice((other, f"{name}/{other}"))] = body
    else:
        files[DATABASE] = _with_other_values(files[DATABASE], rng)
    return packed(files)


def endless(table: str) -> bytes:
    """A directory in which ``table`` has its rows again and again, without an end."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.deserialize(seed()[DATABASE])
        columns = [f'"{row[1]}"' for row in database.execute(f"PRAGMA table_info({table})")]
        database.execute(f"ALTER TABLE {table} RENAME TO before")
        database.execute(_ENDLESS.format(table, ", ".join(columns)))
        return packed({**seed(), DATABASE: database.serialize()})


def _with_other_values(body: bytes, rng: random.Random) -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.deserialize(body)
        listed = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        tables = [name for (name,) in listed if database.execute(f"SELECT count(*) FROM {name}").fetchone()[0]]  # noqa: S608
        for _ in range(rng.choice((1, 1, 2, 4))):
            table = rng.choice(tables)
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            rows = rng.choice(("1", "rowid = (SELECT max(rowid) FROM {0})", "rowid % 5 = 2")).format(table)
            try:
                if rng.random() < 0.1:
                    database.execute(f"DELETE FROM {table} WHERE {rows}")  # noqa: S608
                else:
                    database.execute(
                        f'UPDATE {table} SET "{rng.choice(columns)}" = ? WHERE {rows}',  # noqa: S608
                        (_value(rng),),
                    )
            except sqlite3.Error:
                continue  # what sqlite itself refuses is in no file
        return database.serialize()


def _value(rng: random.Random) -> object:
    what = rng.random()
    if what < 0.3:
        return rng.choice(EDGES[:-2])
    if what < 0.5:
        return rng.choice([text for text in (*PATHS, *RAW) if text.isprintable()])
    if what < 0.6:
        return MEGABYTE
    if what < 0.8:
        return rng.randbytes(rng.choice((0, 1, 15, 16, 17, 4_096)))
    return rng.choice((None, 1.5, float("inf"), -1e308, "{}", '{"hnsw": {"space": "l3"}}', '{"a": {"b": [1, {}]}}'))
