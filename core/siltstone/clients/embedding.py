"""Chroma's embedding function over the product's provider, for whoever works with plain Chroma collections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from chromadb.api.types import Documents, EmbeddingFunction, Embeddings, Space

from siltstone.settings import CollectionSettings
from siltstone.stores.provider import EmbeddingProvider


class CollectionEmbedding(EmbeddingFunction[Documents]):
    """Embeds with one collection's model and dimension. Holds no key: the provider does.

    Chroma's own function would answer vectors of the model's full size, and would write its settings into whatever
    collection it is given to.
    """

    def __init__(self, provider: Callable[[], EmbeddingProvider], settings: CollectionSettings) -> None:
        self._provider = provider
        self._settings = settings

    def __call__(self, input: Documents) -> Embeddings:  # noqa: A002  Chroma looks for this name
        """float32 (d,) for each text. Raises `ProviderUnavailable`, `ProviderRefused`."""
        made_of = self._settings
        found = self._provider().embed(input, model=made_of.model, dimension=made_of.dimension)
        return cast("Embeddings", list(found.vectors))

    @staticmethod
    def name() -> str:
        """What Chroma writes into a collection that is made with it."""
        return "siltstone"

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> CollectionEmbedding:
        """By Chroma, for a collection that was made with it: the process-wide provider."""
        from siltstone.clients.manager import client_manager  # noqa: PLC0415  it imports this module

        settings = CollectionSettings(model=config["model"], dimension=config["dimension"])
        return CollectionEmbedding(lambda: client_manager().embeddings, settings)

    def get_config(self) -> dict[str, Any]:
        """Model and dimension, no key."""
        return {"model": self._settings.model, "dimension": self._settings.dimension}

    def default_space(self) -> Space:
        return self._settings.space

    def supported_spaces(self) -> list[Space]:
        return ["cosine", "l2", "ip"]
