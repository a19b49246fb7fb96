"""What answers have in common: JSON, vectors as they are shown, and the tokens of pages."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson
from starlette.responses import Response

from siltstone_local.pinecone_server.api_error import ApiError
from siltstone_local.pinecone_server.checks import MAX_RESULT_BYTES
from siltstone_local.pinecone_server.store import Vector

Answer = dict[str, Any]


def answer(value: Answer, status: int = 200) -> Response:
    """orjson writes float32 arrays as they are: the shortest text that is the same float32 again."""
    return Response(_dumped(value), status, media_type="application/json")


def shown(vector: Vector, *, values: bool = True, metadata: bool = True) -> Answer:
    """A vector in an answer. What it does not have is left out."""
    found: Answer = {"id": vector.id, "values": vector.dense if values else []}
    if values and vector.sparse is not None:
        found["sparseValues"] = vector.sparse
    if metadata and vector.metadata is not None:
        found["metadata"] = vector.metadata
    return found


def next_page(last: str | None) -> Answer:
    """The part of an answer that says how to go on behind ``last``; None: there is no more."""
    if last is None:
        return {}
    return {"pagination": {"next": base64.urlsafe_b64encode(orjson.dumps({"after": last})).decode()}}


def last_seen(token: object) -> str:
    """What the token of a page says: the page begins behind it."""
    if not token:
        return ""
    try:
        return orjson.loads(base64.urlsafe_b64decode(str(token)))["after"]
    except (ValueError, TypeError, KeyError, binascii.Error):
        raise ApiError(400, "Invalid pagination token") from None


def small(value: Answer) -> Answer:
    """``value``, unless it is larger than the result of a query may be."""
    size = len(_dumped(value))
    if size > MAX_RESULT_BYTES:
        advice = "choose a lower top_k, or leave out values and metadata"
        raise ApiError(400, f"The result of {size} bytes exceeds the limit of {MAX_RESULT_BYTES}: {advice}")
    return value


def _dumped(value: Answer) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
