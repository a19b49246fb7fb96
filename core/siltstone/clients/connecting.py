"""``connect``: the one way to a client, whatever answers it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import boto3

from siltstone.clients.client import Client
from siltstone.clients.in_process import StoresTransport
from siltstone.clients.manager import client_manager
from siltstone.clients.over_directory import DirectoryTransport
from siltstone.clients.over_lambda import LambdaTransport
from siltstone.clients.over_url import UrlTransport
from siltstone.clients.stage import StageOutputs, new_session
from siltstone.clients.transport import Transport
from siltstone.clients.writing import Writer, read_only
from siltstone.clock import Clock, SystemClock
from siltstone.deltas.produce import ProducerStores, producer_from_environment
from siltstone.errors import InvalidInput
from siltstone.settings import CollectionBook
from siltstone.stores import Stores
from siltstone.stores.provider import EmbeddingProvider

T = TypeVar("T")


def connect(
    stage: str | None = None,
    *,
    url: str | None = None,
    function: str | None = None,
    path: str | Path | None = None,
    stores: Stores | None = None,
    settings: CollectionBook | None = None,
    producer: ProducerStores | None = None,
    provider: Callable[[], EmbeddingProvider] | None = None,
    session: boto3.Session | None = None,
    clock: Clock | None = None,
) -> Client:
    """A client over exactly one of these; nothing is asked yet.

    ``stage``: a deployed stage by its name; the query function is invoked directly, and all names come from the stack's
    outputs. ``url``: the query function's URL (output ``QueryUrl``), signed with the session's credentials.
    ``function``: the query function's name or ARN. ``path``: a local copy of one version, read only. ``stores``: the
    stores themselves, in process.

    ``producer``: where writes go, by default the stage, or the environment's ``DELTA_BUCKET``, ``DELTA_QUEUE_URL`` and
    ``SILTSTONE_COLLECTIONS``. ``provider``: embeds what this process embeds (documents that are written; queries, over
    a path or stores), by default with the stage's key, or the environment's ``OPENAI_API_KEY`` and ``OPENAI_BASE_URL``.
    ``settings``: of a local copy, where it was made by other defaults. Raises `InvalidInput`.
    """
    given: list[object] = [each for each in (stage, url, function, path, stores) if each is not None]
    if len(given) != 1:
        raise InvalidInput(
            f"A client is connected to one place, not to {len(given)}.",
            remedy="Give exactly one of stage, url, function, path and stores.",
        )
    clock = clock or SystemClock()
    session = session or new_session()
    found = StageOutputs(session, stage) if stage is not None else None
    embeds = provider or _once(found.provider if found else lambda: client_manager().embeddings)
    if path is not None:
        transport: Transport = DirectoryTransport(Path(path), clock, embeds, settings)
        target = read_only(f"{path} is a copy of one version.")
    elif stores is not None:
        from siltstone.query.index_chroma import open_index  # noqa: PLC0415

        transport, target = StoresTransport(stores, clock, embeds, open_index), lambda: stores
    else:
        target = _once(found.producer) if found else producer_from_environment
        transport = _over_aws(session, found, url, function)
    return Client(transport, Writer((lambda: producer) if producer is not None else target, embeds, clock))


def _over_aws(session: boto3.Session, stage: StageOutputs | None, url: str | None, function: str | None) -> Transport:
    if url is not None:
        return UrlTransport(url, session)
    return LambdaTransport(session, (lambda: stage.output("QueryFunction")) if stage else (lambda: function or ""))


def _once(make: Callable[[], T]) -> Callable[[], T]:
    """Made by whoever asks first, for all; not made if that fails."""
    making, made = threading.Lock(), list[T]()

    def made_once() -> T:
        with making:
            if not made:
                made.append(make())
            return made[0]

    return made_once
