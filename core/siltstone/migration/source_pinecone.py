"""An index of Pinecone, through its own client: the one module that imports it, and only when it is used."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from siltstone.errors import BadSettings, IndexRefused, IndexUnavailable
from siltstone.migration.source import DEFAULT_NAMESPACE, IdPage, IndexShape, SourceVector

_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_LENGTH = frozenset({413, 414, 431})
_REMEDIES = {
    400: "Where it is an index that can't list (pod-based): --ids-from FILE, or --ids-from-sources.",
    401: "Check PINECONE_API_KEY.",
    403: "The key may not do it, or a quota is used up.",
    404: "Check the index's name, or give its address: --host.",
    501: "Where it is an index that can't list (pod-based): --ids-from FILE, or --ids-from-sources.",
}


def open_pinecone(
    index: str | None = None, *, host: str | None = None, api_key: str | None = None, timeout: float = 30.0
) -> PineconeIndex:
    """Open an index by its name, or by its address, which saves a request and needs fewer rights.

    What is not given comes from ``PINECONE_INDEX_NAME``, ``PINECONE_HOST`` and ``PINECONE_API_KEY``. The client tries
    a request four times itself. Raises `BadSettings`, also where the client is not installed; `IndexRefused`.
    """
    key = api_key or os.environ.get("PINECONE_API_KEY")
    host = host or (None if index else os.environ.get("PINECONE_HOST"))
    index = index or os.environ.get("PINECONE_INDEX_NAME")
    if not key:
        raise BadSettings("PINECONE_API_KEY is not set.", remedy="Set it to a key that may read the index.")
    if not host and not index:
        raise BadSettings("It is not said which index.", remedy="Name it, or give its address: --host.")
    try:
        client = import_module("pinecone")
    except ImportError as error:
        raise BadSettings(
            "Pinecone's client is not installed.", remedy='Install it: pip install "siltstone[pinecone]".'
        ) from error
    with _translated(f"Opening the index {index or host}"):
        account = client.Pinecone(api_key=key, timeout=timeout)
        return PineconeIndex(account.index(host=host) if host else account.index(name=index), account, index)


class PineconeIndex:
    """`siltstone.migration.source.SourceIndex` over ``pinecone.Index``."""

    def __init__(self, index: Any, account: Any, index_name: str | None) -> None:
        self._index = index
        self._account = account
        self._index_name = index_name

    @property
    def name(self) -> str:
        return str(self._index.host).split("://")[-1].rstrip("/")

    def shape(self) -> IndexShape:
        with _translated("Describing the index"):
            stats = self._index.describe_index_stats()
            metric = stats.metric or self._described_metric()
        namespaces = {name or DEFAULT_NAMESPACE: int(each.vector_count) for name, each in stats.namespaces.items()}
        return IndexShape(stats.dimension or None, metric, namespaces)

    def list_ids(self, namespace: str, token: str | None, limit: int) -> IdPage:
        with _translated(f"Listing the ids of {namespace!r}"):
            page = self._index.list_paginated(namespace=_wire(namespace), limit=limit, pagination_token=token)
        return IdPage([each.id for each in page.vectors], page.pagination.next if page.pagination else None)

    def fetch(self, namespace: str, ids: Sequence[str]) -> list[SourceVector]:
        try:
            with _translated(f"Fetching {len(ids)} vectors of {namespace!r}"):
                found = self._index.fetch(ids=list(ids), namespace=_wire(namespace)).vectors
        except _TooLong:
            if len(ids) == 1:
                raise
            # The ids travel in the address, and whatever stands between has a limit for that.
            half = len(ids) // 2
            return [*self.fetch(namespace, ids[:half]), *self.fetch(namespace, ids[half:])]
        return [
            SourceVector(
                row_id,
                np.asarray(row.values or [], np.float32),
                dict(row.metadata or {}),
                {"indices": list(row.sparse_values.indices), "values": list(row.sparse_values.values)}
                if row.sparse_values and row.sparse_values.indices
                else None,
            )
            for row_id, row in found.items()
        ]

    def query(self, namespace: str, vector: Sequence[float], top_k: int) -> list[str]:
        with _translated(f"Querying {namespace!r}"):
            found = self._index.query(vector=list(vector), top_k=top_k, namespace=_wire(namespace))
        return [match.id for match in found.matches]

    def close(self) -> None:
        """Close its connections."""
        self._index.close()
        self._account.close()

    def _described_metric(self) -> str | None:
        if self._index_name is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the client would rather be asked for a schema
            return self._account.describe_index(self._index_name).metric


class _TooLong(IndexRefused):
    """The request is longer than something on its way takes."""


def _wire(namespace: str) -> str:
    return "" if namespace == DEFAULT_NAMESPACE else namespace


@contextmanager
def _translated(what: str) -> Generator[None]:
    """The client's errors as this family's."""
    client = import_module("pinecone.errors.exceptions")
    try:
        yield
    except client.ApiError as error:
        words = f"{what}: {error.message} ({error.status_code})."
        if error.status_code in _AGAIN:
            raise IndexUnavailable(words, retry_after=getattr(error, "retry_after", None)) from error
        if error.status_code in _LENGTH:
            raise _TooLong(words) from error
        raise IndexRefused(words, remedy=_REMEDIES.get(error.status_code, "")) from error
    except (client.PineconeConnectionError, client.PineconeTimeoutError, client.ResponseParsingError) as error:
        raise IndexUnavailable(f"{what}: {error}.", remedy="Check the network and the address.") from error
    except client.PineconeError as error:
        raise IndexRefused(f"{what}: {error}.") from error
