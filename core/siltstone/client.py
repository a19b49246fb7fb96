"""``ChromaDBClient``: one directory or one delta to write, with the mode saying what may be done to it.

============  =================================  ============================================================
mode          what it is for                     what it does
============  =================================  ============================================================
``read``      queries over a fetched snapshot    never writes into the directory, which may be mounted
                                                 read-only; every write raises `ReadOnlyClient`
``snapshot``  a local directory, read and        collections come to be with their first write
              written
``delta``     producers                          gathers upserts and deletes in memory, uploads them as one
                                                 delta; reads nothing
============  =================================  ============================================================

A row written by `upsert_vectors` is exactly what was sent, in both writing modes: nothing of an earlier row stays.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast

from numpy.typing import ArrayLike

from siltstone import keys
from siltstone.client_delta import PendingOperations, target_of
from siltstone.client_query import CollectionHandle, Embed, as_vectors, embedding_query, query_vectors
from siltstone.clock import Clock, SystemClock
from siltstone.compaction.merge_rows import apply_operations
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.produce import ProducerStores
from siltstone.deltas.validate import validate_rows
from siltstone.errors import BadQuery, BadRecord, InvalidInput, ReadOnlyClient
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.snapshots.chroma import ChromaStore, translated
from siltstone.snapshots.directory import ChromaDirectory
from siltstone.stores.vectors import CollectionSpec

Mode = Literal["read", "delta", "snapshot"]
_READS = frozenset({"id", "name", "metadata", "configuration_json", "count", "get", "peek", "query"})
_WRITES = frozenset({"add", "upsert", "update", "delete", "modify"})


class ChromaDBClient:
    """See the module. A context manager; ``close()`` releases every file, and any later use raises `InvalidInput`.

    ``settings`` say what a collection is made of when it is first written; one that exists stays what it is.
    ``use_persistent_client=False``: a directory of its own that is gone when it is closed, for tests; ``mode`` is then
    ``snapshot`` unless given, else ``read``. ``embed`` turns texts into float32 (n, dimension) for ``query_texts``, by
    the model that the collection was made with, never Chroma's default one; ``embeds`` says which, by the collection's
    name, where they differ. Safe for several threads: writes come one after the other.
    """

    def __init__(
        self,
        persist_directory: str | Path | None = None,
        mode: Mode | None = None,
        *,
        settings: CollectionBook | None = None,
        use_persistent_client: bool = True,
        embed: Embed | None = None,
        embeds: Callable[[str], Embed] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._mode = mode or ("read" if use_persistent_client else "snapshot")
        if self._mode not in {"read", "delta", "snapshot"}:
            raise InvalidInput(f"There is no mode {mode!r}.", remedy="Use read, delta or snapshot.")
        if self._mode != "delta" and use_persistent_client == (persist_directory is None):
            raise InvalidInput(
                "A client needs either a persist_directory or use_persistent_client=False.",
                remedy="Say where the snapshot is, or that nothing shall outlive the client.",
            )
        self._settings = settings or CollectionBook()
        self._embed = embed
        self._embeds = embeds
        self._writing = threading.RLock()
        self._clock = clock or SystemClock()
        self._pending = PendingOperations()
        self._written: set[str] = set()
        self._closed = False
        self._stack = ExitStack()  # a directory of our own
        if persist_directory is None:
            persist_directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="siltstone-client-"))
        self._directory = Path(persist_directory)
        self._chroma = ChromaDirectory(self._directory, read_only=self._mode == "read")

    # Writing ------------------------------------------------------------------------------------------
    def upsert_vectors(
        self,
        collection: str,
        ids: Sequence[str],
        embeddings: ArrayLike,
        documents: Sequence[str | None] | None = None,
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Write at most 50,000 rows; ``embeddings``: (n, dimension).

        Raises `BadRecord`, `BadDelta` naming the row, `UnknownCollection` if no setting matches the name.
        """
        self._check_writable("upsert_vectors")
        vectors = as_vectors(embeddings, BadRecord)
        for name, column in (("embeddings", vectors), ("documents", documents), ("metadatas", metadatas)):
            if column is not None and len(column) != len(ids):
                raise BadRecord(f"There are {len(ids)} ids and {len(column)} {name}.", remedy="Send one for each id.")
        self._write(collection, DeltaRows.upserts(ids, vectors, documents, metadatas))

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Delete rows by id; an id without a row is no error. Raises `UnknownCollection`: deleting makes nothing."""
        self._check_writable("delete")
        if self._mode == "snapshot":
            self._store(collection)
        self._write(collection, DeltaRows.deletions(ids, self._settings_of(collection).dimension))

    def persist_and_upload_delta(
        self, bucket: str | ProducerStores, prefix: str = keys.DELTAS, *, collection: str | None = None
    ) -> str:
        """Write what was gathered for ``collection`` (needed if there are several) as one delta and return its key.

        ``bucket``: a bucket's name, with the queue from ``DELTA_QUEUE_URL``, or stores. ``prefix``: ``deltas/``, or
        ``delta/`` for a Chroma directory. On an error nothing is forgotten: call it again.
        """
        self._check_open()
        if self._mode != "delta":
            raise InvalidInput(f"A {self._mode} client gathers no delta.", remedy="Open one with mode='delta'.")
        target = target_of(bucket, self._settings) if isinstance(bucket, str) else bucket
        with self._writing:
            return self._pending.upload(collection or self._pending.only(), prefix, target, self._clock)

    # Reading ------------------------------------------------------------------------------------------
    def query(
        self,
        collection: str,
        query_embeddings: ArrayLike | None = None,
        *,
        query_texts: Sequence[str] | None = None,
        n_results: int = 10,
        where: Mapping[str, Any] | None = None,
        where_document: Mapping[str, Any] | None = None,
        include: Sequence[str] = ("metadatas", "documents", "distances"),
    ) -> dict[str, Any]:
        """The nearest rows of each query, as Chroma returns them. Raises `BadQuery`, `UnknownCollection`."""
        store = self._store(collection)
        embed = self._embed if self._embeds is None or query_texts is None else self._embeds(collection)
        vectors = query_vectors(query_embeddings, query_texts, embed, store.spec())
        with translated(self._directory, BadQuery):
            found = store.collection.query(
                query_embeddings=vectors,
                n_results=n_results,
                where=cast(Any, where),
                where_document=cast(Any, where_document),
                include=cast(Any, list(include)),
            )
        return dict(found)

    def get(
        self,
        collection: str,
        ids: Sequence[str] | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        where_document: Mapping[str, Any] | None = None,
        limit: int | None = None,
        offset: int | None = None,
        include: Sequence[str] = ("metadatas", "documents"),
    ) -> dict[str, Any]:
        """Rows by id or filter, as Chroma returns them, in its own order. Raises `BadQuery`, `UnknownCollection`."""
        store = self._store(collection)
        with translated(self._directory, BadQuery):
            found = store.collection.get(
                ids=None if ids is None else list(ids),
                where=cast(Any, where),
                where_document=cast(Any, where_document),
                limit=limit,
                offset=offset,
                include=cast(Any, list(include)),
            )
        return dict(found)

    def count(self, collection: str) -> int:
        """Number of rows. Raises `UnknownCollection`."""
        return self._store(collection).count()

    def get_collection(self, name: str) -> CollectionHandle:
        """Chroma's own collection, behind a handle that obeys this client's mode. Raises `UnknownCollection`."""
        self._store(name)
        return CollectionHandle(name, self._reach)

    def list_collections(self) -> list[str]:
        """Names of the directory's collections, sorted."""
        return self._readable().names()

    # Closing ------------------------------------------------------------------------------------------
    def close(self, *, discard: bool = False) -> None:
        """Flush what was written and release every file. Calling it again does nothing.

        Raises `InvalidInput` if a delta was gathered and never uploaded, unless ``discard``: the client stays open.
        """
        if self._closed:
            return
        if self._pending.collections() and not discard:
            raise InvalidInput(
                f"Operations for {', '.join(self._pending.collections())} were never uploaded.",
                remedy="Call persist_and_upload_delta, or close(discard=True).",
            )
        self._closed = True
        with self._stack:
            self._chroma.close(self._written)

    def __enter__(self) -> ChromaDBClient:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(discard=error is not None)

    # Inside -------------------------------------------------------------------------------------------
    def _write(self, collection: str, rows: DeltaRows) -> None:
        settings = self._settings_of(collection)
        # Which shard a row goes to is the delta writer's to say.
        validate_rows(rows, collection, settings.model_copy(update={"shards": 1}))
        with self._writing:
            if self._mode == "delta":
                self._pending.add(collection, rows)
                return
            if collection not in self._chroma.names():
                self._chroma.make(CollectionSpec.of(collection, settings.fixed()))
            self._written.add(collection)
            apply_operations(self._chroma.store(collection), rows, settings.space)

    def _settings_of(self, collection: str) -> CollectionSettings:
        """The stage's settings; of a collection that exists in the directory, what it is."""
        if self._mode == "delta" or collection not in self._chroma.names():
            return self._settings.resolve(collection)
        own = self._chroma.store(collection).spec()
        dimension = own.dimension or self._settings.resolve(collection).dimension
        return CollectionSettings(dimension=dimension, space=own.space, hnsw=own.hnsw)

    def _store(self, name: str) -> ChromaStore:
        return self._readable().store(name)

    def _reach(self, name: str, attribute: str) -> Any:
        """What a `CollectionHandle` may reach."""
        if attribute in _WRITES:
            self._check_writable(attribute)
            self._written.add(name)
        elif attribute not in _READS:
            raise AttributeError(f"A collection has no {attribute!r} here.")
        store = self._store(name)
        if attribute == "query" and self._embeds is not None:
            return embedding_query(store, self._embeds(name))
        return getattr(store.collection, attribute)

    def _readable(self) -> ChromaDirectory:
        self._check_open()
        if self._mode == "delta":
            raise InvalidInput("A delta client only writes.", remedy="Open the snapshot with mode='read'.")
        return self._chroma

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidInput("The client is closed.", remedy="Open another one.")

    def _check_writable(self, what: str) -> None:
        self._check_open()
        if self._mode == "read":
            raise ReadOnlyClient(
                f"{what} was called on a client in mode 'read'.", remedy="Open it with mode='delta' or 'snapshot'."
            )
