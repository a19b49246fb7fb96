"""What a client reads by: vectors that are checked before Chroma sees them, and handles that obey the client's mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siltstone.errors import BadQuery, SiltstoneError
from siltstone.stores.vectors import CollectionSpec

if TYPE_CHECKING:
    from siltstone.snapshots.chroma import ChromaStore

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


class CollectionHandle:
    """A Chroma collection as a client hands it out: it may do what the client may, until that is closed."""

    __slots__ = ("_name", "_reach")

    def __init__(self, name: str, reach: Callable[[str, str], Any]) -> None:
        self._name = name
        self._reach = reach

    def __getattr__(self, attribute: str) -> Any:
        return self._reach(self._name, attribute)

    def __repr__(self) -> str:
        return f"CollectionHandle({self._name!r})"


def query_vectors(
    embeddings: ArrayLike | None, texts: Sequence[str] | None, embed: Embed | None, spec: CollectionSpec
) -> NDArray[np.float32]:
    """The queries as float32 (n, dimension), from exactly one of ``embeddings`` and ``texts``. Raises `BadQuery`."""
    if (embeddings is None) == (texts is None):
        raise BadQuery("A query has either query_embeddings or query_texts.")
    if embeddings is None:
        if embed is None:
            raise BadQuery("This client can't embed texts.", remedy="Pass embed=, or send query_embeddings.")
        embeddings = embed(texts or [])
    vectors = as_vectors(embeddings, BadQuery)
    if spec.dimension and vectors.shape[1] != spec.dimension:
        raise BadQuery(f"A query vector has {vectors.shape[1]} components; {spec.name} has {spec.dimension}.")
    # Chroma takes NaN in a query and answers nonsense.
    if not np.isfinite(vectors).all() or (spec.space == "cosine" and not np.any(vectors, axis=1).all()):
        raise BadQuery("A query vector is not finite, or zero under cosine.")
    return vectors


def embedding_query(store: ChromaStore, embed: Embed) -> Callable[..., Any]:
    """Chroma's own ``query`` of a collection, but for texts, which ``embed`` turns into vectors."""

    def query(
        query_embeddings: ArrayLike | None = None, query_texts: str | Sequence[str] | None = None, **more: Any
    ) -> Any:
        if query_texts is not None:
            texts = [query_texts] if isinstance(query_texts, str) else query_texts
            query_embeddings = query_vectors(query_embeddings, texts, embed, store.spec())
        return store.collection.query(query_embeddings=cast(Any, query_embeddings), **more)

    return query


def as_vectors(embeddings: ArrayLike, refused: type[SiltstoneError]) -> NDArray[np.float32]:
    """One vector or several as float32 (n, dimension); raises ``refused`` for anything else."""
    try:
        vectors = np.atleast_2d(np.asarray(embeddings, np.float32))
    except (ValueError, TypeError) as error:
        raise refused(
            "The embeddings are not vectors of one length.", remedy="Send an (n, dimension) array."
        ) from error
    if vectors.ndim != 2:
        raise refused(f"The embeddings have shape {vectors.shape}.", remedy="Send an (n, dimension) array.")
    return vectors
