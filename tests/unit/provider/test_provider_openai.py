"""The real client: what it repeats and what never, what it says, and what it keeps in memory."""

from __future__ import annotations

import io
import json
import logging
import threading
import traceback
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from siltstone.errors import BatchFailed, ProviderRefused, ProviderUnavailable
from siltstone.stores.provider_openai import OpenAIProvider
from siltstone_local.batch_server import BatchServer, Faults, ReplyFault
from siltstone_local.embedder import embed

MODEL = "text-embedding-3-small"
KEY = "sk-proj-abcDEF0123456789"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer]:
    with BatchServer(tmp_path_factory.mktemp("server"), speed=3000) as server:
        yield server


@pytest.fixture
def server(running: BatchServer) -> Iterator[BatchServer]:
    yield running
    running.clear_faults()


@pytest.fixture
def provider(server: BatchServer) -> OpenAIProvider:
    return OpenAIProvider(KEY, server.base_url)


class Scripted:
    """An HTTP server that gives the same answer to everything and counts the questions."""

    def __init__(self, status: int, body: bytes, *, length: int | None = None, kind: str = "application/json") -> None:
        scripted, self.asked = self, 0

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                scripted.asked += 1
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"


def error_body(message: str, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "t", "param": None, "code": code}}).encode()


@pytest.mark.parametrize("kind", ["429", "500", "timeout", "lost"])
def test_creating_a_batch_is_never_repeated_inside(server: BatchServer, provider: OpenAIProvider, kind: str):
    file_id = provider.upload_file(io.BytesIO(b"{}\n"), "r.jsonl")
    server.set_faults(Faults(replies=(ReplyFault(path="/v1/batches", method="POST", kind=kind, times=9),)))
    impatient = OpenAIProvider(KEY, server.base_url, answer_seconds=0.3 if kind == "timeout" else 20)
    with pytest.raises(ProviderUnavailable):
        impatient.create_batch(file_id, {})
    assert server.faults().replies[0].times == 8
    made = [batch for batch in provider.list_batches() if batch.input_file_id == file_id]
    assert len(made) == (1 if kind == "lost" else 0)


def test_everything_else_is_repeated_after_a_hiccup(server: BatchServer, provider: OpenAIProvider, tmp_path: Path):
    once = [("/v1/files", "500"), ("/v1/embeddings", "lost"), ("/v1/files/*", "429")]
    server.set_faults(Faults(replies=tuple(ReplyFault(path=path, kind=kind) for path, kind in once)))
    content = bytes(range(256)) * 1000
    file_id = provider.upload_file(io.BytesIO(content), "r.jsonl")
    provider.download_file(file_id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content  # the repeated upload began at the beginning
    provider.embed(["x"], model=MODEL, dimension=4)
    assert server.faults().replies == ()


def test_a_provider_that_stays_away_is_unavailable(server: BatchServer, provider: OpenAIProvider):
    server.set_faults(Faults(replies=(ReplyFault(path="/v1/batches/*", kind="503", times=9),)))
    with pytest.raises(ProviderUnavailable, match="Reading batch batch_1: HTTP 503"):
        provider.get_batch("batch_1")
    with pytest.raises(ProviderUnavailable, match="Reading batch"):
        OpenAIProvider(KEY, "http://127.0.0.1:9/v1").get_batch("batch_1")


def test_a_refusal_has_the_providers_words(provider: OpenAIProvider):
    with pytest.raises(BatchFailed, match=r"metadata.*at most 512"):
        provider.create_batch("file-x", {"key": "x" * 513})
    with pytest.raises(ProviderRefused, match="between 1 and 1536"):
        provider.embed(["x"], model=MODEL, dimension=2000)


def test_an_empty_account_is_no_throttling():
    body = error_body("You exceeded your current quota.", "insufficient_quota")
    with Scripted(429, body) as scripted, pytest.raises(ProviderRefused, match="Raise the account's quota"):
        OpenAIProvider(KEY, scripted.url).create_batch("file-1", {})


@pytest.mark.parametrize("echo", [KEY, "sk-proj-****6789"])
def test_the_key_is_in_no_message_no_traceback_and_no_log(echo: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    with Scripted(401, error_body(f"Incorrect API key provided: {echo}.", "invalid_api_key")) as scripted:
        provider = OpenAIProvider(KEY, scripted.url)
        with pytest.raises(ProviderRefused, match="Incorrect API key") as caught:
            provider.get_batch("batch_1")
    told = "".join(traceback.format_exception(caught.value)) + repr(provider)
    for secret in (KEY, "6789"):
        assert secret not in told
    assert KEY not in caplog.text
    assert "secret" in caught.value.remedy


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"<html>busy</html>", "text/html"), (b"<html>busy</html>", "application/json"), (b"{}", "application/json")],
)
def test_an_answer_that_is_no_answer_is_unavailable(body: bytes, kind: str):
    with Scripted(200, body, kind=kind) as scripted:
        provider = OpenAIProvider(KEY, scripted.url)
        with pytest.raises(ProviderUnavailable, match=r"Reading batch|no batch"):
            provider.get_batch("batch_1")
        with pytest.raises(ProviderUnavailable, match="Listing"):
            list(provider.list_batches())
        with pytest.raises(ProviderUnavailable, match="Embedding"):
            provider.embed(["x"], model=MODEL, dimension=2)


def test_a_cut_download_leaves_no_file(tmp_path: Path):
    with Scripted(200, b"half", length=8) as scripted, pytest.raises(ProviderUnavailable, match="Downloading"):
        OpenAIProvider(KEY, scripted.url).download_file("file-1", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("embedding", "reason"),
    [([0.5], "1 components instead of 2"), ("!", "unusable"), ([1e999, 0.0], "not finite")],
)
def test_an_unusable_vector_is_refused(embedding: object, reason: str):
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    data = [{"object": "embedding", "index": 0, "embedding": embedding}]
    body = json.dumps({"object": "list", "data": data, "model": "m", "usage": usage}).encode()
    with Scripted(200, body) as scripted, pytest.raises(ProviderRefused, match=reason):
        OpenAIProvider(KEY, scripted.url).embed(["x"], model="m", dimension=2)


def test_more_texts_than_one_request_takes_are_split(provider: OpenAIProvider):
    texts = [f"text number {i}" for i in range(2_100)] + ["long " * 5_000] * 16
    assert np.array_equal(provider.embed(texts, model=MODEL, dimension=4).vectors, embed(texts, 4))


def test_large_files_are_never_whole_in_memory(server: BatchServer, tmp_path: Path):
    provider, size = OpenAIProvider(KEY, server.base_url), 40 * 2**20
    with (tmp_path / "large").open("wb") as file:
        for _ in range(40):
            file.write(bytes(2**20))
    provider.upload_file(io.BytesIO(b"x"), "warm-up.jsonl")
    tracemalloc.start()
    file_id = provider.upload_file(tmp_path / "large", "large.jsonl")
    assert provider.download_file(file_id, tmp_path / "back") == size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20
