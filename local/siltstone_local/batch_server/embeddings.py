"""``/v1/embeddings``: what a request may ask for, and its answer. Used by the live endpoint and by every batch row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from siltstone.stores.provider_memory import embeddings_body, encode_vector

from siltstone_local import embedder
from siltstone_local.batch_server.api_error import ApiError, invalid, missing

MAX_INPUTS = 2_048
MAX_INPUT_TOKENS = 8_192
MAX_REQUEST_TOKENS = 300_000

_DIMENSIONS = {  # of each model: what it has unless asked for less
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
    embedder.MODEL: embedder.MAX_DIMENSION,
}
_FIXED = "text-embedding-ada-002"
_FIELDS = frozenset({"input", "model", "dimensions", "encoding_format", "user"})


@dataclass(frozen=True)
class Job:
    """A request that may be answered."""

    texts: list[str]
    model: str
    dimension: int
    encoding: Literal["float", "base64"]
    tokens: int


def models() -> list[dict[str, Any]]:
    """``GET /v1/models``: the names that are understood, and what really stands behind all of them."""
    return [
        {
            "id": name,
            "object": "model",
            "created": 1_706_000_000,
            "owned_by": "siltstone-local",
            "description": embedder.DESCRIPTION,
            "dimensions": dimension,
        }
        for name, dimension in _DIMENSIONS.items()
    ]


def count_tokens(text: str) -> int:
    """An estimate: a token for every four bytes begun. (No tokenizer's tables are needed offline.)"""
    return -(-len(text.encode(errors="replace")) // 4)


def check(body: object) -> Job:
    """Judge a request's body. Raises `ApiError` with a status of 400 or 404."""
    if not isinstance(body, dict):
        raise ApiError(400, "We could not parse the JSON body of your request.")
    fields = cast(dict[str, object], body)
    for name in fields.keys() - _FIELDS:
        raise invalid(name, f"Unknown parameter: '{name}'.", "unknown_parameter")
    for name in ("model", "input"):
        if fields.get(name) is None:
            raise missing(name)
    model = fields["model"]
    if not isinstance(model, str) or model not in _DIMENSIONS:
        raise ApiError(404, f"The model '{model}' does not exist.", param="model", code="model_not_found")
    texts = _texts(fields["input"])
    encoding = fields.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise invalid("encoding_format", f"Invalid value: '{encoding}'. Supported values are: 'float' and 'base64'.")
    return Job(texts, model, _dimension(model, fields.get("dimensions")), encoding, _checked_tokens(texts))


def answer(job: Job, vectors: NDArray[np.float32]) -> dict[str, Any]:
    """The answer's body for ``vectors`` (n, d). Floats stay arrays, to be serialized as float32's shortest decimals."""
    encoded = [encode_vector(vector) if job.encoding == "base64" else vector for vector in vectors]
    return embeddings_body(job.model, encoded, job.tokens)


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise invalid("input", "Invalid type for 'input': expected a string or an array of strings.", "invalid_type")
    items = cast(list[object], value)
    if not items:
        raise invalid("input", "Invalid 'input': array too short. Expected at least 1 element.", "empty_array")
    if len(items) > MAX_INPUTS:
        raise invalid("input", f"Invalid 'input': maximum array size is {MAX_INPUTS}.", "array_above_max_length")
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise invalid(f"input[{index}]", "This server embeds text, not token arrays.", "invalid_type")
        if not item:
            raise invalid("input", f"Invalid 'input[{index}]': input cannot be an empty string.")
    return cast(list[str], items)


def _dimension(model: str, asked: object) -> int:
    largest = _DIMENSIONS[model]
    if asked is None:
        return largest
    if model == _FIXED:
        raise invalid("dimensions", "This model does not support specifying dimensions.")
    if not isinstance(asked, int) or isinstance(asked, bool):
        raise invalid("dimensions", "Invalid type for 'dimensions': expected an integer.", "invalid_type")
    if not 1 <= asked <= largest:
        raise invalid("dimensions", f"Invalid value for 'dimensions' = {asked}. Must be between 1 and {largest}.")
    return asked


def _checked_tokens(texts: list[str]) -> int:
    tokens = [count_tokens(text) for text in texts]
    if max(tokens) > MAX_INPUT_TOKENS:
        message = (
            f"This model's maximum context length is {MAX_INPUT_TOKENS} tokens, however you requested {max(tokens)}."
        )
        raise invalid("input", message, "context_length_exceeded")
    if sum(tokens) > MAX_REQUEST_TOKENS:
        raise invalid(
            "input",
            f"Requested {sum(tokens)} tokens, max {MAX_REQUEST_TOKENS} tokens per request.",
            "max_tokens_per_request",
        )
    return sum(tokens)
