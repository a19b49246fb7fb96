"""The clients that a process shares: made late, made once, closed at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from siltstone import ClientManager, client_manager, get_chroma_client
from siltstone.client import ChromaDBClient
from siltstone.clients import manager as managing
from siltstone.clients.embedding import CollectionEmbedding
from siltstone.errors import BadQuery, BadSettings, InvalidInput, ReadOnlyClient, UnknownCollection
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.snapshots.chroma import persistent_client
from siltstone_local.batch_server import BatchServer
from siltstone_local.embedder import embed

BOOK = CollectionBook(
    collections={"lines": CollectionSettings(dimension=64), "words": CollectionSettings(dimension=32)}
)
TEXTS = ["a teapot", "a bicycle", "three apples"]
VARIABLES = ("CHROMA_PERSIST_PATH", "OPENAI_API_KEY", "OPENAI_BASE_URL", "SILTSTONE_COLLECTIONS")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer]:
    with BatchServer(tmp_path_factory.mktemp("provider")) as server:
        yield server


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    client_manager.cache_clear()
    yield
    client_manager.cache_clear()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both collections, each with vectors of its own dimension."""
    folder = tmp_path_factory.mktemp("directory")
    with ChromaDBClient(folder, "snapshot", settings=BOOK) as client:
        for name, settings in BOOK.collections.items():
            client.upsert_vectors(name, ["t0", "t1", "t2"], embed(TEXTS, settings.dimension), TEXTS)
    return folder


@pytest.fixture
def manager(directory: Path, server: BatchServer) -> Iterator[ClientManager]:
    session = boto3.Session("key", "secret", region_name="eu-west-1")
    with ClientManager(
        directory, settings=BOOK, api_key="sk-local", base_url=server.base_url, session=session
    ) as manager:
        yield manager


def test_texts_are_embedded_with_the_model_and_dimension_of_each_collection(manager: ClientManager) -> None:
    for name in ("lines", "words"):
        found = manager.chroma.query(name, query_texts=["a bicycle", "three apples"], n_results=1)
        assert found["ids"] == [["t1"], ["t2"]]
        handle = manager.chroma.get_collection(name)
        assert handle.query(query_texts="a teapot", n_results=1)["ids"] == [["t0"]]
        assert handle.query(query_embeddings=embed(["a teapot"], BOOK.collections[name].dimension))["ids"][0][0] == "t0"
    with pytest.raises(BadQuery):
        manager.chroma.get_collection("lines").query(query_texts=["x"], query_embeddings=[[1.0] * 64])


def test_nothing_is_made_before_it_is_used(manager: ClientManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("too early")

    for name in ("ChromaDBClient", "OpenAIProvider", "aws_client"):
        monkeypatch.setattr(managing, name, refuse)
    for attribute in ("chroma", "openai", "dynamo"):
        with pytest.raises(AssertionError, match="too early"):
            getattr(manager, attribute)


@pytest.mark.parametrize("attribute", ["chroma", "openai", "dynamo", "embeddings"])
def test_each_is_made_once_however_many_threads_ask(manager: ClientManager, attribute: str) -> None:
    gate, found = threading.Barrier(8), list[Any]()

    def ask() -> None:
        gate.wait()
        found.append(getattr(manager, attribute))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(one) for one in found}) == 1


