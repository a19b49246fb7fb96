"""``SiltstoneVectorStore``: a collection with the shape of a LangChain vector store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from siltstone.clients.collection import Collection
from siltstone.clients.results import Found
from siltstone.errors import BadRecord, InvalidInput, NothingWritten
from siltstone.records.metadata import PROVENANCE_KEYS
from siltstone.settings import Space

Scored = list[tuple[Document, float]]


class SiltstoneVectorStore(VectorStore):
    """``SiltstoneVectorStore(siltstone.connect("dev").collection("notes", consistency="strong"))``.

    ``collection``: with consistency ``strong`` a document is found as soon as it was added, with ``snapshot`` after the
    next compaction. ``embedding``: of the collection's dimension; without one the collection's own model embeds.
    Each call that adds is one delta, so add many documents at once. Scores are distances: smaller is nearer; relevance
    is 1 for the same direction. ``filter`` and ``where_document`` of every search are Chroma's. Raises Siltstone's own
    errors. The asynchronous methods run these in threads.
    """

    def __init__(self, collection: Collection, embedding: Embeddings | None = None) -> None:
        self._collection = collection
        self._embedding = embedding

    @property
    def embeddings(self) -> Embeddings | None:
        """What embeds, if it is not the collection's own model."""
        return self._embedding

    # Writing ------------------------------------------------------------------------------------------
    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Write texts, replacing those that have these ids; a text without an id gets a new one. Returns the ids.

        Raises `BadRecord` and `BadDelta`, before anything is written.
        """
        given = list(texts)
        if not given:
            return []
        names = [one or str(uuid4()) for one in ids or [None] * len(given)]
        for name, metadata in zip(names, metadatas or [], strict=False):
            taken = PROVENANCE_KEYS & metadata.keys()
            if taken:
                raise BadRecord(
                    f"The metadata of {name!r:.120} has {min(taken)!r}, which says where a vector came from.",
                    remedy="Rename it.",
                )
        vectors = None if self._embedding is None else self._embedding.embed_documents(given)
        self._collection.upsert(names, vectors, metadatas, given)
        return names

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete by id; an id without a document is no error. Raises `InvalidInput` without ids: nothing is deleted by
        leaving something out.
        """
        if ids is None:
            raise InvalidInput("delete needs ids.", remedy="Name the documents to delete.")
        if ids:
            self._collection.delete(list(dict.fromkeys(ids)))
        return True

    # Reading ------------------------------------------------------------------------------------------
    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """In the order of ``ids``; those that do not exist are left out."""
        if not ids:
            return []
        try:
            found = self._collection.get(list(ids))
        except NothingWritten:
            return []
        return list(_documents(found["ids"], found["documents"], found["metadatas"]))

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        return [document for document, _ in self.similarity_search_by_vector_with_score(embedding, k, **kwargs)]

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> Scored:
        """The nearest documents with their distances."""
        return _scored(self._nearest(k, **self._asked(query), **kwargs))

    def similarity_search_by_vector_with_score(self, embedding: list[float], k: int = 4, **kwargs: Any) -> Scored:
        """The nearest documents to a vector of the collection's dimension, with their distances."""
        return _scored(self._nearest(k, query_embeddings=[embedding], **kwargs))

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """``k`` of the ``fetch_k`` nearest documents that differ from one another: see LangChain."""
        if self._embedding is not None:
            vector = self._embedding.embed_query(query)
            return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **kwargs)
        raise InvalidInput(
            "Without an embedding there is no vector of the query to compare with.",
            remedy="Give the store an embedding.",
        )

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        found = self._nearest(fetch_k, query_embeddings=[embedding], embeddings=True, **kwargs)
        if found is None:
            return []
        vectors = found["embeddings"][0]
        chosen = maximal_marginal_relevance(np.asarray(embedding, np.float32), list(vectors), lambda_mult, k)
        documents = [document for document, _ in _scored(found)]
        return [documents[place] for place in chosen]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        collection: Collection | None = None,
        **kwargs: Any,
    ) -> SiltstoneVectorStore:
        """A store over ``collection`` (needed) with ``texts`` added to it."""
        if collection is None:
            raise InvalidInput("from_texts needs a collection.", remedy='Give collection=client.collection("notes").')
        store = cls(collection, embedding)
        store.add_texts(texts, metadatas, ids=ids, **kwargs)
        return store

    # Inside -------------------------------------------------------------------------------------------
    def _asked(self, query: str) -> dict[str, Any]:
        if self._embedding is None:
            return {"query_texts": [query]}
        return {"query_embeddings": [self._embedding.embed_query(query)]}

    def _nearest(
        self,
        k: int,
        *,
        embeddings: bool = False,
        filter: dict[str, Any] | None = None,  # noqa: A002  LangChain's name
        where_document: dict[str, Any] | None = None,
        **question: Any,
    ) -> Found | None:
        """``None``: nothing was ever written."""
        include = ["documents", "metadatas", "distances", *(["embeddings"] if embeddings else [])]
        try:
            return self._collection.query(
                n_results=k, where=filter, where_document=where_document, include=include, **question
            )
        except NothingWritten:
            return None

    def _similarity_search_with_relevance_scores(self, query: str, k: int = 4, **kwargs: Any) -> Scored:
        found = self._nearest(k, **self._asked(query), **kwargs)
        if found is None:
            return []
        space = found.answered_from.space
        return [(document, _relevance(distance, space)) for document, distance in _scored(found)]


def _relevance(distance: float, space: Space) -> float:
    """From 1, the same direction, to 0: the cosine, which of unit vectors every space gives. (l2 is squared.)"""
    return min(1.0, max(0.0, 1.0 - (distance / 2 if space == "l2" else distance)))


def _scored(found: Found | None) -> Scored:
    if found is None:
        return []
    documents = _documents(found["ids"][0], found["documents"][0], found["metadatas"][0])
    return list(zip(documents, found["distances"][0], strict=True))


def _documents(ids: list[str], texts: list[str | None], metadatas: list[dict[str, Any] | None]) -> Iterator[Document]:
    """Without the fields that say where a vector came from: they are no part of what was added."""
    for row_id, text, metadata in zip(ids, texts, metadatas, strict=True):
        own = {key: value for key, value in (metadata or {}).items() if key not in PROVENANCE_KEYS}
        yield Document(id=row_id, page_content=text or "", metadata=own)
