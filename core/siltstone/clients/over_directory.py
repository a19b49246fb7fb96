"""Questions to a local copy: a version's directory, fetched with whatever copies files from S3."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from siltstone.clients.transport import Question, parse_question
from siltstone.clock import Clock
from siltstone.compaction.documents import Manifest
from siltstone.compaction.staging import parse_document
from siltstone.errors import BadQuery, InvalidInput, SnapshotDamaged, UnknownCollection, UnknownVersion
from siltstone.keys import MANIFEST_FILE
from siltstone.query.fixed import as_published
from siltstone.query.index import SnapshotIndex
from siltstone.query.messages import QueryInput, QueryOutput
from siltstone.query.query import Seen, answer, filters_of, made_at
from siltstone.query.search import View
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.snapshots.chroma import SQLITE_FILE
from siltstone.snapshots.mounted import private_view
from siltstone.stores.provider import EmbeddingProvider
from siltstone.stores.vectors import CollectionSpec


class DirectoryTransport:
    """Implements `siltstone.clients.transport.Transport` over one version's ``folder``, which is never written to.

    It is asked by its manifest's collection (a shard is asked by its own name, ``lines.s00``), has one version, follows
    no pointer and knows no pending deltas.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        provider: Callable[[], EmbeddingProvider],
        book: CollectionBook | None = None,
    ) -> None:
        if not (folder / SQLITE_FILE).is_file() or not (folder / MANIFEST_FILE).is_file():
            raise InvalidInput(
                f"{folder} is no copy of a version: it has no {SQLITE_FILE} or no {MANIFEST_FILE}.",
                remedy="Copy all of s3://{snapshot bucket}/snapshots/{collection}/{version}/ into it.",
            )
        self._folder = folder
        self._clock = clock
        self._provider = provider
        self._manifest = parse_document(Manifest, (folder / MANIFEST_FILE).read_bytes(), str(folder / MANIFEST_FILE))
        self._check_copy()
        name = self._manifest.collection
        self._settings: CollectionSettings = as_published(
            book.resolve(name) if book else CollectionSettings(), self._manifest
        )
        self._opening = threading.Lock()
        self._index: SnapshotIndex | None = None
        self._closed = False
        self._stack = ExitStack()

    def ask(self, question: Question) -> QueryOutput:
        request = parse_question(question)
        filters = filters_of(request)
        self._check(request)
        manifest, settings = self._manifest, self._settings
        seen = Seen(
            [View(self._opened(), None, settings.space, settings.dimension)],
            settings,
            QueryOutput(
                collection_name=manifest.collection,
                version=manifest.version,
                version_age_seconds=max(0.0, self._clock.now() - made_at(manifest)),
                pending_deltas=None,
                space=settings.space,
            ),
        )
        return answer(request, seen, filters, self._provider)

    def close(self) -> None:
        with self._opening:
            self._closed = True
            self._index = None
            self._stack.close()

    def _check_copy(self) -> None:
        """A copy that was cut short must not pass for a whole one. Chroma writes to the sqlite file of whatever it
        opens, so of that one not even the size stays."""
        for file in self._manifest.files:
            path = self._folder / file.path
            whole = path.is_file() and (file.path == SQLITE_FILE or path.stat().st_size == file.size)
            if not whole:
                raise SnapshotDamaged(f"{path} is missing or cut short.", remedy="Copy the version again.")

    def _check(self, request: QueryInput) -> None:
        held = self._manifest
        if request.collection_name != held.collection:
            raise UnknownCollection(
                f"{self._folder} is a copy of {held.collection}, not of {request.collection_name!r}.",
                remedy="Connect to a copy of that collection.",
            )
        if request.consistency == "strong":
            raise BadQuery("consistency: a local copy has no pending deltas.", remedy="Ask with snapshot.")
        if request.version not in (None, held.version):
            raise UnknownVersion(
                f"{self._folder} has the version {held.version}, not {request.version}.", remedy="Copy that version."
            )

    def _opened(self) -> SnapshotIndex:
        from siltstone.query.index_chroma import open_index  # noqa: PLC0415  Chroma takes half a second

        with self._opening:
            if self._closed:
                raise InvalidInput("The client is closed.", remedy="Connect again.")
            if self._index is None:
                private = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="siltstone-view-")))
                private_view(self._folder, private / "view")
                spec = CollectionSpec.of(self._manifest.collection, self._manifest.settings)
                self._index = open_index(private / "view", spec)
                self._stack.callback(self._index.close)
            return self._index
