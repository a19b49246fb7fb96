"""The operations of a run, at most one for each id, as Parquet files of bounded size in staging."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from siltstone.compaction.documents import Part, StagedFile
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import DeltaHeader, encode
from siltstone.stores.objects import ObjectStore

_UPLOADS = 3  # parts on their way at once: they are held in memory


class LastOperations:
    """Takes deltas from the newest to the oldest and keeps the first operation that it sees of each id: the last one.

    Only the ids are remembered, and the rows of the part that is being filled.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def keep(self, rows: DeltaRows) -> DeltaRows:
        """Those of ``rows`` that no newer delta hides. No id is in ``rows`` twice."""
        fresh = np.flatnonzero(np.fromiter((row_id not in self._seen for row_id in rows.ids), np.bool_, len(rows)))
        self._seen.update(rows.ids)
        return rows if len(fresh) == len(rows) else rows.take(fresh)


class PartWriter:
    """Cuts rows into parts of ``part_rows`` and writes them under ``prefix`` while the next ones are read.

    Use it as a context.
    """

    def __init__(self, store: ObjectStore, prefix: str, header: DeltaHeader, part_rows: int) -> None:
        self._store = store
        self._prefix = prefix
        self._header = header
        self._part_rows = part_rows
        self._waiting: list[DeltaRows] = []
        self._pool = ThreadPoolExecutor(_UPLOADS)
        self._uploads: deque[Future[Part]] = deque()
        self._done: list[Part] = []
        self._number = 0

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, rows: DeltaRows) -> None:
        """Take rows; write every part that is full."""
        if len(rows):
            self._waiting.append(rows)
        while sum(len(waiting) for waiting in self._waiting) >= self._part_rows:
            whole = DeltaRows.concat(self._waiting)
            self._write(whole.slice(0, self._part_rows))
            self._waiting = [whole.slice(self._part_rows, len(whole))] if len(whole) > self._part_rows else []

    def finish(self) -> list[Part]:
        """Write what is left and return all parts. Raises what an upload raised."""
        if self._waiting:
            self._write(DeltaRows.concat(self._waiting))
            self._waiting = []
        while self._uploads:
            self._done.append(self._uploads.popleft().result())
        return self._done

    def _write(self, rows: DeltaRows) -> None:
        while len(self._uploads) >= _UPLOADS:
            self._done.append(self._uploads.popleft().result())
        self._uploads.append(self._pool.submit(self._upload, f"part-{self._number:05d}.parquet", rows))
        self._number += 1

    def _upload(self, path: str, rows: DeltaRows) -> Part:
        header = self._header.model_copy(update={"delta_id": path, "count": len(rows)})
        body = encode(rows, header)
        key = self._prefix + path
        etag = self._store.put(key, body)  # the prefix is this attempt's alone
        file = StagedFile(path=path, key=key, etag=etag, size=len(body), sha256=hashlib.sha256(body).hexdigest())
        return Part(file=file, upserts=rows.upsert_count, deletes=len(rows) - rows.upsert_count)
