"""Questions answered in this process, over the stores themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from siltstone.clients.transport import Question, parse_question
from siltstone.clock import Clock
from siltstone.query.index import OpenIndex
from siltstone.query.messages import QueryOutput
from siltstone.query.query import Readers, open_readers, query
from siltstone.stores import Stores
from siltstone.stores.provider import EmbeddingProvider


class StoresTransport:
    """Implements `siltstone.clients.transport.Transport`. Versions are fetched into a private folder in ``workspace``,
    by default the system's folder for temporary files, and kept open until `close`.
    """

    def __init__(
        self,
        stores: Stores,
        clock: Clock,
        provider: Callable[[], EmbeddingProvider],
        open_index: OpenIndex,
        workspace: Path | None = None,
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._provider = provider
        place = workspace or Path(tempfile.gettempdir()) / "siltstone-client"
        self._readers: Readers = open_readers(stores, clock, place, open_index)

    def ask(self, question: Question) -> QueryOutput:
        return query(parse_question(question), self._readers, self._stores.settings, self._clock, self._provider)

    def close(self) -> None:
        self._readers.close()
