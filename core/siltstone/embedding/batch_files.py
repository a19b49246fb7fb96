"""The files of a batch under ``batches/{batch_id}/attempt-{n}/``: what was sent, and what was decided about each row.

==================  =====================================================================================
``requests.jsonl``  what is uploaded to the provider
``records.parquet`` the same rows with everything that is stored beside the vector; nothing is recomputed
``output.jsonl``    the provider's answers, as they came
``errors.jsonl``    its refusals, as they came
``outcome.parquet`` one decision per row of ``records.parquet``, in its order: written once, create-only
``rejected.jsonl``  the rows that were given up, with the provider's words
==================  =====================================================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from siltstone import keys
from siltstone.embedding.requests import write_requests
from siltstone.records.record import Record
from siltstone.settings import CollectionSettings
from siltstone.sources.state import digest
from siltstone.stores.objects import ObjectStore

REQUESTS = "requests.jsonl"
RECORDS = "records.parquet"
OUTPUT = "output.jsonl"
ERRORS = "errors.jsonl"
OUTCOME = "outcome.parquet"
REJECTED = "rejected.jsonl"

RECORD_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source_id", pa.string()),  # null: an adopted row that belongs to no source
        ("revision", pa.string()),
        ("digest", pa.string()),
        ("document", pa.string()),
        ("input", pa.string()),
        ("input_sha256", pa.string()),
        ("metadata", pa.string()),  # JSON
    ]
)


class BatchFiles:
    """One attempt's files. ``folder``: a private one on disk, big enough for the output file."""

    def __init__(self, store: ObjectStore, batch_id: str, attempt: int, folder: Path) -> None:
        self._store = store
        self._prefix = keys.batch_attempt(batch_id, attempt)
        self._folder = folder

    def path(self, name: str) -> Path:
        """Where a file is on disk."""
        return self._folder / name

    def key(self, name: str) -> str:
        """Where a file is in the delta bucket."""
        return f"{self._prefix}{name}"

    def upload(self, name: str) -> None:
        """Stream a file up from disk."""
        with self.path(name).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self._store.put_file(self.key(name), self.path(name), sha256=sha256)

    def download(self, name: str) -> Path:
        """Stream a file down. Raises `ObjectNotFound`."""
        self._store.get_file(self.key(name), self.path(name))
        return self.path(name)

    def write_batch(self, records: pa.Table, settings: CollectionSettings) -> None:
        """Write and upload the request file and the record file. The same rows give the same requests."""
        rows = zip(_strings(records, "id"), _strings(records, "input"), strict=True)
        write_requests(self.path(REQUESTS), rows, model=settings.model, dimension=settings.dimension)
        pq.write_table(records, self.path(RECORDS), compression="zstd")
        self.upload(RECORDS)
        self.upload(REQUESTS)

    def read_records(self, columns: list[str] | None = None) -> pa.Table:
        """Rows of the record file; see `RECORD_SCHEMA`."""
        if not self.path(RECORDS).exists():
            self.download(RECORDS)
        return pq.read_table(self.path(RECORDS), columns=columns)

    def write_lines(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        """Write and upload a ``.jsonl`` file."""
        with self.path(name).open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.upload(name)


@contextmanager
def batch_files(store: ObjectStore, batch_id: str, attempt: int, workspace: Path) -> Generator[BatchFiles]:
    """The attempt's files, in a folder that is gone afterwards: a warm function starts with an empty disk."""
    workspace.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=workspace, prefix=f"{batch_id}-{attempt}-") as folder:
        yield BatchFiles(store, batch_id, attempt, Path(folder))


def record_table(records: Iterable[Record], revisions: dict[str, str]) -> pa.Table:
    """Records as rows of the record file. ``revisions``: by source id."""
    rows = list(records)
    columns: dict[str, list[str]] = {
        "id": [record.record_id for record in rows],
        "source_id": [record.source_id for record in rows],
        "revision": [revisions[record.source_id] for record in rows],
        "digest": [digest(record) for record in rows],
        "document": [record.document for record in rows],
        "input": [record.input for record in rows],
        "input_sha256": [record.input_sha256 for record in rows],
        "metadata": [json.dumps(record.metadata, ensure_ascii=False, sort_keys=True) for record in rows],
    }
    return pa.table(columns, schema=RECORD_SCHEMA)


def take(table: pa.Table, places: list[int]) -> pa.Table:
    """The rows at these places."""
    return table.take(pa.array(places, pa.int64()))


def group_by_source(table: pa.Table) -> dict[str, list[int]]:
    """Places of each source's rows, without the rows that have none."""
    groups: dict[str, list[int]] = {}
    for place, source_id in enumerate(table.column("source_id").to_pylist()):
        if source_id is not None:
            groups.setdefault(source_id, []).append(place)
    return groups


def distinct(table: pa.Table, column: str) -> list[str]:
    """The distinct values of a column."""
    return pc.unique(table.column(column).drop_null()).to_pylist()  # pyright: ignore


def _strings(table: pa.Table, column: str) -> Iterator[str]:
    for batch in table.select([column]).to_batches(max_chunksize=1_000):
        yield from batch.column(0).to_pylist()
