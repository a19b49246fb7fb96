"""``Index``: the calls of Pinecone's index over a client's collections. A namespace is a collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siltstone.clients.client import Client
from siltstone.clients.collection import Collection, Consistency
from siltstone.deltas.codec import MAX_ROWS
from siltstone.errors import BadQuery, InvalidInput, NothingWritten
from siltstone.parallel import chunks
from siltstone.pinecone_like import metadata as own
from siltstone.pinecone_like.changing import change, ids_passing
from siltstone.pinecone_like.filters import EVERYTHING, Node, parse
from siltstone.pinecone_like.listing import page_of
from siltstone.pinecone_like.namespaces import Namespaces
from siltstone.pinecone_like.search import nearest, values_of
from siltstone.pinecone_like.shapes import (
    DescribeIndexStatsResponse,
    FetchResponse,
    ListItem,
    ListResponse,
    NamespaceSummary,
    Pagination,
    QueryResponse,
    ScoredVector,
    UpdateResponse,
    UpsertResponse,
    Vector,
)
from siltstone.pinecone_like.vectors import as_values, columns, dense, refuse_sparse

MAX_TOP_K = 10_000
MAX_PAGE = 100
_METRICS = {"cosine": "cosine", "ip": "dotproduct", "l2": "euclidean"}
Filter = Mapping[str, Any]


class Index:
    """Safe for several threads. Arguments and results are those of Pinecone's client, errors are this package's.

    ``namespaces``: the collection of each namespace that is not called like its own; ``default``: that of the namespace
    without a name. ``consistency``: ``strong`` finds at once what was written, ``snapshot`` after the next compaction.
    A namespace that nothing was written to has no rows. Arguments that tune Pinecone's service (``timeout``,
    ``max_concurrency``, ``scan_factor`` ...) are taken and mean nothing.
    """

    def __init__(
        self,
        client: Client,
        *,
        namespaces: Mapping[str, str] | None = None,
        default: str | None = None,
        consistency: Consistency = "strong",
    ) -> None:
        self._namespaces = Namespaces(client, namespaces or {}, default, consistency)

    # Writing ------------------------------------------------------------------------------------------
    def upsert(
        self,
        vectors: Iterable[Any],
        namespace: str | None = None,
        batch_size: int | None = None,
        *,
        show_progress: bool = True,
        max_concurrency: int = 8,
        timeout: float | None = None,
        total_timeout: float | None = None,
    ) -> UpsertResponse:
        """Write vectors: dictionaries, ``(id, values)``, ``(id, values, metadata)``, or ``Vector`` objects, Pinecone's
        own among them.

        All of a call is one delta, ``batch_size`` or not; only more than 50,000 are several. Raises `BadRecord`,
        `BadDelta` naming the vector, `UnknownCollection`, `ReadOnlyClient`.
        """
        if batch_size is not None and batch_size < 1:
            raise InvalidInput(f"batch_size is {batch_size}.", remedy="Give 1 or more, or none.")
        given = list(vectors)
        rows = columns(given)
        collection = self._written(namespace)
        for part in chunks(range(len(rows.ids)), MAX_ROWS):
            place = slice(part[0], part[-1] + 1)
            collection.upsert(rows.ids[place], rows.vectors[place], rows.metadatas[place], rows.documents[place])
        if batch_size is None:
            return UpsertResponse(len(given))
        batches = -(-len(given) // batch_size)
        return UpsertResponse(
            len(given), total_item_count=len(given), total_batch_count=batches, successful_batch_count=batches
        )

    def update(
        self,
        id: str | None = None,  # noqa: A002  the name is Pinecone's
        values: Sequence[float] | None = None,
        set_metadata: Mapping[str, Any] | None = None,
        namespace: str | None = None,
        *,
        sparse_values: object = None,
        filter: Filter | None = None,  # noqa: A002
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> UpdateResponse:
        """Replace the values of one row, or set fields of its metadata, or of all rows that pass ``filter``.

        What is not mentioned stays, the document too; an id without a row is no error. The row is read and written
        again: of two updates at the same moment the later write wins as a whole. Raises `BadRecord`, `BadQuery`.
        """
        if (id is None) == (filter is None):
            raise BadQuery("An update has either id or filter.")
        refuse_sparse(sparse_values, f"id {id!r:.120}")
        new = own.check(set_metadata, f"id {id!r:.120}")
        vector = None if values is None else dense(values, f"id {id!r:.120}")
        collection = self._written(namespace)
        if filter is None:
            change(collection, [str(id)], new, vector)
            return UpdateResponse()
        if vector is not None:
            raise BadQuery("An update by filter sets metadata alone.", remedy="Update values by id.")
        ids = ids_passing(collection, _not_empty(filter))
        if not dry_run:
            change(collection, ids, new)
        return UpdateResponse(matched_records=len(ids))

    def delete(
        self,
        ids: Sequence[str] | None = None,
        delete_all: bool = False,
        namespace: str | None = None,
        filter: Filter | None = None,  # noqa: A002
        *,
        timeout: float | None = None,
    ) -> None:
        """Delete by ids, by filter, or all of the namespace. An id without a row is no error. Raises `BadQuery`."""
        if sum((ids is not None, delete_all, filter is not None)) != 1:
            raise BadQuery("A delete has exactly one of ids, delete_all and filter.")
        collection = self._written(namespace)
        if ids is None:
            node = EVERYTHING if filter is None else _not_empty(filter)
            ids = ids_passing(collection, node)
        else:
            ids = _several(ids)
        if ids:
            collection.delete(ids)

    # Reading ------------------------------------------------------------------------------------------
    def query(
        self,
        vector: Sequence[float] | None = None,
        *,
        top_k: int,
        id: str | None = None,  # noqa: A002
        namespace: str | None = None,
        filter: Filter | None = None,  # noqa: A002
        include_values: bool = False,
        include_metadata: bool = False,
        sparse_vector: object = None,
        scan_factor: float | None = None,
        max_candidates: int | None = None,
        timeout: float | None = None,
    ) -> QueryResponse:
        """The nearest rows to ``vector``, or to the row ``id``, that pass ``filter``.

        A filter alone, or with the vector of zeros that stands for none, gives the rows that pass, in the order of
        their ids, with a score of 0. Raises `BadQuery` naming what is wrong, the operator of a filter among it.
        """
        if not 1 <= top_k <= MAX_TOP_K:
            raise BadQuery(f"top_k is {top_k}.", remedy=f"Ask for 1 to {MAX_TOP_K:,}.")
        if sparse_vector is not None:
            raise BadQuery("sparse_vector: there are no sparse values here.", remedy="Send the dense vector alone.")
        if (vector is None) == (id is None) and (id is not None or filter is None):
            raise BadQuery("A query has either vector or id, or a filter alone.")
        node = parse(filter)
        answer = QueryResponse([], namespace or "")
        collection = self._namespaces.collection(namespace)
        try:
            asked = _asked(vector) if id is None else values_of(collection, [id]).get(id)
            if asked is None and id is not None:
                return answer
            rows = nearest(collection, asked, top_k, node)
            values = values_of(collection, [row.id for row in rows]) if include_values else {}
        except NothingWritten:
            return answer
        answer.matches = [
            ScoredVector(
                row.id,
                row.score,
                values=as_values(values.get(row.id)),
                metadata=(row.metadata or None) if include_metadata else None,
            )
            for row in rows
        ]
        return answer

    def fetch(self, ids: Sequence[str], namespace: str | None = None, *, timeout: float | None = None) -> FetchResponse:
        """Rows by id, with values and metadata; those that do not exist are left out. Raises `BadQuery`."""
        answer = FetchResponse({}, namespace or "")
        try:
            found = self._namespaces.collection(namespace).get(ids=_several(ids), include=("embeddings", "metadatas"))
        except NothingWritten:
            return answer
        for row_id, vector, stored in zip(found["ids"], found["embeddings"], found["metadatas"], strict=True):
            answer.vectors[row_id] = Vector(
                row_id, as_values(vector), own.sparse_of(stored), own.from_store(stored) or None
            )
        return answer

    def list_paginated(
        self,
        prefix: str | None = None,
        limit: int | None = None,
        pagination_token: str | None = None,
        namespace: str | None = None,
        *,
        timeout: float | None = None,
    ) -> ListResponse:
        """One page of ids, in their order, those with ``prefix``; its ``pagination`` is ``None`` on the last one.

        Raises `BadQuery`.
        """
        size = MAX_PAGE if limit is None else limit
        if not 1 <= size <= MAX_PAGE:
            raise BadQuery(f"limit is {limit}.", remedy=f"Ask for 1 to {MAX_PAGE}.")
        try:
            page = page_of(self._namespaces.collection(namespace), prefix or "", size, pagination_token)
        except NothingWritten:
            return ListResponse([], None, namespace or "")
        more = None if page.token is None else Pagination(page.token)
        return ListResponse([ListItem(each) for each in page.ids], more, namespace or "")

    def list(
        self,
        prefix: str | None = None,
        limit: int | None = None,
        namespace: str | None = None,
        *,
        timeout: float | None = None,
    ) -> Iterator[ListResponse]:
        """All pages of `list_paginated` that have ids."""
        token: str | None = None
        while True:
            page = self.list_paginated(prefix, limit, token, namespace)
            if page.vectors:
                yield page
            if page.pagination is None:
                return
            token = page.pagination.next

    def describe_index_stats(
        self,
        filter: Filter | None = None,  # noqa: A002
        *,
        timeout: float | None = None,
    ) -> DescribeIndexStatsResponse:
        """How many rows each namespace has: those given, or else the collections that the stage's settings name (one
        that only a pattern matches is counted where it was given), without those that nothing was written to.
        """
        if filter:
            raise BadQuery("describe_index_stats takes no filter, as in Pinecone.", remedy="Query with the filter.")
        answer = DescribeIndexStatsResponse({})
        for namespace in self._namespaces.known():
            collection = self._namespaces.collection(namespace)
            try:
                answer.namespaces[namespace] = NamespaceSummary(collection.count())
            except NothingWritten:
                continue
            if answer.dimension is None:
                first = collection.get(limit=1, include=("embeddings",))
                answer.metric = _METRICS[first.answered_from.space]
                answer.dimension = len(first["embeddings"][0]) if first["ids"] else None
        answer.total_vector_count = sum(each.vector_count for each in answer.namespaces.values())
        return answer

    def close(self) -> None:
        """Nothing: the client that was given is its owner's."""

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Inside -------------------------------------------------------------------------------------------
    def _written(self, namespace: str | None) -> Collection:
        """To write to: what a change rests on is read as it is now, whatever this index reads."""
        return self._namespaces.collection(namespace, "strong")


def _asked(vector: Sequence[float] | None) -> NDArray[np.float32] | None:
    if vector is None:
        return None
    try:
        return dense(vector, "vector")
    except InvalidInput as error:
        raise BadQuery(error.message, remedy=error.remedy) from error


def _several(ids: Sequence[str]) -> list[str]:
    """Each once. A text is a sequence of texts too: its letters are not what was meant."""
    if isinstance(ids, str) or not ids:
        raise BadQuery("ids is empty, or a text.", remedy="Give a list of ids.")
    return list(dict.fromkeys(ids))


def _not_empty(filters: Filter) -> Node:
    if not filters:
        raise BadQuery("filter is empty.", remedy="Give at least one condition, or delete_all.")
    return parse(filters)
