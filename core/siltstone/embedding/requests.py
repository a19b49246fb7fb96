"""The files of a batch: request rows that are sent, output and error rows that come back.

Reading is a stream with bounded memory: a row that can't be read becomes a `MalformedRow`, never an exception, because
one bad row must not cost the 49,999 paid ones beside it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from siltstone.errors import BadRecord

URL = "/v1/embeddings"
MAX_BATCH_ROWS = 50_000
MAX_BATCH_BYTES = 200_000_000  # "200 MB": the smaller reading of it
MAX_LINE_BYTES = 2 * 2**20  # 8,192 tokens fully escaped, or 4,096 floats in decimal, stay far below
_NO_DIMENSIONS = frozenset({"text-embedding-ada-002"})  # refuses the field; always 1,536


@dataclass(frozen=True)
class RequestRow:
    """One record that was sent. ``dimension`` is ``None`` where the row leaves it to the model."""

    line: int
    custom_id: str
    text: str
    model: str
    dimension: int | None


@dataclass(frozen=True, eq=False)
class EmbeddedRow:
    """A success. ``vector``: float32 (d,), exact, its values not judged. ``tokens``: billed for this row."""

    line: int
    custom_id: str
    vector: NDArray[np.float32]
    tokens: int


@dataclass(frozen=True)
class RefusedRow:
    """The provider's own error. ``status``: HTTP, or ``None`` where the request never ran (``batch_expired`` ...)."""

    line: int
    custom_id: str
    code: str
    message: str
    status: int | None


@dataclass(frozen=True)
class MalformedRow:
    """A line that is not what the API promises. ``custom_id`` where it could still be read."""

    line: int
    reason: str
    custom_id: str | None = None


ResultRow = EmbeddedRow | RefusedRow | MalformedRow


def embedding_body(model: str, texts: str | list[str], dimension: int) -> dict[str, Any]:
    """Body of an embeddings request. base64 is exact float32 and a quarter of the bytes of decimal floats."""
    body: dict[str, Any] = {"model": model, "input": texts, "encoding_format": "base64"}
    return body if model in _NO_DIMENSIONS else {**body, "dimensions": dimension}


def request_line(custom_id: str, text: str, *, model: str, dimension: int) -> bytes:
    """One row of a request file, ending in LF. Raises `BadRecord` for a text that the API would refuse."""
    if not text:
        raise BadRecord(f"Record {custom_id!r} has no text.", remedy="Leave empty records out.")
    row = {"custom_id": custom_id, "method": "POST", "url": URL, "body": embedding_body(model, text, dimension)}
    try:
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError as error:
        raise BadRecord(f"Record {custom_id!r} is not valid Unicode.", remedy="Replace its lone surrogates.") from error


def write_requests(path: Path, records: Iterable[tuple[str, str]], *, model: str, dimension: int) -> int:
    """Write ``(custom_id, text)`` rows as a request file; return its size in bytes."""
    with path.open("wb") as file:
        return sum(
            file.write(request_line(custom_id, text, model=model, dimension=dimension)) for custom_id, text in records
        )


def read_requests(stream: BinaryIO) -> Iterator[RequestRow | MalformedRow]:
    """Rows of a request file: how an adopted batch's records are rebuilt."""
    for line, row in _rows(stream):
        if isinstance(row, MalformedRow):
            yield row
            continue
        custom_id, body = row.get("custom_id"), _object(row.get("body"))
        text, model, dimension = body.get("input"), body.get("model"), body.get("dimensions")
        if isinstance(text, list) and len(cast(list[object], text)) == 1:
            text = cast(list[object], text)[0]
        if not isinstance(custom_id, str) or not custom_id:
            yield MalformedRow(line, "custom_id is missing")
        elif row.get("url") != URL:
            yield MalformedRow(line, f"url is not {URL}", custom_id)
        elif not isinstance(text, str) or not text:
            yield MalformedRow(line, "body.input is not one text", custom_id)
        elif not isinstance(model, str) or not model:
            yield MalformedRow(line, "body.model is missing", custom_id)
        elif dimension is not None and (not isinstance(dimension, int) or isinstance(dimension, bool)):
            yield MalformedRow(line, "body.dimensions is not a whole number", custom_id)
        else:
            yield RequestRow(line, custom_id, text, model, dimension)


def read_results(stream: BinaryIO) -> Iterator[ResultRow]:
    """Rows of an output file or an error file, in file order (which is no order at all)."""
    for line, row in _rows(stream):
        yield row if isinstance(row, MalformedRow) else _result(line, row)


def _result(line: int, row: dict[str, Any]) -> ResultRow:
    custom_id = row.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        return MalformedRow(line, "custom_id is missing")
    response = _object(row.get("response"))
    status, body = response.get("status_code"), _object(response.get("body"))
    status = status if isinstance(status, int) else None
    # A refused request has its error inside the response's body; only one that never ran has it at the top.
    error = _object(row.get("error")) or _object(body.get("error"))
    if error:
        code = error.get("code") or error.get("type") or "unknown"
        return RefusedRow(line, custom_id, str(code), str(error.get("message") or "no message"), status)
    if status != 200:
        return MalformedRow(line, f"neither an answer nor an error (status {status})", custom_id)
    data = body.get("data")
    if not isinstance(data, list) or len(cast(list[object], data)) != 1:
        return MalformedRow(line, "body.data does not hold one embedding", custom_id)
    try:
        vector = decode_vector(_object(cast(list[object], data)[0]).get("embedding"))
    except ValueError as error:
        return MalformedRow(line, f"unreadable embedding: {error}", custom_id)
    tokens = _object(body.get("usage")).get("total_tokens")
    return EmbeddedRow(line, custom_id, vector, tokens if isinstance(tokens, int) else 0)


def decode_vector(value: object) -> NDArray[np.float32]:
    """An ``embedding`` field, base64 of little-endian float32 or a list of numbers, as float32 (d,).

    Raises `ValueError` saying what is wrong with it. The numbers themselves are not judged.
    """
    if isinstance(value, str):
        raw = base64.b64decode(value, validate=True)
        if not raw or len(raw) % 4:
            raise ValueError(f"{len(raw)} bytes are no whole number of float32")
        return np.frombuffer(raw, dtype="<f4")
    if not isinstance(value, list) or not value:
        raise ValueError("neither base64 nor a list of numbers")
    numbers = cast(list[object], value)
    if not all(type(number) in (int, float) for number in numbers):  # numpy would read "1.5" and True as numbers
        raise ValueError("it holds something that is no number")
    try:
        with np.errstate(over="ignore"):
            return np.array(numbers, dtype=np.float64).astype(np.float32)
    except OverflowError as error:
        raise ValueError("it holds a number beyond float64") from error


def _object(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _rows(stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | MalformedRow]]:
    """``(line number from 1, parsed object or problem)``; blank lines are counted and skipped."""
    line = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        line += 1
        if len(raw) > MAX_LINE_BYTES:
            while raw and not raw.endswith(b"\n"):  # the rest of it, without holding it
                raw = stream.readline(MAX_LINE_BYTES)
            yield line, MalformedRow(line, f"the line is longer than {MAX_LINE_BYTES} bytes")
            continue
        if not raw.strip():
            continue
        try:
            row = json.loads(raw)
        except (ValueError, RecursionError) as error:
            yield line, MalformedRow(line, f"not JSON: {str(error)[:200]}")
            continue
        if isinstance(row, dict):
            yield line, cast(dict[str, Any], row)
        else:
            yield line, MalformedRow(line, "not a JSON object")
