"""Writes of a client: one delta each, by whoever may write to the stage's delta bucket."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siltstone.clock import Clock
from siltstone.deltas.batch import DeltaRows
from siltstone.deltas.codec import MAX_ROWS
from siltstone.deltas.produce import ProducerStores, produce_deletes, tell
from siltstone.deltas.validate import validate_rows
from siltstone.deltas.writer import write_delta
from siltstone.errors import BadRecord, ReadOnlyClient
from siltstone.parallel import chunks
from siltstone.records.tokens import INPUT_TOKENS, check_text
from siltstone.settings import CollectionSettings
from siltstone.sources.canonical import sha256_hex
from siltstone.stores.provider import EmbeddingProvider

Metadatas = Sequence[Mapping[str, Any] | None]


class Writer:
    """Where deltas go and who embeds; both are only made for the first write. Safe for several threads.

    ``stores``: makes them, or raises `ReadOnlyClient` or `BadSettings`.
    """

    def __init__(
        self, stores: Callable[[], ProducerStores], provider: Callable[[], EmbeddingProvider], clock: Clock
    ) -> None:
        self._stores = stores
        self._provider = provider
        self._clock = clock

    def knows(self, collection: str) -> bool:
        """Whether the settings have exactly this name, so that it is no alias."""
        return collection in self._stores().settings.collections

    def collections(self) -> list[str]:
        """Those that the settings name, without patterns."""
        return sorted(name for name in self._stores().settings.collections if "*" not in name)

    def upsert(
        self,
        collection: str,
        ids: list[str],
        embeddings: NDArray[np.float32] | None,
        metadatas: Metadatas | None,
        documents: list[str | None] | None,
    ) -> None:
        """One delta of upserts. Raises `BadRecord`, `BadDelta`, `ProviderUnavailable`, `ProviderRefused`."""
        stores = self._stores()
        settings = stores.settings.resolve(collection)
        for name, column in (("embeddings", embeddings), ("metadatas", metadatas), ("documents", documents)):
            if column is not None and len(column) != len(ids):
                raise BadRecord(f"There are {len(ids)} ids and {len(column)} {name}.", remedy="Send one for each id.")
        rows = (
            self._embedded(collection, ids, metadatas, documents, settings)
            if embeddings is None
            else DeltaRows.upserts(ids, embeddings, documents, metadatas)
        )
        written = write_delta(
            rows,
            collection=collection,
            stores=stores,
            clock=self._clock,
            # A text as it stands, whatever the collection's own records are embedded with.
            input_format="plain-v1" if embeddings is None else None,
        )
        tell(stores.hints, written)

    def delete(self, collection: str, ids: list[str]) -> None:
        """Deltas of deletes."""
        for chunk in chunks(ids, MAX_ROWS):
            produce_deletes(chunk, collection, stores=self._stores(), clock=self._clock)

    def _embedded(
        self,
        collection: str,
        ids: list[str],
        metadatas: Metadatas | None,
        documents: list[str | None] | None,
        settings: CollectionSettings,
    ) -> DeltaRows:
        texts = _texts(ids, documents)
        given = metadatas or [None] * len(ids)
        inputs = [
            {"input_sha256": sha256_hex(text.encode()), **(own or {})} for text, own in zip(texts, given, strict=True)
        ]
        # Everything but the vectors is judged before they are paid for.
        stand_in = np.ones((len(ids), settings.dimension), np.float32)
        validate_rows(
            DeltaRows.upserts(ids, stand_in, texts, inputs), collection, settings.model_copy(update={"shards": 1})
        )
        found = self._provider().embed(texts, model=settings.model, dimension=settings.dimension)
        return DeltaRows.upserts(ids, found.vectors, texts, inputs)


def read_only(why: str) -> Callable[[], ProducerStores]:
    """The stores of a client that can't write."""

    def refuse() -> ProducerStores:
        raise ReadOnlyClient(why, remedy="Connect to the stage to write.")

    return refuse


def _texts(ids: list[str], documents: list[str | None] | None) -> list[str]:
    if documents is None:
        raise BadRecord("There are neither embeddings nor documents.", remedy="Send one of them.")
    texts: list[str] = []
    for row_id, document in zip(ids, documents, strict=True):
        try:
            if not isinstance(document, str):
                raise ValueError("is no text")  # noqa: TRY004, TRY301
            texts.append(check_text(document, INPUT_TOKENS))
        except ValueError as error:
            raise BadRecord(
                f"The document of {row_id!r:.120} {error}.",
                remedy="Send its embedding, or a text that can be embedded.",
            ) from error
    return texts
