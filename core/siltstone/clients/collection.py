"""``Collection``: what code that was written for a Chroma collection calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from siltstone.client_query import as_vectors
from siltstone.clients.reading import ask_each, ask_ids, ask_pages
from siltstone.clients.results import Found, check_include, get_found, query_found
from siltstone.clients.transport import Transport
from siltstone.clients.writing import Writer
from siltstone.errors import BadQuery, BadRecord, InvalidInput, NothingWritten
from siltstone.query.messages import QueryOutput

Consistency = Literal["snapshot", "strong"]
Filter = Mapping[str, Any]
T = TypeVar("T")
_OF_QUERY = ("metadatas", "documents", "distances")
_OF_GET = ("metadatas", "documents")
_ALL = ("metadatas", "documents", "embeddings")


class Collection:
    """One collection, by its name or an alias. Safe for several threads.

    Methods, arguments and results are those of a Chroma collection. ``consistency`` and ``version`` come on top, for
    this collection or for one call: ``strong`` sees what was written a moment ago, ``snapshot`` a whole version,
    ``version`` an older one. Rows of a ``get`` come in the order of their ids, or of the ids asked for.
    """

    def __init__(
        self,
        name: str,
        transport: Transport,
        writer: Writer,
        *,
        consistency: Consistency = "snapshot",
        version: str | None = None,
    ) -> None:
        self.name = name
        self._transport = transport
        self._writer = writer
        self._consistency: Consistency = consistency
        self._version = version

    def __repr__(self) -> str:
        return f"Collection(name={self.name})"

    # Reading ------------------------------------------------------------------------------------------
    def query(
        self,
        query_embeddings: ArrayLike | None = None,
        query_texts: str | Sequence[str] | None = None,
        *,
        n_results: int = 10,
        where: Filter | None = None,
        where_document: Filter | None = None,
        include: Sequence[str] = _OF_QUERY,
        consistency: Consistency | None = None,
        version: str | None = None,
    ) -> Found:
        """The nearest rows to each query, nearest first: lists of lists.

        Texts are embedded with the collection's own model. Raises `BadQuery` and `BadEvent` naming the field,
        `UnknownCollection`, `UnknownVersion`, `StoreUnavailable`, `ProviderUnavailable`.
        """
        if (query_embeddings is None) == (query_texts is None):
            raise BadQuery("A query has either query_embeddings or query_texts.")
        wanted = check_include(include)
        field, queries = "query_texts", _many(query_texts or [])
        if query_embeddings is not None:
            vectors = as_vectors(query_embeddings, BadQuery)
            if not np.isfinite(vectors).all():  # JSON has no NaN: it would not even arrive
                raise BadQuery("query_embeddings has a NaN or an infinite number.", remedy="Send finite numbers.")
            field, queries = "query_embeddings", vectors.tolist()
        if not queries:
            raise BadQuery(f"{field} is empty: there is nothing to ask.")
        question = self._question(
            "query", where, where_document, consistency, version, n_results=n_results, include=wanted
        )
        results, answer = ask_each(self._transport, question, field, queries)
        return query_found(results, wanted, answer)

    def get(  # noqa: PLR0917  the order is Chroma's
        self,
        ids: str | Sequence[str] | None = None,
        where: Filter | None = None,
        limit: int | None = None,
        offset: int | None = None,
        where_document: Filter | None = None,
        include: Sequence[str] = _OF_GET,
        *,
        after: str | None = None,
        consistency: Consistency | None = None,
        version: str | None = None,
    ) -> Found:
        """Rows by id or filter, all of them unless ``limit`` says otherwise. ``after``: an id; without ``ids``, only
        rows behind it. Raises as `query`.
        """
        wanted = check_include(include, _ALL)
        start = 0 if offset is None else offset
        if start < 0 or (limit is not None and limit < 0):
            raise BadQuery("limit and offset can't be negative.")
        question = self._question("get", where, where_document, consistency, version, include=wanted)
        if ids is None:
            if limit == 0:
                return get_found([], wanted, self._asked_count(consistency, version))
            answers = ask_pages(self._transport, question, offset=start, limit=limit, after=after)
            return get_found([each.results for each in answers if each.results], wanted, answers[-1])
        named = _many(ids)
        if not named:
            raise BadQuery("ids is empty: there is nothing to get.", remedy="Leave ids out to get every row.")
        answers = ask_ids(self._transport, question, named)
        found = get_found([each.results for each in answers if each.results], wanted, answers[-1])
        stop = None if limit is None else start + limit
        for column, rows in found.items():
            if column != "included" and rows is not None:
                found[column] = rows[start:stop]
        return found

    def count(
        self,
        where: Filter | None = None,
        where_document: Filter | None = None,
        *,
        consistency: Consistency | None = None,
        version: str | None = None,
    ) -> int:
        """How many rows there are, or pass the filters."""
        return self._asked_count(consistency, version, where, where_document).count or 0

    def peek(self, limit: int = 10, *, consistency: Consistency | None = None, version: str | None = None) -> Found:
        """The first rows with everything there is of them."""
        return self.get(limit=limit, include=_ALL, consistency=consistency, version=version)

    # Writing ------------------------------------------------------------------------------------------
    def upsert(
        self,
        ids: str | Sequence[str],
        embeddings: ArrayLike | None = None,
        metadatas: Filter | Sequence[Filter | None] | None = None,
        documents: str | Sequence[str | None] | None = None,
    ) -> None:
        """Write at most 50,000 rows as one delta, seen as a whole or not at all.

        Durable when it returns: a strong read finds them at once, a snapshot read after the next compaction. A row is
        replaced as a whole: nothing of an earlier one stays. Without ``embeddings`` the documents are embedded by the
        embeddings API with the collection's model. Raises `BadRecord` and `BadDelta` naming row, id and reason, before
        anything is paid or written; `ReadOnlyClient`, `BadSettings` where this client can't write.
        """
        rows = None if metadatas is None else [metadatas] if isinstance(metadatas, Mapping) else list(metadatas)
        vectors = None if embeddings is None else as_vectors(embeddings, BadRecord)
        texts = None if documents is None else _many(documents)
        self._writer.upsert(self._written(), _many(ids), vectors, rows, texts)

    def delete(
        self,
        ids: str | Sequence[str] | None = None,
        where: Filter | None = None,
        where_document: Filter | None = None,
    ) -> dict[str, int]:
        """Delete rows by id, or those that pass the filters now, in deltas of at most 50,000. An id without a row is no
        error. ``deleted``: how many ids were written.
        """
        if ids is None and not where and not where_document:
            raise InvalidInput("delete needs ids, where or where_document.", remedy="Say which rows.")
        if ids is not None and (where or where_document):
            raise InvalidInput("delete takes either ids or filters.", remedy="Get the ids first, then delete them.")
        named = (
            list(self.get(where=where, where_document=where_document, include=(), consistency="strong")["ids"])
            if ids is None
            else _many(ids)
        )
        if ids is not None and not named:
            raise InvalidInput("ids is empty: there is nothing to delete.")
        if named:
            self._writer.delete(self._written(), named)
        return {"deleted": len(named)}

    # Inside -------------------------------------------------------------------------------------------
    def _question(
        self,
        operation: str,
        where: Filter | None,
        where_document: Filter | None,
        consistency: Consistency | None,
        version: str | None,
        **more: Any,
    ) -> dict[str, Any]:
        question: dict[str, Any] = {
            "collection_name": self.name,
            "operation": operation,
            "consistency": consistency or ("snapshot" if version else self._consistency),
            **more,
        }
        version = version or (None if consistency == "strong" else self._version)
        optional = {
            "version": version,
            "metadata_filter": None if where is None else dict(where),
            "where_document": None if where_document is None else dict(where_document),
        }
        return question | {name: value for name, value in optional.items() if value is not None}

    def _asked_count(
        self,
        consistency: Consistency | None = None,
        version: str | None = None,
        where: Filter | None = None,
        where_document: Filter | None = None,
    ) -> QueryOutput:
        return self._transport.ask(self._question("count", where, where_document, consistency, version))

    def _written(self) -> str:
        """The collection that is written to: where the name is an alias, the one that it names now."""
        if self._writer.knows(self.name):
            return self.name
        try:
            return self._asked_count("strong").collection_name
        except NothingWritten:
            return self.name


def _many(given: T | Sequence[T]) -> list[T]:
    """Chroma takes one where it takes several."""
    return [given] if isinstance(given, str) else list(given)  # pyright: ignore
