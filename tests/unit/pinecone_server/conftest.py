"""The real client against a server of its own. Three namespaces with 20,000 vectors are filled once for a module."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pinecone
import pytest
from pinecone._internal.http_client import get_budget_registry
from siltstone_local.pinecone_server import IndexSpec, PineconeThread, Seeded


@pytest.fixture(autouse=True)
def forgiving() -> Iterator[None]:
    """After some fifty failures at one host name the client stops to retry there, in the whole process."""
    yield
    get_budget_registry()._reset()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PineconeThread]:
    with PineconeThread(tmp_path_factory.mktemp("pinecone")) as server:
        yield server


@pytest.fixture
def server(running: PineconeThread) -> Iterator[PineconeThread]:
    yield running
    running.clear_faults()


@pytest.fixture(scope="module")
def seeded(running: PineconeThread) -> Seeded:
    return running.fill("receipts")


@pytest.fixture(scope="module")
def client(running: PineconeThread) -> pinecone.Pinecone:
    """A client takes its time to come into being: one for a module."""
    return pinecone.Pinecone(api_key="any", host=running.base_url)


@pytest.fixture(scope="module")
def index_at(client: pinecone.Pinecone) -> Callable[[str], pinecone.Index]:
    """The client of the index at a host."""
    return functools.cache(lambda host: client.Index(host=host))


@pytest.fixture
def receipts(server: PineconeThread, seeded: Seeded, index_at: Callable[[str], pinecone.Index]) -> pinecone.Index:
    """The filled index, for reading."""
    return index_at(server.host(seeded.index))


@pytest.fixture
def make_index(
    server: PineconeThread, client: pinecone.Pinecone, index_at: Callable[[str], pinecone.Index]
) -> Callable[..., pinecone.Index]:
    """An empty index of 3 dimensions, for writing."""

    def make(name: str = "small", **options: object) -> pinecone.Index:
        if client.has_index(name):
            client.delete_index(name)
        server.create_index(IndexSpec.model_validate({"name": name, "dimension": 3, **options}))
        return index_at(server.host(name))

    return make
