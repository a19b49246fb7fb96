"""How a question gets to whoever answers it, and how an answer or an error comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import ValidationError

from siltstone import errors
from siltstone.errors import BadEvent, BadQuery, FunctionFailed, SiltstoneError
from siltstone.query.messages import QueryInput, QueryOutput

Question = Mapping[str, Any]
"""Fields of `siltstone.query.messages.QueryInput`, as JSON has them."""


SHORTER = "A function takes 6 MB: ask with fewer ids or vectors, or with shorter texts."
"""What to do about a question that Lambda refuses for its size."""


class Transport(Protocol):
    """Safe for several threads."""

    def ask(self, question: Question) -> QueryOutput:
        """Raises the errors of `siltstone.query.query.query`, whichever way the question takes."""
        ...

    def close(self) -> None:
        """Release what is held. Calling it again does nothing."""
        ...


def encode(question: Question) -> bytes:
    """As JSON that everybody reads, so without NaN. Raises `BadQuery`."""
    try:
        return json.dumps(dict(question), allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise BadQuery(f"The question can't be sent: {error}.", remedy="Use text, numbers and truth values.") from error


def parse_question(question: Question) -> QueryInput:
    """The question as a typed message, in process as over the wire. Raises `BadEvent` naming the first wrong field."""
    try:
        return QueryInput.model_validate(dict(question))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the event"
        raise BadEvent(
            f"QueryInput: field {field!r}: {first['msg']}.", remedy="Correct the input and start again."
        ) from error


def parse_answer(answer: object) -> QueryOutput:
    """A function's answer. Raises `FunctionFailed` if it is none."""
    try:
        return QueryOutput.model_validate(answer)
    except ValidationError as error:
        raise FunctionFailed(
            f"The query function's answer can't be read: {error.errors(include_url=False)[0]['msg']}.",
            remedy="Use the same release on both sides.",
        ) from error


def named_error(name: str, message: str) -> SiltstoneError:
    """The error that a function raised, by its class name; `FunctionFailed` for any that is not of the family."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, SiltstoneError):
        return kind(message)
    return FunctionFailed(f"The query function failed: {name}: {message}", remedy="Its log says more.")
