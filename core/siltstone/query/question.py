"""The vectors of a question, by the collection's own model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from siltstone.errors import BadQuery
from siltstone.query.index import Vector
from siltstone.query.messages import QueryInput
from siltstone.settings import CollectionSettings
from siltstone.stores.provider import EmbeddingProvider


def question_vectors(
    request: QueryInput, settings: CollectionSettings, provider: Callable[[], EmbeddingProvider]
) -> NDArray[np.float32]:
    """One for each query, float32 (n, d). All texts are embedded by one call. Raises `BadQuery`."""
    texts = request.query_texts if request.query_text is None else [request.query_text]
    if texts is not None:
        return provider().embed(texts, model=settings.model, dimension=settings.dimension).vectors
    if request.query_embedding is not None:
        return _checked(request.query_embedding, "query_embedding", request.collection_name, settings)[None, :]
    return np.stack(
        [
            _checked(given, f"query_embeddings.{number}", request.collection_name, settings)
            for number, given in enumerate(request.query_embeddings or [])
        ]
    )


def _checked(given: Sequence[float], field: str, collection: str, settings: CollectionSettings) -> Vector:
    if len(given) != settings.dimension:
        raise BadQuery(
            f"{field} has {len(given)} numbers; {collection} has {settings.dimension} dimensions.",
            remedy=f"Embed the question with {settings.model} at {settings.dimension} dimensions.",
        )
    # Chroma takes a NaN and answers nonsense.
    if not all(map(math.isfinite, given)):
        raise BadQuery(f"{field} has a NaN or an infinite number.", remedy="Send finite numbers.")
    # By the squared length in float32, which is what the index works with: it must neither overflow nor vanish.
    with np.errstate(over="ignore"):
        vector = np.asarray(given, np.float64).astype(np.float32)
        squared = float(vector @ vector)
    if not math.isfinite(squared):
        raise BadQuery(f"{field} is too long: its squared length overflows float32.", remedy="Scale it.")
    if settings.space == "cosine" and squared == 0:
        raise BadQuery(f"{field} is zero, and the space is cosine.", remedy="A direction needs a length.")
    return vector
