"""``query``: a question to one collection, by direct invocation or through the function URL."""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from typing import Any

from siltstone.errors import (
    AnswerTooLarge,
    BadEvent,
    BadSettings,
    InvalidInput,
    NotFound,
    Refused,
    SiltstoneError,
    Transient,
)
from siltstone.query.index_chroma import open_index
from siltstone.query.messages import QueryInput, QueryOutput
from siltstone.query.query import Readers, open_readers, query

from functions._entry import LambdaContext, entry
from functions._environment import environment
from functions._provider import provider
from functions._stores import clock, stores

# Damage is none of these: it leaves as an error, is counted as one, and the URL answers 502.
_STATUS: tuple[tuple[type[SiltstoneError], int], ...] = (
    (BadSettings, 503),  # the stage's, a right that is missing among them: no caller can mend his question
    (InvalidInput, 400),
    (NotFound, 404),
    (Transient, 503),
    (Refused, 503),
)
_LARGEST_REPLY = 6 * 2**20  # bytes: Lambda's own limit


@lru_cache(maxsize=1)
def _readers() -> Readers:
    return open_readers(stores(), clock, environment().scratch_dir / "query", open_index)


@entry("Query", QueryInput)
def answer(request: QueryInput, _context: LambdaContext) -> QueryOutput:
    return query(request, _readers(), stores().settings, clock, provider)


def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Direct invocation raises an error by its name; over HTTP it becomes a status."""
    if not isinstance(event, dict) or "requestContext" not in event:  # a payload may be any JSON
        return _bounded(answer(event, context))
    try:
        return _bounded(_reply(200, answer(_question(event), context)))
    except SiltstoneError as error:
        for family, status in _STATUS:
            if isinstance(error, family):
                return _reply(status, {"error": type(error).__name__, "message": str(error)})
        raise


def _question(event: dict[str, Any]) -> dict[str, Any]:
    body = event.get("body") or "{}"
    try:
        return json.loads(base64.b64decode(body) if event.get("isBase64Encoded") else body)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadEvent(f"The body is not JSON: {str(error)[:200]}.", remedy="Send a JSON object.") from error


def _reply(status: int, body: dict[str, Any]) -> dict[str, Any]:
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}


def _bounded(reply: dict[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(reply))  # as Lambda's runtime writes it
    if size > _LARGEST_REPLY:
        raise AnswerTooLarge(
            f"The answer takes {size:,} bytes; a function returns at most {_LARGEST_REPLY:,}.",
            remedy="Ask for fewer rows, or leave embeddings or documents out of include.",
        )
    return reply
