"""The embedding provider over the real ``openai`` client: OpenAI itself, or any server that speaks its API."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import BinaryIO, cast

import httpx2
import numpy as np
import openai
from numpy.typing import NDArray
from openai.types import Batch

from siltstone.embedding.requests import decode_vector, embedding_body
from siltstone.errors import BatchFailed, ProviderRefused, ProviderUnavailable
from siltstone.stores.provider import BatchInfo, BatchProblem, Embedded, RequestCounts

_CONNECT_SECONDS, _ANSWER_SECONDS, _UPLOAD_SECONDS = 5.0, 60.0, 300.0
_RETRIES = 2
_CONNECTIONS = httpx2.Limits(max_connections=32, max_keepalive_connections=32)  # as many as the AWS clients have
_MAX_INPUTS = 2_048
_MAX_INPUT_BYTES = 300_000  # the limit is 300,000 tokens a request, and a token is at least one byte
_KEY = re.compile(r"\bsk-[\w*-]{3,}")


class OpenAIProvider:
    """Implements `siltstone.stores.provider.EmbeddingProvider`.

    ``base_url``: ends in ``/v1``; ``None`` is OpenAI itself. ``answer_seconds``: how long a reply may take.
    """

    def __init__(self, api_key: str, base_url: str | None = None, *, answer_seconds: float = _ANSWER_SECONDS) -> None:
        self._api_key = api_key
        self._client = openai.OpenAI(
            api_key=api_key,
            base_url=base_url,
            max_retries=_RETRIES,
            timeout=httpx2.Timeout(answer_seconds, connect=_CONNECT_SECONDS),
            http_client=openai.DefaultHttpx2Client(limits=_CONNECTIONS),
        )

    @property
    def client(self) -> openai.OpenAI:
        """OpenAI's own client, for what this adapter does not offer."""
        return self._client

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def upload_file(self, source: Path | BinaryIO, filename: str) -> str:
        if isinstance(source, Path):
            with source.open("rb") as file:  # given a path, the client would read all of it into memory
                return self.upload_file(file, filename)
        with self._speaking(f"Uploading {filename}"):
            timeout = httpx2.Timeout(_UPLOAD_SECONDS, connect=_CONNECT_SECONDS)
            file = (filename, source, "application/jsonl")
            return self._client.files.create(file=file, purpose="batch", timeout=timeout).id

    def create_batch(self, file_id: str, metadata: Mapping[str, str]) -> BatchInfo:
        # The API takes no idempotency key: a repeat after a lost reply buys a second batch.
        client = self._client.with_options(max_retries=0)
        with self._speaking("Creating a batch", refusal=BatchFailed):
            batch = client.batches.create(
                input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h", metadata=dict(metadata)
            )
            return _info(batch)

    def get_batch(self, batch_id: str) -> BatchInfo:
        with self._speaking(f"Reading batch {batch_id}"):
            return _info(self._client.batches.retrieve(batch_id))

    def list_batches(self, *, since: float = 0) -> Iterator[BatchInfo]:
        with self._speaking("Listing the batches"):
            for page in self._client.batches.list(limit=100).iter_pages():
                if (
                    cast(object, page.data) is None
                ):  # "{}" must not pass for "there is no batch": it would be paid twice
                    raise ProviderUnavailable("Listing the batches: the answer is no list.")
                for batch in map(_info, page.data):
                    if batch.created_at < int(since):  # whole seconds on their side
                        return
                    yield batch

    def download_file(self, file_id: str, path: Path) -> int:
        part = path.with_name(f"{path.name}.part")
        with self._speaking(f"Downloading file {file_id}"):
            with self._client.files.with_streaming_response.content(file_id) as response, part.open("wb") as file:
                for chunk in response.iter_bytes(2**20):
                    file.write(chunk)
            part.replace(path)  # a cut download never looks like a whole file
        return path.stat().st_size

    def cancel_batch(self, batch_id: str) -> BatchInfo:
        with self._speaking(f"Cancelling batch {batch_id}"):
            return _info(self._client.batches.cancel(batch_id))

    def delete_file(self, file_id: str) -> None:
        with self._speaking(f"Deleting file {file_id}"):
            try:
                self._client.files.delete(file_id)
            except openai.NotFoundError:
                return

    def embed(self, texts: Sequence[str], *, model: str, dimension: int) -> Embedded:
        vectors = np.empty((len(texts), dimension), dtype=np.float32)
        tokens = done = 0
        for chunk in _within_limits(texts):
            tokens += self._embed_chunk(chunk, model, vectors[done : done + len(chunk)])
            done += len(chunk)
        return Embedded(vectors, tokens)

    def _embed_chunk(self, texts: list[str], model: str, out: NDArray[np.float32]) -> int:
        """Fill ``out`` float32 (n, d); return the tokens."""
        body = embedding_body(model, texts, out.shape[1])
        with self._speaking(f"Embedding {len(texts)} texts with {model}"):
            # An explicit encoding_format keeps the client from turning exact float32 into Python floats.
            answer = self._client.embeddings.create(**body)
            if sorted(item.index for item in answer.data) != list(range(len(texts))):
                raise ProviderUnavailable(f"{len(texts)} texts were sent and {len(answer.data)} vectors came back.")
            for item in answer.data:
                out[item.index] = _usable(item.embedding, model, out.shape[1])
            return answer.usage.total_tokens

    @contextmanager
    def _speaking(self, what: str, *, refusal: type[ProviderRefused] = ProviderRefused) -> Generator[None]:
        """Turn the client's errors into ours, without the key, which an error body may echo."""
        try:
            yield
        except openai.APIStatusError as error:
            words = f"{what}: HTTP {error.status_code}, {error.code or error.type}: {_words(error)}"
            words = self._without_key(words)
            # 429 with this code is no throttling: the account has no money left.
            if error.status_code == 429 and error.code == "insufficient_quota":
                raise ProviderRefused(words, remedy="Raise the account's quota, then start again.") from None
            if error.status_code in (408, 429) or error.status_code >= 500:
                raise ProviderUnavailable(words) from None
            if error.status_code in (401, 403):
                raise ProviderRefused(words, remedy="Put a valid key into the provider's secret.") from None
            raise refusal(words) from None
        # A lost connection, a time-out, or (the rest) a success of something between us that is not the API's answer:
        # the client hands out HTML as a string, broken JSON as the parser's error, and missing fields as no attribute.
        except (openai.APIError, httpx2.HTTPError, JSONDecodeError, AttributeError, TypeError) as error:
            reason = self._without_key(f"{type(error).__name__}: {error}")
            raise ProviderUnavailable(f"{what}: {reason}") from None

    def _without_key(self, text: str) -> str:
        return _KEY.sub("sk-***", text.replace(self._api_key, "***"))[:1000]


