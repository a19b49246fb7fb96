"""A Chroma directory with any number of collections, opened by the first use that finds something in it."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from siltstone.errors import UnknownCollection
from siltstone.snapshots.chroma import (
    SQLITE_FILE,
    ChromaStore,
    flush,
    hnsw_configuration,
    persistent_client,
    translated,
)
from siltstone.snapshots.mounted import private_view
from siltstone.stores.vectors import CollectionSpec

if TYPE_CHECKING:
    from chromadb.api.client import Client


class ChromaDirectory:
    """``folder`` may be missing: reading makes nothing. ``read_only``: nothing is ever written into it.

    Safe for several threads: two clients of one directory in one process would not know of each other's rows.
    """

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        self._folder = folder
        self._read_only = read_only
        self._client: Client | None = None
        self._stores: dict[str, ChromaStore] = {}
        self._opening = threading.RLock()  # over the three fields around it
        self._stack = ExitStack()  # what close() releases, the last first

    def names(self) -> list[str]:
        """Names of the collections, sorted."""
        client = self._opened()
        if client is None:
            return []
        with translated(self._folder):
            return sorted(collection.name for collection in client.list_collections())

    def store(self, name: str) -> ChromaStore:
        """An existing collection. Raises `UnknownCollection`."""
        client = self._opened()
        if client is None or name not in self.names():
            raise UnknownCollection(
                f"{self._folder} has no collection {name!r}.", remedy="It comes to be with its first write."
            )
        with self._opening:
            if name not in self._stores:
                with translated(self._folder):
                    collection = client.get_collection(name, embedding_function=None)
                self._stores[name] = ChromaStore(self._folder, client, collection)
            return self._stores[name]

    def make(self, spec: CollectionSpec) -> ChromaStore:
        """A new collection, and the directory itself if need be."""
        with translated(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            client = self._opened() or self._open(self._folder)
            client.create_collection(
                spec.name, configuration=cast(Any, hnsw_configuration(spec)), embedding_function=None
            )
        return self.store(spec.name)

    def close(self, written: Iterable[str] = ()) -> None:
        """Release every file, with what was ``written`` flushed: the next to open it need not replay it."""
        with self._opening:
            self._stores.clear()
            self._client = None
            self._stack.close()
        if written:
            flush(self._folder, written)

    def _opened(self) -> Client | None:
        with self._opening:
            if self._client is None and (self._folder / SQLITE_FILE).is_file():
                return self._open(self._view() if self._read_only else self._folder)
            return self._client

    def _open(self, folder: Path) -> Client:
        with translated(self._folder):
            self._client = persistent_client(folder)
        self._stack.callback(self._client.close)
        return self._client

    def _view(self) -> Path:
        private = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="siltstone-view-"))
        view = Path(private) / "view"
        private_view(self._folder, view)
        return view
