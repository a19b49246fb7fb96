"""Chroma's ``where_document`` language over pending documents, in time linear in the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from siltstone.errors import BadQuery
from siltstone.query.regex import to_re2
from siltstone.query.where import MAX_DEPTH, MAX_TERMS, is_unicode

WhereDocument = dict[str, Any]
Passed = NDArray[np.bool_]

_compute = cast("Any", pyarrow.compute)  # its functions are made at import time, out of a type checker's sight
_LEAVES = ("$contains", "$not_contains", "$regex", "$not_regex")
_MAX_PATTERN = 1_000


def normalize_document(where: Mapping[str, Any] | None) -> WhereDocument | None:
    """Check ``where_document``; ``None`` where nothing is filtered. Raises `BadQuery` naming the place."""
    if where is None or where == {}:
        return None
    normalized = _expression(where, "where_document", 0)
    if (terms := _terms(normalized)) > MAX_TERMS:
        raise BadQuery(f"where_document has {terms} conditions, more than {MAX_TERMS}.", remedy="Ask in several steps.")
    return normalized


def _expression(node: object, at: str, depth: int) -> WhereDocument:
    if not isinstance(node, Mapping) or depth > MAX_DEPTH:
        raise BadQuery(f"{at} is not a filter object, or too deep.", remedy='Use {"$contains": "text"}.')
    terms: list[WhereDocument] = []
    for key, value in cast("Mapping[str, object]", node).items():
        if key in ("$and", "$or"):
            items = cast("list[object]", value) if isinstance(value, list) else []
            if not 1 <= len(items) <= MAX_TERMS:
                raise BadQuery(f"{at}.{key} is not a list of 1 to {MAX_TERMS} filters.", remedy="Give a list.")
            inner = [_expression(item, f"{at}.{key}[{index}]", depth + 1) for index, item in enumerate(items)]
            terms.append(inner[0] if len(inner) == 1 else {key: inner})
        elif key in _LEAVES:
            terms.append({key: _text(value, f"{at}.{key}", is_pattern=key.endswith("regex"))})
        else:
            raise BadQuery(
                f"{at}: the operator {ascii(key)[:60]} is not known here.", remedy=f"Use one of {' '.join(_LEAVES)}."
            )
    if not terms:
        raise BadQuery(f"{at} is empty.", remedy='Use {"$contains": "text"}.')
    return terms[0] if len(terms) == 1 else {"$and": terms}


def _text(value: object, at: str, *, is_pattern: bool) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_PATTERN or not is_unicode(value):
        raise BadQuery(f"{at} needs text of 1 to {_MAX_PATTERN} characters.", remedy="Give text.")
    if "\0" in value:  # sqlite's text ends at one: every document would match
        raise BadQuery(f"{at} has a zero character.", remedy="Leave it out.")
    if is_pattern:
        pattern = to_re2(value, at)
        try:
            for each in (value, pattern.re2, pattern.without_boundaries or ""):
                _compute.match_substring_regex(pa.array([""]), pattern=each)
        except pa.ArrowInvalid as error:
            raise BadQuery(f"{at}: {' '.join(str(error).split())[:200]}", remedy="Use RE2's syntax.") from error
    return value


def _terms(where: WhereDocument) -> int:
    ((key, value),) = where.items()
    return sum(map(_terms, value)) if key in ("$and", "$or") else 1


def matching_documents(where: WhereDocument | None, documents: Sequence[str | None]) -> Passed:
    """Which of ``documents`` pass a filter that :func:`normalize_document` returned: bool, shape (n,).

    A row without a document passes the negated conditions alone. Raises `BadQuery` where a word boundary can't be
    judged (:mod:`siltstone.query.regex`): refused, and never a wrong answer.
    """
    if where is None:
        return np.ones(len(documents), dtype=np.bool_)
    return _evaluate(where, pa.array(documents, type=pa.string()))


def _evaluate(where: WhereDocument, documents: pa.Array) -> Passed:
    ((key, value),) = where.items()
    if key in ("$and", "$or"):
        parts = np.stack([_evaluate(item, documents) for item in value])
        return np.asarray(parts.all(axis=0) if key == "$and" else parts.any(axis=0), dtype=np.bool_)
    found = _search(value, documents) if key.endswith("regex") else _found(_compute.match_substring, documents, value)
    return ~found if key.startswith("$not") else found


def _search(value: str, documents: pa.Array) -> Passed:
    pattern = to_re2(value, "where_document")
    found = _found(_compute.match_substring_regex, documents, pattern.re2)
    if pattern.without_boundaries is not None:
        ascii_only = np.asarray(_compute.fill_null(_compute.string_is_ascii(documents), True), dtype=np.bool_)
        perhaps = _found(_compute.match_substring_regex, documents, pattern.without_boundaries)
        if (perhaps & ~ascii_only).any():
            raise BadQuery(
                r"where_document: \b can't be judged here over documents with other letters than ASCII's.",
                remedy=r"Write (^|\W)word(\W|$), or ask the index alone: a snapshot, without ids.",
            )
    return found


def _found(test: Any, documents: pa.Array, pattern: str) -> Passed:
    return np.asarray(_compute.fill_null(test(documents, pattern=pattern), False), dtype=np.bool_)
