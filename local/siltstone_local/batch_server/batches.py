"""The batch object: what ``POST /v1/batches`` accepts, and what cancelling does."""

from __future__ import annotations

import time
import uuid
from typing import Any, cast

from siltstone_local.batch_server.api_error import ApiError, invalid, missing
from siltstone_local.batch_server.state import ENDED, StoredBatch

_ENDPOINT = "/v1/embeddings"
_WINDOW_SECONDS = 24 * 3600
_FIELDS = frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"})
_TIMES = ("in_progress", "expires", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


def new_batch(request: object) -> dict[str, Any]:
    """The object of a batch that was just asked for. Raises `ApiError` 400."""
    if not isinstance(request, dict):
        raise ApiError(400, "We could not parse the JSON body of your request.")
    fields = cast(dict[str, Any], request)
    for name in fields.keys() - _FIELDS:
        raise invalid(name, f"Unknown parameter: '{name}'.", "unknown_parameter")
    for name in ("input_file_id", "endpoint", "completion_window"):
        if fields.get(name) is None:
            raise missing(name)
    if not isinstance(fields["input_file_id"], str):
        raise invalid("input_file_id", "Invalid type for 'input_file_id': expected a string.", "invalid_type")
    if fields["endpoint"] != _ENDPOINT:
        raise invalid("endpoint", f"Invalid value: '{fields['endpoint']}'. This server only runs '{_ENDPOINT}'.")
    if fields["completion_window"] != "24h":
        raise invalid("completion_window", "Invalid value for 'completion_window'. Supported values are: '24h'.")
    now = int(time.time())
    return {
        "id": f"batch_{uuid.uuid4().hex}",
        "object": "batch",
        "endpoint": _ENDPOINT,
        "model": None,
        "errors": None,
        "input_file_id": fields["input_file_id"],
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": now,
        **{f"{name}_at": None for name in _TIMES},
        "expires_at": now + _WINDOW_SECONDS,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 0,
        },
        "metadata": _metadata(fields.get("metadata")),
    }


def cancel(batch: StoredBatch) -> None:
    """Ask for cancellation. Raises `ApiError` 409 for a batch that has ended."""
    if batch.status in ENDED:
        raise ApiError(409, f"Cannot cancel a batch with status '{batch.status}'.")
    if batch.status != "cancelling":
        batch.move("cancelling")


def _metadata(value: object) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid("metadata", "Invalid type for 'metadata': expected an object.", "invalid_type")
    pairs = cast(dict[str, object], value)
    if len(pairs) > 16:
        raise invalid("metadata", "Invalid 'metadata': too many properties. At most 16.", "object_above_max_properties")
    for key, text in pairs.items():
        if len(key) > 64:
            raise invalid("metadata", f"Invalid 'metadata': the key '{key[:64]}...' is longer than 64 characters.")
        if not isinstance(text, str):
            raise invalid(f"metadata.{key}", f"Invalid type for 'metadata.{key}': expected a string.", "invalid_type")
        if len(text) > 512:
            raise invalid(
                f"metadata.{key}", f"Invalid 'metadata.{key}': at most 512 characters.", "string_above_max_length"
            )
    return cast(dict[str, str], pairs)