def test_threads_share_the_directorys_client(manager: ClientManager) -> None:
    found = list[Any]()

    def ask(text: str) -> None:
        found.extend(manager.chroma.query("lines", query_texts=[text], n_results=1)["documents"][0])

    threads = [threading.Thread(target=ask, args=(text,)) for text in TEXTS * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(TEXTS * 4)


def test_pools_hold_as_many_connections_as_threads_ask_at_once(manager: ClientManager) -> None:
    assert manager.dynamo.meta.config.max_pool_connections == 32
    pool = manager.openai._client._transport._pool  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    assert (pool._max_connections, pool._max_keepalive_connections) == (32, 32)


def test_the_openai_client_is_openais_own(manager: ClientManager) -> None:
    answer = manager.openai.embeddings.create(
        model="text-embedding-3-small", input=["a teapot"], dimensions=16, encoding_format="float"
    )
    assert len(answer.data[0].embedding) == 16


def test_the_embedding_function_serves_plain_chroma(manager: ClientManager, tmp_path: Path) -> None:
    client = persistent_client(tmp_path)
    function = manager.embedding_function("words")
    made = client.create_collection("words", embedding_function=function, metadata={"hnsw:space": "cosine"})
    made.upsert(ids=["t0", "t1", "t2"], documents=TEXTS)
    assert np.asarray(made.get(include=["embeddings"])["embeddings"]).shape == (3, 32)
    client.close()
    client = persistent_client(tmp_path)
    again = client.get_collection("words", embedding_function=function)
    assert again.query(query_texts=["a bicycle"], n_results=1)["ids"] == [["t1"]]
    client.close()
    stored = CollectionEmbedding.build_from_config(function.get_config())
    assert stored.get_config() == {"model": "text-embedding-3-small", "dimension": 32}
    with pytest.raises(UnknownCollection, match="others"):
        manager.embedding_function("others")


def test_a_published_directory_takes_the_embedding_function_in_plain_chroma(
    manager: ClientManager, directory: Path
) -> None:
    client = persistent_client(directory)
    lines = client.get_collection("lines", embedding_function=manager.embedding_function("lines"))
    assert lines.query(query_texts=["a teapot"], n_results=1)["ids"] == [["t0"]]
    client.close()


def test_it_reads_unless_it_is_told_to_write(manager: ClientManager, tmp_path: Path) -> None:
    with pytest.raises(ReadOnlyClient):
        manager.chroma.upsert_vectors("lines", ["x"], embed(["x"], 64))
    with ClientManager(tmp_path, "snapshot", settings=BOOK) as writer:
        writer.chroma.upsert_vectors("lines", ["x"], embed(["x"], 64))
    with ClientManager(tmp_path, settings=BOOK) as reader:
        assert reader.chroma.count("lines") == 1


def test_what_is_not_given_comes_from_the_environment(
    directory: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadSettings, match="CHROMA_PERSIST_PATH"):
        get_chroma_client()
    monkeypatch.setenv("CHROMA_PERSIST_PATH", str(directory))
    monkeypatch.setenv("SILTSTONE_COLLECTIONS", BOOK.model_dump_json())
    client_manager.cache_clear()
    chroma = get_chroma_client()
    assert chroma is get_chroma_client() is client_manager().chroma
    assert chroma.count("lines") == 3
    with pytest.raises(BadSettings, match="OPENAI_API_KEY"):
        chroma.query("lines", query_texts=["x"])
    monkeypatch.setenv("OPENAI_API_KEY", "sk-local")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    assert chroma.query("lines", query_texts=["a teapot"], n_results=1)["ids"] == [["t0"]]
    client_manager().close()


def test_the_old_name_still_works_and_says_that_it_is_old(manager: ClientManager) -> None:
    with pytest.warns(DeprecationWarning, match="chroma"):
        assert manager.pinecone is manager.chroma


def test_after_the_end_nothing_is_made_anew(manager: ClientManager) -> None:
    chroma, provider = manager.chroma, manager.embeddings
    manager.close()
    manager.close()
    with pytest.raises(InvalidInput, match="closed"):
        _ = manager.chroma
    with pytest.raises(InvalidInput, match="closed"):
        chroma.count("lines")
    assert provider.client.is_closed()


def test_the_process_wide_one_is_closed_at_exit(directory: Path, tmp_path: Path) -> None:
    """What Chroma copied for itself is gone with the process."""
    program = "import siltstone; print(siltstone.get_chroma_client().count('lines'))"
    environment = {
        **os.environ,
        "CHROMA_PERSIST_PATH": str(directory),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("3", 0), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_function_that_wants_one_module_does_not_wait_for_all(tmp_path: Path) -> None:
    program = "import sys, siltstone.errors; print([m for m in ('boto3', 'openai', 'chromadb') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
