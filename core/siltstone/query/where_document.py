"""Chroma's ``where_document`` language over pending documents. Patterns run in RE2, in time linear in the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute

from siltstone.errors import BadQuery
from siltstone.query.where import MAX_DEPTH, MAX_LIST

WhereDocument = dict[str, Any]
_compute = cast("Any", pyarrow.compute)  # its functions are made at import time, out of a type checker's sight
_LEAVES = ("$contains", "$not_contains", "$regex", "$not_regex")
_MAX_PATTERN = 1_000


def normalize_document(where: Mapping[str, Any] | None) -> WhereDocument | None:
    """Check ``where_document``; ``None`` where nothing is filtered. Raises `BadQuery` naming the place."""
    if where is None or not where:
        return None
    return _expression(where, "where_document", 0)


def _expression(node: object, at: str, depth: int) -> WhereDocument:
    if not isinstance(node, Mapping) or depth > MAX_DEPTH:
        raise BadQuery(f"{at} is not a filter object, or too deep.", remedy='Use {"$contains": "text"}.')
    terms: list[WhereDocument] = []
    for key, value in cast("Mapping[str, object]", node).items():
        if key in ("$and", "$or"):
            items = cast("list[object]", value) if isinstance(value, list) else []
            if not 1 <= len(items) <= MAX_LIST:
                raise BadQuery(f"{at}.{key} is not a list of 1 to {MAX_LIST} filters.", remedy="Give a list.")
            inner = [_expression(item, f"{at}.{key}[{index}]", depth + 1) for index, item in enumerate(items)]
            terms.append(inner[0] if len(inner) == 1 else {key: inner})
        elif key in _LEAVES:
            if not isinstance(value, str) or not 1 <= len(value) <= _MAX_PATTERN:
                raise BadQuery(f"{at}.{key} needs text of 1 to {_MAX_PATTERN} characters.", remedy="Give text.")
            if key.endswith("regex"):
                _check_pattern(value, f"{at}.{key}")
            terms.append({key: value})
        else:
            raise BadQuery(f"{at}: the operator {key} is not known here.", remedy=f"Use one of {' '.join(_LEAVES)}.")
    if not terms:
        raise BadQuery(f"{at} is empty.", remedy='Use {"$contains": "text"}.')
    return terms[0] if len(terms) == 1 else {"$and": terms}


def _check_pattern(pattern: str, at: str) -> None:
    try:
        _compute.match_substring_regex(pa.array([""]), pattern=pattern)
    except pa.ArrowInvalid as error:
        raise BadQuery(f"{at}: {str(error)[:200]}.", remedy="Use RE2's syntax.") from error


def matching_documents(where: WhereDocument | None, documents: list[str | None]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of ``documents`` pass a filter that :func:`normalize_document` returned: bool, shape (n,)."""
    if where is None:
        return np.ones(len(documents), dtype=np.bool_)
    return _evaluate(where, pa.array(documents, type=pa.string()))


def _evaluate(where: WhereDocument, documents: pa.Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    ((key, value),) = where.items()
    if key in ("$and", "$or"):
        parts = np.stack([_evaluate(item, documents) for item in value])
        return np.asarray(parts.all(axis=0) if key == "$and" else parts.any(axis=0), dtype=np.bool_)
    test = _compute.match_substring_regex if key.endswith("regex") else _compute.match_substring
    found = np.asarray(_compute.fill_null(test(documents, pattern=value), False), dtype=np.bool_)
    return ~found if key.startswith("$not") else found
