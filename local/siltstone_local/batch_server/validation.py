"""Validation of a batch's input file, as ``status: "failed"`` reports it: code, line, message, param."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from siltstone.embedding.requests import MAX_BATCH_ROWS, MAX_LINE_BYTES

MAX_INPUTS = 50_000  # embedding inputs over all rows of a batch
_REPORTED = 100  # errors.data would otherwise be as long as the file


@dataclass(frozen=True)
class Validated:
    """``offsets``: int64 (rows,), where each row begins in the file. ``model``: the one that all rows name."""

    offsets: NDArray[np.int64]
    model: str | None
    errors: list[dict[str, Any]]


def validate(path: Path, endpoint: str) -> Validated:
    """Read the whole file as a stream. What is wrong inside a row's body is that row's own error, later."""
    offsets: list[int] = []
    errors: list[dict[str, Any]] = []
    seen: set[str] = set()
    model: str | None = None
    inputs = at = number = 0
    with path.open("rb") as file:
        while raw := file.readline(MAX_LINE_BYTES):
            number += 1
            start, at = at, at + len(raw)
            if not raw.strip():
                continue
            offsets.append(start)
            row: dict[str, Any] = {}
            try:
                row = _parse(raw)
                _check(row, endpoint, seen, model)
            except _RowError as error:
                errors.append(_error(error.code, str(error), error.param, line=number))
            body = row.get("body")
            if isinstance(body, dict):
                model = model or cast(dict[str, Any], body).get("model")
                value = cast(dict[str, Any], body).get("input")
                inputs += len(cast(list[object], value)) if isinstance(value, list) else 1
            if len(errors) >= _REPORTED or len(offsets) > MAX_BATCH_ROWS:
                break
    errors += _whole_file(len(offsets), inputs)
    return Validated(np.array(offsets, dtype=np.int64), model, errors)


class _RowError(Exception):
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


def _parse(raw: bytes) -> dict[str, Any]:
    if len(raw) == MAX_LINE_BYTES:
        raise _RowError("invalid_json_line", "This line is too long.")
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise _RowError("invalid_json_line", "This line is not parseable as valid JSON.")
    return cast(dict[str, Any], row)


def _check(row: dict[str, Any], endpoint: str, seen: set[str], model: str | None) -> None:
    """Raise for the first thing that is wrong with a row; remember its custom_id."""
    for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if name not in row:
            raise _RowError("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
        if not isinstance(row[name], kind) or not row[name]:
            raise _RowError("invalid_type", f"Invalid type or empty value for '{name}'.", name)
    custom_id: str = row["custom_id"]
    if custom_id in seen:
        message = f"The custom_id '{custom_id[:64]}' is a duplicate of another request: it must be unique in a batch."
        raise _RowError("duplicate_custom_id", message, "custom_id")
    seen.add(custom_id)
    if row["method"] != "POST":
        message = f"Invalid value: '{row['method'][:20]}'. Supported values are: 'POST'."
        raise _RowError("invalid_method", message, "method")
    if row["url"] != endpoint:
        message = "The URL provided for this request does not match the batch endpoint."
        raise _RowError("invalid_url", message, "url")
    if not isinstance(row["body"].get("model"), str):
        raise _RowError("missing_required_parameter", "Missing required parameter: 'body.model'.", "body.model")
    if model is not None and row["body"]["model"] != model:
        raise _RowError("mismatched_model", "All requests of a batch must use the same model.", "body.model")


def _whole_file(rows: int, inputs: int) -> list[dict[str, Any]]:
    if rows == 0:
        return [_error("empty_file", "The batch input file is empty. It must have at least one request.")]
    if rows > MAX_BATCH_ROWS:
        return [_error("too_many_tasks", f"The batch input file has more than {MAX_BATCH_ROWS} requests.")]
    if inputs > MAX_INPUTS:
        return [_error("too_many_tasks", f"The batch has more than {MAX_INPUTS} embedding inputs.")]
    return []


def _error(code: str, message: str, param: str | None = None, *, line: int | None = None) -> dict[str, Any]:
    return {"code": code, "line": line, "message": message, "param": param}