def _words(error: openai.APIStatusError) -> str:
    body = error.body
    message = cast(dict[str, object], body).get("message") if isinstance(body, dict) else None
    return str(message or error.message)


def _usable(embedding: object, model: str, dimension: int) -> NDArray[np.float32]:
    try:
        vector = decode_vector(embedding)
    except ValueError as error:
        raise _unusable(model, str(error)) from error
    if len(vector) != dimension:
        raise _unusable(model, f"{len(vector)} components instead of {dimension}")
    if not np.isfinite(vector).all():
        raise _unusable(model, "a component is not finite")
    return vector


def _unusable(model: str, reason: str) -> ProviderRefused:
    return ProviderRefused(
        f"The model {model} answered with an unusable vector: {reason}.",
        remedy="Check the collection's model and dimension.",
    )


def _within_limits(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for text in texts:
        length = len(text.encode(errors="replace"))
        if chunk and (len(chunk) == _MAX_INPUTS or size + length > _MAX_INPUT_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += length
    if chunk:
        yield chunk


def _info(batch: Batch) -> BatchInfo:
    if not (batch.id and batch.status and batch.created_at):  # the client fills what is missing with None
        raise ProviderUnavailable("The answer is no batch.")
    problems = (batch.errors.data if batch.errors else None) or []
    counts = batch.request_counts
    return BatchInfo(
        id=batch.id,
        status=batch.status,
        input_file_id=batch.input_file_id,
        created_at=batch.created_at,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        metadata=batch.metadata or {},
        errors=tuple(BatchProblem(item.code or "unknown", item.message or "", item.line) for item in problems),
        request_counts=RequestCounts(counts.total, counts.completed, counts.failed) if counts else RequestCounts(),
        tokens=batch.usage.total_tokens if batch.usage else None,
    )
