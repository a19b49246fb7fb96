"""The same tests over plain Chroma, a local copy, the stores, the function and its URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from siltstone import Client, Collection
from siltstone.clients.embedding import CollectionEmbedding
from siltstone.pinecone_like import Index
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


def test_a_page_begins_behind_an_id(client: Client) -> None:
    texts = client.collection("texts")
    assert texts.get(after="t03", limit=2)["ids"] == ["t04", "t05"]
    assert texts.get(after="t23", where={"odd": False}, include=())["ids"] == ["t24"]
    assert texts.get(after="t24")["ids"] == []


def test_pinecones_calls_are_answered_by_every_kind_of_client(client: Client) -> None:
    index = Index(client, namespaces={"": "texts"}, consistency="snapshot")
    found = index.query(id="t03", top_k=3, filter={"thing": {"$ne": "apple"}, "n": {"$lt": 9}}, include_metadata=True)
    assert (found.matches[0].id, found.matches[0].score) == ("t03", pytest.approx(1, abs=1e-5))
    assert found.matches[0].metadata == {"n": 3.0, "thing": "lantern", "odd": True}
    assert all(match.metadata["thing"] != "apple" and match.metadata["n"] < 9 for match in found.matches)
    assert [match.id for match in index.query(filter={"n": {"$in": [2, 4]}}, top_k=9).matches] == ["t02", "t04"]
    assert [len(page) for page in index.list(limit=10)] == [10, 10, 5]
    assert list(index.fetch(["t01", "nobody"]).vectors) == ["t01"]
    assert index.describe_index_stats().namespaces["__default__"].vector_count == 25


class TestWriting(WritingContract):
    @pytest.fixture
    def strong(self, writer: Client) -> Collection:
        return writer.collection("texts", consistency="strong")
