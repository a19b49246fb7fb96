"""The same tests over plain Chroma, a local copy, the stores, the function and its URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from siltstone import Client, Collection
from siltstone.clients.embedding import CollectionEmbedding
from siltstone.snapshots.chroma import persistent_client

from tests.contracts.collections import ReadingContract, RefusalContract, WritingContract, fill
from tests.unit.clients.conftest import Stage

KINDS = ("stores", "path", "function", "url")


@pytest.fixture(scope="module")
def plain_chroma(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    embedding = CollectionEmbedding(lambda: stage.house.provider, stage.house.settings)
    client = persistent_client(Path(tmp_path_factory.mktemp("chroma")))
    collection = client.create_collection("texts", embedding_function=embedding)
    fill(collection)
    yield collection
    client.close()


class TestPlainChroma(ReadingContract):
    """The yardstick: what holds for it is what code that was written for Chroma relies on."""

    @pytest.fixture
    def collection(self, plain_chroma: Any) -> Any:
        return plain_chroma


@pytest.fixture(scope="module", params=KINDS)
def client(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Client]:
    with stage.client(request.param) as client:
        yield client


@pytest.fixture(scope="module", params=[kind for kind in KINDS if kind != "path"])
def writer(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Client]:
    with stage.client(request.param) as client:
        yield client


class TestReading(ReadingContract, RefusalContract):
    @pytest.fixture
    def collection(self, client: Client) -> Collection:
        return client.collection("texts")


class TestWriting(WritingContract):
    @pytest.fixture
    def strong(self, writer: Client) -> Collection:
        return writer.collection("texts", consistency="strong")
