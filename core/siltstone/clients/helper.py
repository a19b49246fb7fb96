"""``chroma_helper``: what receipts' labels ask of the vector store. It was ``pinecone_helper``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from siltstone.client import ChromaDBClient
from siltstone.clients.manager import get_chroma_client
from siltstone.records.ids import format_word_id

_OF_QUERY = ("metadatas", "documents", "distances")


class Label(Protocol):
    """Whatever says which word it belongs to."""

    @property
    def image_id(self) -> str: ...
    @property
    def receipt_id(self) -> int: ...
    @property
    def line_id(self) -> int: ...
    @property
    def word_id(self) -> int: ...


class ChromaHelper:
    """Over a client that reads. A label's own collection is ``words``."""

    def __init__(self, client: ChromaDBClient) -> None:
        self.client = client

    def vector(self, label: Label, collection: str = "words") -> NDArray[np.float32] | None:
        """The vector of a label's word; ``None`` where it has none. Raises `UnknownCollection`."""
        found = self.client.get(collection, [chroma_id_from_label(label)], include=("embeddings",))
        return np.asarray(found["embeddings"][0], np.float32) if found["ids"] else None

    def similar(
        self,
        label: Label,
        n_results: int = 10,
        where: Mapping[str, Any] | None = None,
        collection: str = "words",
    ) -> dict[str, Any]:
        """The nearest words to a label's own, itself left out, as Chroma's ``get`` returns rows, with ``distances``;
        empty where the word has no vector. Raises `BadQuery`, `UnknownCollection`.
        """
        own_id, vector = chroma_id_from_label(label), self.vector(label, collection)
        if vector is None:
            return {"ids": [], **{name: [] for name in _OF_QUERY}}
        found = self.client.query(collection, vector, n_results=n_results + 1, where=where, include=_OF_QUERY)
        rows = {name: found[name][0] for name in ("ids", *_OF_QUERY)}
        kept = [place for place, row_id in enumerate(rows["ids"]) if row_id != own_id][:n_results]
        return {name: [column[place] for place in kept] for name, column in rows.items()}

    def of_merchant(
        self,
        merchant_name: str,
        where: Mapping[str, Any] | None = None,
        limit: int | None = None,
        collection: str = "words",
    ) -> dict[str, Any]:
        """All rows of a merchant that also pass ``where``, as Chroma's ``get`` returns them. It takes no vector."""
        merchant: dict[str, Any] = {"merchant_name": merchant_name}
        return self.client.get(collection, where={"$and": [merchant, dict(where)]} if where else merchant, limit=limit)


def chroma_helper(client: ChromaDBClient | None = None) -> ChromaHelper:
    """Over ``client``, by default the process-wide one (`get_chroma_client`)."""
    return ChromaHelper(client or get_chroma_client())


def pinecone_helper(client: ChromaDBClient | None = None) -> ChromaHelper:
    """Deprecated: `chroma_helper`."""
    warnings.warn("pinecone_helper is chroma_helper now.", DeprecationWarning, stacklevel=2)
    return chroma_helper(client)


def chroma_id_from_label(label: Label) -> str:
    """The id of a label's word: ``IMAGE#...#RECEIPT#00001#LINE#00002#WORD#00003``, the same as it was in Pinecone."""
    return format_word_id(label.image_id, label.receipt_id, label.line_id, label.word_id)


def pinecone_id_from_label(label: Label) -> str:
    """Deprecated: `chroma_id_from_label`."""
    warnings.warn("pinecone_id_from_label is chroma_id_from_label now.", DeprecationWarning, stacklevel=2)
    return chroma_id_from_label(label)
