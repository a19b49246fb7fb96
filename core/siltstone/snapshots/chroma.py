"""A snapshot's directory through Chroma's public API, with what was measured about it written down.

- ``sync_threshold`` is 1 while loading: every writing call flushes the index once. A threshold above the batch size
  makes loading quadratic and swells sqlite. It is set back at the end, for whoever writes to a copy of the snapshot.
- There is no public flush. A threshold that is set *before* anything made Chroma load the index makes the loading
  apply and save what waits in the queue; set later it only counts for the next write (1.5.9).
- Vectors go in as one array; lists of floats cost memory. ``embedding_function=None`` always: else Chroma would embed
  texts with a model of another dimension.
- How many threads build the index is the environment's ``RAYON_NUM_THREADS``; Chroma ignores its own setting.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from siltstone.errors import BadRecord, DiskFull, SiltstoneError, SnapshotDamaged
from siltstone.settings import HnswSettings, Space
from siltstone.stores.vectors import MAX_BATCH, CollectionSpec, Finding, Metadata, Rows, Vectors

if TYPE_CHECKING:
    from chromadb import Collection
    from chromadb.api.client import Client

SQLITE_FILE = "chroma.sqlite3"
_LOADING_THRESHOLD = 1
DEFAULT_THRESHOLD = 1_000  # Chroma's own
_FULL_BYTES = 2**20
_READ_BATCH = 1_000  # rows; vectors come back as Python floats, some 50 KB a row at 1,536 dimensions


def persistent_client(folder: Path) -> Client:
    """A client that keeps ``folder`` open until its ``close()``; it sends no telemetry."""
    import chromadb  # noqa: PLC0415  half a second: only for those who open a directory
    from chromadb.config import Settings  # noqa: PLC0415

    client = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
    return cast("Client", client)  # typed as ClientAPI, which lacks close()


def hnsw_configuration(spec: CollectionSpec, sync_threshold: int = DEFAULT_THRESHOLD) -> dict[str, Any]:
    """The ``configuration`` of `create_collection`: ``space`` can't be changed later."""
    return {"hnsw": {"space": spec.space, **spec.hnsw.model_dump(), "sync_threshold": sync_threshold}}


def open_chroma(folder: Path, spec: CollectionSpec) -> ChromaStore:
    """Open the collection ``spec.name`` in ``folder``; make both where the folder is missing or empty.

    A folder that holds something but no sqlite file raises `SnapshotDamaged`: Chroma would quietly start anew in it.
    """
    empty = not folder.exists() or not any(folder.iterdir())
    if not empty and not (folder / SQLITE_FILE).is_file():
        raise SnapshotDamaged(f"{folder.name} has no {SQLITE_FILE}.", remedy="Run `siltstone verify`.")
    with translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
        client = persistent_client(folder)
        try:
            return ChromaStore(folder, client, _collection(client, spec, create=empty))
        except BaseException:
            client.close()
            raise


