"""Old names and settings still work, and say what they are called now."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import siltstone
from siltstone import Client, ClientManager, client_manager
from siltstone.client import ChromaDBClient
from siltstone.clients import connecting as clients
from siltstone.errors import BadSettings, UnknownCollection
from siltstone.pinecone_like import Pinecone
from siltstone.settings import CollectionBook, CollectionSettings

IMAGE = "8f14e45f-ceea-467f-9575-0d4f3f1c0b1a"
BOOK = CollectionBook(collections={"words": CollectionSettings(dimension=4)})
SETTINGS = (
    "PINECONE_API_KEY", "PINECONE_INDEX_NAME", "PINECONE_HOST",
    "SILTSTONE_STAGE", "SILTSTONE_URL", "SILTSTONE_COLLECTION", "CHROMA_PERSIST_PATH",
)  # fmt: skip


@dataclass
class Label:
    image_id: str
    receipt_id: int
    line_id: int
    word_id: int


def label(word: int) -> Label:
    return Label(IMAGE, 1, 2, word)


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    client_manager.cache_clear()
    yield
    client_manager.cache_clear()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Five words, each nearer to the first than the one after it."""
    with ChromaDBClient(tmp_path, "snapshot", settings=BOOK) as client:
        client.upsert_vectors(
            "words",
            [siltstone.chroma_id_from_label(label(word)) for word in range(5)],
            [[1.0, word / 10, 0.0, 0.0] for word in range(5)],
            [f"word {word}" for word in range(5)],
            [{"merchant_name": "AEON" if word % 2 else "SANYU", "word_id": word} for word in range(5)],
        )
    return tmp_path


# Names ------------------------------------------------------------------------------------------------
def test_a_labels_id_is_the_one_that_it_had_in_pinecone() -> None:
    expected = f"IMAGE#{IMAGE}#RECEIPT#00001#LINE#00002#WORD#00003"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert siltstone.chroma_id_from_label(label(3)) == expected
    with pytest.warns(DeprecationWarning, match="chroma_id_from_label") as told:
        assert siltstone.pinecone_id_from_label(label(3)) == expected
    assert told[0].filename == __file__


def test_the_helper_answers_what_labels_ask(directory: Path) -> None:
    with ChromaDBClient(directory) as client:
        helper = siltstone.chroma_helper(client)
        own = helper.vector(label(2))
        assert own is not None
        assert np.allclose(own, [1.0, 0.2, 0.0, 0.0])
        assert helper.vector(label(9)) is None
        near = helper.similar(label(0), 2)
        assert near["ids"] == [siltstone.chroma_id_from_label(label(word)) for word in (1, 2)]
        assert (near["documents"], near["distances"]) == (["word 1", "word 2"], sorted(near["distances"]))
        assert helper.similar(label(0), where={"merchant_name": "AEON"})["documents"] == ["word 1", "word 3"]
        assert helper.similar(label(9)) == {"ids": [], "metadatas": [], "documents": [], "distances": []}
        assert sorted(helper.of_merchant("SANYU")["documents"]) == ["word 0", "word 2", "word 4"]
        assert helper.of_merchant("SANYU", {"word_id": {"$gte": 3}})["documents"] == ["word 4"]
        with pytest.raises(UnknownCollection):
            helper.vector(label(0), "lines")


