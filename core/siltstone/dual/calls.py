"""What the pieces of this package need of a side: Pinecone's calls, and answers that are read by attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from siltstone.errors import BadRecord

UNNAMED = "__default__"  # the namespace without a name, as Pinecone calls it


class VectorCalls(Protocol):
    """Pinecone's own index, or `siltstone.pinecone_like.Index`. Arguments are passed by name, as they were given."""

    def query(self, *args: Any, **kwargs: Any) -> Any: ...
    def fetch(self, *args: Any, **kwargs: Any) -> Any: ...
    def upsert(self, *args: Any, **kwargs: Any) -> Any: ...
    def update(self, *args: Any, **kwargs: Any) -> Any: ...
    def delete(self, *args: Any, **kwargs: Any) -> Any: ...
    def list(self, *args: Any, **kwargs: Any) -> Any: ...
    def list_paginated(self, *args: Any, **kwargs: Any) -> Any: ...
    def describe_index_stats(self, *args: Any, **kwargs: Any) -> Any: ...


def name_of(namespace: str | None) -> str:
    """A namespace's name; the one without a name is ``__default__``."""
    return namespace or UNNAMED


def where(namespace: str) -> dict[str, str]:
    """The argument of a call for this namespace: none for the one without a name, which clients spell differently."""
    return {} if namespace == UNNAMED else {"namespace": namespace}


def id_of(vector: Any) -> str:
    """The id of a vector as ``upsert`` takes it: a dictionary, a tuple or an object. Raises `BadRecord`."""
    if isinstance(vector, Mapping):
        found: Any = vector.get("id")
    elif isinstance(vector, Sequence) and not isinstance(vector, str):
        found = vector[0] if vector else None
    else:
        found = getattr(vector, "id", None)
    if not isinstance(found, str):
        raise BadRecord(f"A vector of the call has no id: {vector!r:.120}.", remedy="Nothing was written.")
    return found


def as_upsert(vector: Any) -> dict[str, Any]:
    """A fetched vector as ``upsert`` takes it; equal dictionaries are equal vectors."""
    sparse = getattr(vector, "sparse_values", None)
    plain: dict[str, Any] = {"id": vector.id, "values": list(vector.values), "metadata": dict(vector.metadata or {})}
    if sparse is not None and sparse.indices:
        plain["sparse_values"] = {"indices": list(sparse.indices), "values": list(sparse.values)}
    return plain