class ChromaStore:
    """`siltstone.stores.vectors.VectorStore` over chromadb. Not for two threads; one process per directory."""

    def __init__(self, folder: Path, client: Client, collection: Collection) -> None:
        self._folder = folder
        self._client = client
        self._collection = collection

    @property
    def collection(self) -> Collection:
        """Chroma's own handle."""
        return self._collection

    def count(self) -> int:
        with translated(self._folder):
            return self._collection.count()

    def spec(self) -> CollectionSpec:
        # The handle keeps what it was opened with, and the first row decides the dimension: ask again.
        with translated(self._folder):
            model = self._client.get_collection(self._collection.name, embedding_function=None).get_model()
        hnsw: dict[str, Any] = model.configuration_json["hnsw"]
        values = HnswSettings(**{name: hnsw[name] for name in HnswSettings.model_fields})
        return CollectionSpec(model.name, model.dimension or 0, cast(Space, hnsw["space"]), values)

    def ids(self) -> list[str]:
        with translated(self._folder):
            return sorted(self._collection.get(include=[])["ids"])

    def known(self, ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        with translated(self._folder):
            for batch in _slices(ids, MAX_BATCH):
                found.update(self._collection.get(ids=batch, include=[])["ids"])
        return found

    def get(self, ids: Sequence[str]) -> Rows:
        pages = [self._page(batch) for batch in _slices(ids, _READ_BATCH)]
        filled = [page.embeddings for page in pages if len(page)]
        return Rows(
            [row for page in pages for row in page.ids],
            np.concatenate(filled) if filled else np.zeros((0, 0), np.float32),
            [document for page in pages for document in page.documents],
            [metadata for page in pages for metadata in page.metadatas],
        )

    def insert(self, rows: Rows) -> None:
        for batch in rows.batches():
            with translated(self._folder):
                self._collection.upsert(
                    ids=batch.ids,
                    embeddings=np.ascontiguousarray(batch.embeddings, np.float32),
                    # Chroma refuses {}: a row without metadata is one with None.
                    metadatas=cast(Any, [metadata or None for metadata in batch.metadatas]),
                    documents=cast(Any, batch.documents),
                )

    def patch_metadata(self, ids: Sequence[str], patches: Sequence[Mapping[str, Any]]) -> None:
        for start in range(0, len(ids), MAX_BATCH):
            cut = slice(start, start + MAX_BATCH)
            with translated(self._folder):
                self._collection.update(ids=list(ids[cut]), metadatas=[dict(patch) for patch in patches[cut]])

    def delete(self, ids: Sequence[str]) -> None:
        for batch in _slices(ids, MAX_BATCH):
            with translated(self._folder):
                self._collection.delete(ids=batch)

    def nearest(self, vectors: Vectors) -> list[float]:
        with translated(self._folder):
            answer = self._collection.query(query_embeddings=vectors, n_results=1, include=["distances"])
        return [row[0] if row else float("inf") for row in answer["distances"] or []]

    def close(self) -> None:
        self._client.close()

    def finish(self) -> list[Finding]:
        with translated(self._folder):
            self._collection.modify(configuration={"hnsw": {"sync_threshold": DEFAULT_THRESHOLD}})
        self.close()
        return _compact_sqlite(self._folder / SQLITE_FILE)

    def _page(self, ids: list[str]) -> Rows:
        with translated(self._folder):
            found = self._collection.get(ids=ids, include=["embeddings", "documents", "metadatas"])
        place = {row: number for number, row in enumerate(found["ids"])}  # Chroma answers in its own order
        order = [place[row] for row in ids if row in place]
        documents = cast("list[str | None]", found["documents"])
        metadatas = cast("list[Metadata | None]", found["metadatas"])
        return Rows(
            [found["ids"][at] for at in order],
            np.asarray(found["embeddings"], np.float32)[order],
            [documents[at] for at in order],
            [dict(metadatas[at] or {}) for at in order],
        )


def _collection(client: Client, spec: CollectionSpec, *, create: bool) -> Collection:
    if create:
        return client.create_collection(
            spec.name,
            configuration=cast(Any, hnsw_configuration(spec, _LOADING_THRESHOLD)),
            embedding_function=None,
        )
    return _flushed(client, spec.name)


def _flushed(client: Client, name: str) -> Collection:
    """A collection that this client did not use yet, with nothing left in its queue, and set for loading."""
    collection = client.get_collection(name, embedding_function=None)
    collection.modify(configuration={"hnsw": {"sync_threshold": _LOADING_THRESHOLD}})
    collection.count()
    return collection


def flush(folder: Path, names: Iterable[str]) -> None:
    """Flush collections of a closed directory that were written with Chroma's own threshold."""
    with translated(folder), closing(persistent_client(folder)) as client:
        for name in names:
            _flushed(client, name).modify(configuration={"hnsw": {"sync_threshold": DEFAULT_THRESHOLD}})


def _compact_sqlite(path: Path) -> list[Finding]:
    """Vacuum and analyze (filtered reads are three times faster after it) the closed file, then verify it."""
    with translated(path.parent), closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("VACUUM")
        database.execute("ANALYZE")
        verdict = str(database.execute("PRAGMA integrity_check(5)").fetchone()[0])
        queued = int(database.execute("SELECT count(*) FROM embeddings_queue").fetchone()[0])
    # One row stays for ever: sequence numbers would start again without it, and later writes would be lost silently.
    return [
        Finding("sqlite_integrity", verdict == "ok", "" if verdict == "ok" else verdict[:300]),
        Finding("queue_flushed", queued <= 1, f"{queued} rows in the queue"),
    ]


def _slices(ids: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(ids), size):
        yield list(ids[start : start + size])


@contextmanager
def translated(folder: Path, refused: type[SiltstoneError] = BadRecord) -> Generator[None]:
    """Chroma's and sqlite's errors as the family's: neither a full disk nor a refused argument is damage."""
    from chromadb.errors import ChromaError  # noqa: PLC0415

    try:
        yield
    except (ChromaError, sqlite3.Error, OSError, ValueError, TypeError) as error:
        text = str(error)[:300]
        if _disk_is_full(folder, error):
            raise DiskFull(
                f"No room for {folder.name}.", remedy="Give the function more disk, or shard the collection."
            ) from error
        if isinstance(error, (ValueError, TypeError)) or (isinstance(error, ChromaError) and error.code() == 400):
            raise refused(f"Chroma refuses it: {text}.") from error
        if isinstance(error, (ChromaError, sqlite3.Error)):
            raise SnapshotDamaged(f"{folder.name}: {text}.", remedy="Run `siltstone verify`.") from error
        raise


def _disk_is_full(folder: Path, error: Exception) -> bool:
    """Chroma speaks of a full disk as of any failure of its index; sqlite gives room back when it rolls back."""
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    if isinstance(error, (ValueError, TypeError)):
        return False
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return "disk is full" in str(error) or shutil.disk_usage(place).free < _FULL_BYTES