def test_the_helpers_old_name_is_the_same_helper(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMA_PERSIST_PATH", str(directory))
    with pytest.warns(DeprecationWarning, match="chroma_helper") as told:
        helper = siltstone.pinecone_helper()
    assert told[0].filename == __file__
    assert helper.client is siltstone.chroma_helper().client is siltstone.get_chroma_client()
    assert helper.vector(label(1)) is not None
    client_manager().close()


def test_the_managers_old_name_says_what_replaces_each_old_setting(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SETTINGS[:3]:
        monkeypatch.setenv(name, "x")
    with ClientManager(directory, settings=BOOK) as manager:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            chroma = manager.chroma
        with pytest.warns(DeprecationWarning) as told:
            assert manager.pinecone is chroma
    texts = [str(each.message) for each in told]
    assert all(each.filename == __file__ for each in told)
    for name in SETTINGS[:3]:
        assert any(name in text and "CHROMA_PERSIST_PATH" in text for text in texts)


# Settings ---------------------------------------------------------------------------------------------
@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Stage and URL of what was connected to; the connection itself is the real one, over which nothing is asked."""
    asked: list[tuple[Any, Any]] = []
    real = clients.connect

    def watch(stage: str | None = None, *, url: str | None = None) -> Client:
        asked.append((stage, url))
        return real(stage, url=url)

    monkeypatch.setattr(clients, "connect", watch)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    return asked


URL = "https://abc.lambda-url.eu-west-1.on.aws/"


@pytest.mark.parametrize(
    ("settings", "place", "warned"),
    [
        ({"SILTSTONE_STAGE": "dev"}, ("dev", None), []),
        ({"SILTSTONE_URL": URL}, (None, URL), []),
        ({"SILTSTONE_URL": URL, "SILTSTONE_STAGE": "dev"}, (None, URL), []),
        ({"PINECONE_HOST": URL}, (None, URL), ["PINECONE_HOST.*SILTSTONE_URL"]),
        ({"PINECONE_HOST": "abc.lambda-url.eu-west-1.on.aws/"}, (None, URL), ["PINECONE_HOST"]),
        ({"SILTSTONE_STAGE": "dev", "PINECONE_HOST": "https://receipts-1.svc.x.pinecone.io"}, ("dev", None), []),
        ({"SILTSTONE_STAGE": "dev", "PINECONE_API_KEY": "pcsk"}, ("dev", None), ["PINECONE_API_KEY.*AWS_PROFILE"]),
    ],
)
def test_an_index_is_where_the_settings_say(
    settings: dict[str, str],
    place: tuple[Any, Any],
    warned: list[str],
    connected: list[tuple[Any, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", DeprecationWarning)
        with Pinecone(api_key="pcsk", pool_threads=3) as pinecone:
            pinecone.Index("receipts")
            pinecone.index("words", host="https://words-1.svc.x.pinecone.io")
    assert connected == [place]
    told = [each for each in told if "PINECONE" in str(each.message)]
    texts = [str(each.message) for each in told]
    assert {each.filename for each in told} <= {__file__}
    assert len(texts) == len(warned)
    for text, expected in zip(texts, warned, strict=True):
        assert re.search(expected, text)


@pytest.mark.parametrize("host", [None, "receipts-1.svc.x.pinecone.io", "https://receipts-1.svc.x.pinecone.io:443"])
def test_pinecones_own_address_is_no_place(host: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if host is not None:
        monkeypatch.setenv("PINECONE_HOST", host)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(BadSettings, match="SILTSTONE_STAGE"):
            Pinecone(host=host).Index("receipts")


def test_the_index_name_is_the_collection_of_the_namespace_without_a_name(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ids(pinecone: Pinecone, name: str = "") -> list[str]:
        return [each.id for each in pinecone.Index(name).list_paginated().vectors]

    pinecone = Pinecone(client=client)
    pinecone.Index("receipts").upsert([("r", np.ones(32))])
    pinecone.Index("words").upsert([("w", np.ones(32))])
    with pytest.raises(BadSettings, match="SILTSTONE_COLLECTION"):
        ids(pinecone)
    monkeypatch.setenv("PINECONE_INDEX_NAME", "receipts")
    with pytest.warns(DeprecationWarning, match="PINECONE_INDEX_NAME.*SILTSTONE_COLLECTION") as told:
        assert ids(pinecone) == ["r"]
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        monkeypatch.setenv("SILTSTONE_COLLECTION", "words")
        assert (ids(pinecone), ids(pinecone, "receipts")) == (["w"], ["r"])
    pinecone.close()
    assert client.collection("words", consistency="strong").count() == 1
