"""LangChain's own standard tests, whole, and what they do not ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests.vectorstores import EMBEDDING_SIZE, VectorStoreIntegrationTests
from siltstone import Client, Collection, connect
from siltstone.clock import ManualClock
from siltstone.errors import BadDelta, BadRecord, InvalidInput
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.stores import Stores
from siltstone.stores.hints import MemoryHints
from siltstone.stores.leases_memory import MemoryLeases
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.objects_memory import MemoryObjects
from siltstone.stores.provider_memory import MemoryProvider
from siltstone.stores.sources_memory import MemorySources
from siltstone_langchain import SiltstoneVectorStore

from tests.unit.query.house import embed


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A stage in memory, nothing written; ``notes`` has the vectors of `embed`, ``standard`` those of LangChain."""
    clock = ManualClock()
    collections = {
        "notes": CollectionSettings(dimension=16),
        "standard": CollectionSettings(dimension=EMBEDDING_SIZE),
        "flat": CollectionSettings(dimension=16, space="l2"),
    }
    stores = Stores(
        deltas=MemoryObjects(clock),
        snapshots=MemoryObjects(clock),
        leases=MemoryLeases(),
        ledger=MemoryLedger(),
        sources=MemorySources(),
        hints=MemoryHints(),
        settings=CollectionBook(collections=collections),
    )
    provider = MemoryProvider(embed, clock)
    with connect(stores=stores, provider=lambda: provider, clock=clock) as client:
        yield client


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
class TestStandard(VectorStoreIntegrationTests):
    """The suite as it is: none of its tests is overridden, and it says so itself if one were."""

    @pytest.fixture
    def vectorstore(self, client: Client) -> VectorStore:  # pyright: ignore[reportIncompatibleMethodOverride]
        return SiltstoneVectorStore(client.collection("standard", consistency="strong"), self.get_embeddings())


@pytest.fixture
def notes(client: Client) -> Collection:
    return client.collection("notes", consistency="strong")


@pytest.fixture
def store(notes: Collection) -> SiltstoneVectorStore:
    """Embedded by the collection's own model."""
    made = SiltstoneVectorStore(notes)
    made.add_documents(
        [
            Document(id="1", page_content="a teapot", metadata={"room": "kitchen"}),
            Document(id="2", page_content="a bicycle", metadata={"room": "hall"}),
            Document(id="3", page_content="a kettle", metadata={"room": "kitchen"}),
        ]
    )
    return made


def test_the_collections_own_model_embeds_where_no_other_is_given(store: SiltstoneVectorStore) -> None:
    assert store.embeddings is None
    assert store.similarity_search("a bicycle", k=1) == [
        Document(id="2", page_content="a bicycle", metadata={"room": "hall"})
    ]


def test_filters_are_chromas(store: SiltstoneVectorStore) -> None:
    found = store.similarity_search("a bicycle", k=5, filter={"room": "kitchen"})
    assert {document.id for document in found} == {"1", "3"}
    found = store.similarity_search("a bicycle", k=5, where_document={"$contains": "kettle"})
    assert [document.id for document in found] == ["3"]


@pytest.mark.parametrize("name", ["notes", "flat"])
def test_scores_are_distances_and_relevance_is_one_for_the_same_text(client: Client, name: str) -> None:
    store = SiltstoneVectorStore(client.collection(name, consistency="strong"))
    store.add_texts(["a teapot", "a bicycle"])
    (near, distance), (_, further) = store.similarity_search_with_score("a teapot", k=2)
    assert near.page_content == "a teapot"
    assert distance == pytest.approx(0, abs=1e-6)
    assert further > 0.1
    (_, relevance), (_, less) = store.similarity_search_with_relevance_scores("a teapot", k=2)
    assert relevance == pytest.approx(1, abs=1e-6)
    assert less < 1


def test_it_retrieves(store: SiltstoneVectorStore) -> None:
    retriever = store.as_retriever(search_kwargs={"k": 1, "filter": {"room": "kitchen"}})
    assert [document.id for document in retriever.invoke("a kettle")] == ["3"]


def test_marginal_relevance_leaves_out_what_repeats(client: Client) -> None:
    class Plane:
        """Two dimensions that mean something, of 16."""

        def embed_query(self, text: str) -> list[float]:
            return [*map(float, text.split(",")), *[0.0] * 14]

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [self.embed_query(text) for text in texts]

    store = SiltstoneVectorStore(client.collection("notes", consistency="strong"), Plane())  # pyright: ignore
    assert store.max_marginal_relevance_search("1,0", k=2) == []
    store.add_texts(["1,0.1", "1,0.11", "0.8,-0.6"], ids=["near", "same", "other"])
    found = store.max_marginal_relevance_search("1,0", k=2, fetch_k=3, lambda_mult=0.3)
    assert [document.id for document in found] == ["near", "other"]
    assert [document.id for document in store.similarity_search("1,0", k=2)] == ["near", "same"]


def test_marginal_relevance_needs_the_querys_vector(store: SiltstoneVectorStore) -> None:
    with pytest.raises(InvalidInput, match="embedding"):
        store.max_marginal_relevance_search("a teapot")


def test_from_texts_fills_a_collection(notes: Collection) -> None:
    store = SiltstoneVectorStore.from_texts(
        ["one", "two"], None, [{"n": 1}, {"n": 2}], ids=["a", "b"], collection=notes
    )
    assert store.get_by_ids(["b", "a", "c"]) == [
        Document(id="b", page_content="two", metadata={"n": 2}),
        Document(id="a", page_content="one", metadata={"n": 1}),
    ]
    with pytest.raises(InvalidInput, match="collection"):
        SiltstoneVectorStore.from_texts(["one"], None)


def test_nothing_is_done_with_nothing(store: SiltstoneVectorStore) -> None:
    assert store.add_texts([]) == []
    assert store.get_by_ids([]) == []
    assert store.delete([]) is True
    with pytest.raises(InvalidInput, match="ids"):
        store.delete()
    assert len(store.get_by_ids(["1", "2", "3"])) == 3


@pytest.mark.parametrize(
    ("error", "named", "wrong"),
    [
        (BadRecord, "'model'", {"metadatas": [{"model": "T"}]}),
        (BadRecord, "2 ids", {"ids": ["a", "b"]}),
        (BadRecord, "2 metadatas", {"metadatas": [{}, {}]}),
        (BadDelta, "nested", {"metadatas": [{"nested": {"a": 1}}]}),
    ],
)
def test_what_can_not_be_kept_is_refused_by_name(
    store: SiltstoneVectorStore, error: type[Exception], named: str, wrong: dict[str, Any]
) -> None:
    with pytest.raises(error, match=named):
        store.add_texts(["one"], **wrong)


def test_core_does_without_langchain() -> None:
    for path in Path("core/siltstone").rglob("*.py"):
        assert "langchain" not in path.read_text(), path
