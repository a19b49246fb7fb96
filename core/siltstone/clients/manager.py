"""``ClientManager``: the clients that a process shares, each made when it is first used and closed at exit."""

from __future__ import annotations

import atexit
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import boto3

from siltstone.client import ChromaDBClient, Mode
from siltstone.client_query import Embed
from siltstone.clients.deprecated import OLD_SETTINGS, old_setting
from siltstone.clients.stage import aws_client, new_session
from siltstone.errors import BadSettings, InvalidInput
from siltstone.settings import CollectionBook
from siltstone.stores.provider_openai import OpenAIProvider

if TYPE_CHECKING:
    import openai

    from siltstone.clients.embedding import CollectionEmbedding

T = TypeVar("T")


class ClientManager:
    """Clients of one process. Safe for several threads: each is made once, and each can be shared.

    What is not given comes from the environment when it is needed: ``CHROMA_PERSIST_PATH`` (`BadSettings` where there
    is none: a directory that is gone at exit would be a quiet loss), ``OPENAI_API_KEY``, ``OPENAI_BASE_URL``,
    ``SILTSTONE_COLLECTIONS``, and AWS's own. A context manager; after `close` every use raises `InvalidInput`.
    """

    def __init__(
        self,
        persist_directory: str | Path | None = None,
        mode: Mode | None = None,
        *,
        settings: CollectionBook | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        session: boto3.Session | None = None,
    ) -> None:
        self._persist_directory = persist_directory
        self._mode: Mode | None = mode
        self._settings = settings
        self._api_key = api_key
        self._base_url = base_url
        self._session = session
        self._making = threading.RLock()
        self._made: dict[str, Any] = {}
        self._stack = ExitStack()
        self._closed = False

    @property
    def chroma(self) -> ChromaDBClient:
        """The directory's client, in mode ``read`` unless said otherwise, and each collection's own model for texts."""
        return self._once("chroma", self._open_chroma)

    @property
    def openai(self) -> openai.OpenAI:
        """OpenAI's own client, with the pool that `embeddings` uses."""
        return self.embeddings.client

    @property
    def dynamo(self) -> Any:
        """boto3's client of DynamoDB."""
        return self._once("dynamo", self._open_dynamo)

    @property
    def embeddings(self) -> OpenAIProvider:
        """The embedding provider: checked vectors, and errors of this family."""
        return self._once("embeddings", self._open_provider)

    @property
    def pinecone(self) -> ChromaDBClient:
        """Deprecated: what stands in its place is `chroma`. Pinecone's settings are named with what replaced them."""
        warnings.warn("ClientManager.pinecone is ClientManager.chroma now.", DeprecationWarning, stacklevel=2)
        for name in OLD_SETTINGS:
            old_setting(name, "CHROMA_PERSIST_PATH")
        return self.chroma

    @property
    def settings(self) -> CollectionBook:
        """What the collections are made of."""
        return self._once("settings", lambda: self._settings or _settings())

    def embedding_function(self, collection: str) -> CollectionEmbedding:
        """For plain Chroma: embeds texts with the model and dimension that ``collection`` has.

        ``get_collection("lines", embedding_function=manager.embedding_function("lines"))``. Raises `UnknownCollection`.
        """
        from siltstone.clients.embedding import CollectionEmbedding  # noqa: PLC0415  Chroma takes half a second

        return CollectionEmbedding(lambda: self.embeddings, self.settings.resolve(collection))

    def close(self) -> None:
        """Close what was made. Calling it again does nothing. Raises `InvalidInput` if a delta was never uploaded."""
        with self._making:
            self._closed = True
            self._made.clear()
            self._stack.close()

    def __enter__(self) -> ClientManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _once(self, name: str, make: Callable[[], T]) -> T:
        with self._making:
            if self._closed:
                raise InvalidInput("The client manager is closed.", remedy="Make another one.")
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]

    def _open_chroma(self) -> ChromaDBClient:
        path = self._persist_directory or os.environ.get("CHROMA_PERSIST_PATH")
        if not path and self._mode != "delta":
            raise BadSettings(
                "CHROMA_PERSIST_PATH is not set.", remedy="Set it to a snapshot's directory, or pass persist_directory."
            )
        client = ChromaDBClient(path, self._mode, settings=self.settings, embeds=self._embed)
        self._stack.callback(client.close)
        return client

    def _open_dynamo(self) -> Any:
        client = aws_client(self._session or new_session(), "dynamodb")
        self._stack.callback(client.close)
        return client

    def _open_provider(self) -> OpenAIProvider:
        key = self._api_key or os.environ.get("OPENAI_API_KEY")
        if not key:
            raise BadSettings("OPENAI_API_KEY is not set.", remedy="Set it, or send embeddings instead of texts.")
        provider = OpenAIProvider(key, self._base_url or os.environ.get("OPENAI_BASE_URL") or None)
        self._stack.callback(provider.close)
        return provider

    def _embed(self, collection: str) -> Embed:
        made_of = self.settings.resolve(collection)
        return lambda texts: self.embeddings.embed(texts, model=made_of.model, dimension=made_of.dimension).vectors


@lru_cache(maxsize=1)
def client_manager() -> ClientManager:
    """The process-wide one, from the environment. Closed when the process ends; a forked process makes its own."""
    manager = ClientManager()
    atexit.register(manager.close)
    return manager


def get_chroma_client() -> ChromaDBClient:
    """The process-wide `ClientManager.chroma`."""
    return client_manager().chroma


def _settings() -> CollectionBook:
    text = os.environ.get("SILTSTONE_COLLECTIONS")
    return CollectionBook.parse(text) if text else CollectionBook()


if hasattr(os, "register_at_fork"):
    # Neither Chroma's threads nor open connections survive a fork.
    os.register_at_fork(after_in_child=client_manager.cache_clear)
