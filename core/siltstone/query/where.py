"""Chroma's ``where`` language: checked, mended, and evaluated over rows that are not in Chroma yet.

Chroma 1.5.9 compares an integer value with the *truncated* operand: ``{"n": {"$lt": 1.5}}`` misses ``n = 1`` and
``{"n": 1.5}`` finds it. :func:`normalize` rewrites such operands, so that a filter means the same for integers, for
floats, for merged rows and for pending ones; tests hold the evaluator against Chroma itself.

Semantics, as measured: numbers compare with numbers only, booleans with booleans, text with text; ``$ne``, ``$nin``
and ``$not_contains`` also keep rows without the field; ``$contains`` on a field looks into lists only. A number is
compared in the type of the row's own value. Field names that Chroma uses itself (``chroma:document`` would match every
row) are refused, and so is a filter that sqlite would refuse: its expressions go 1,000 deep, a term one step each.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, cast

from siltstone.errors import BadQuery

Where = dict[str, Any]
Scalar = str | int | float | bool

MAX_DEPTH = 16
MAX_LIST = 1_000
MAX_TERMS = 256  # comparisons after rewriting: measured 0.2 s, growing with the square
MAX_OPERANDS = 5_000  # of 32,766 variables that sqlite takes, each operand is up to three
_INT64 = 2**63
_EXACT = 2**53  # integers up to here are floats too

_COMPARE = ("$gt", "$gte", "$lt", "$lte")
_LISTS = ("$in", "$nin")
_EITHER = ("$eq", "$ne")
_MEMBER = ("$contains", "$not_contains")


def normalize(where: Mapping[str, Any] | None) -> Where | None:
    """Check ``where`` and rewrite it into what Chroma answers rightly; ``None`` where nothing is filtered.

    Several fields, or several operators on one field, mean all of them. Raises `BadQuery` naming the place.
    """
    if where is None or where == {}:
        return None
    normalized = _expression(where, "metadata_filter", 0)
    terms, operands = _size(normalized)
    if terms > MAX_TERMS or operands > MAX_OPERANDS:
        raise BadQuery(
            f"metadata_filter has {terms} comparisons and {operands} values: over {MAX_TERMS} or over {MAX_OPERANDS}.",
            remedy="$in takes 1,000 values of one kind in one comparison; a number with a fraction takes several.",
        )
    return normalized


def _expression(node: object, at: str, depth: int) -> Where:
    if depth > MAX_DEPTH:
        raise BadQuery(f"{at} is nested deeper than {MAX_DEPTH}.", remedy="Flatten it.")
    if not isinstance(node, Mapping) or not node:
        raise BadQuery(f"{at} is not a filter object.", remedy='Use {"field": value} or {"field": {"$gte": value}}.')
    terms: list[Where] = []
    for key, value in cast("Mapping[object, object]", node).items():
        if not isinstance(key, str) or not key:
            raise BadQuery(f"{at} has a field name that is not text.", remedy="Name the metadata field.")
        if key in ("$and", "$or"):
            if not isinstance(value, list) or not value or len(cast("list[object]", value)) > MAX_LIST:
                raise BadQuery(f"{at}.{key} is not a list of 1 to {MAX_LIST} filters.", remedy="Give a list.")
            items = cast("list[object]", value)
            inner = [_expression(item, f"{at}.{key}[{index}]", depth + 1) for index, item in enumerate(items)]
            terms.append(_join(key, inner))
        elif key.startswith("$"):
            raise BadQuery(f"{at}: the operator {key[:60]} is not known.", remedy="Use $and, $or, or a field name.")
        elif key.startswith(("#", "chroma:")) or not is_unicode(key):
            raise BadQuery(f"{at}: no row has a field {key[:60]!r}.", remedy="Name a metadata field.")
        else:
            terms.append(_field(key, value, f"{at}.{key[:60]}"))
    return _join("$and", terms)


def _field(field: str, value: object, at: str) -> Where:
    if isinstance(value, Mapping):
        operators = cast("Mapping[object, object]", value)
        if not operators:
            raise BadQuery(f"{at} has no operator.", remedy='Use {"$eq": value}.')
        return _join("$and", [_operator(field, str(name), operand, at) for name, operand in operators.items()])
    return _operator(field, "$eq", value, at)


def _operator(field: str, name: str, operand: object, at: str) -> Where:
    at = f"{at}.{name}"
    if name in _LISTS:
        values = cast("list[object]", operand) if isinstance(operand, list) else []
        if not 1 <= len(values) <= MAX_LIST:
            raise BadQuery(f"{at} needs a list of 1 to {MAX_LIST} values.", remedy="Give a list.")
        scalars = [_scalar(value, at) for value in values]
        single, join = ("$eq", "$or") if name == "$in" else ("$ne", "$and")
        if any(_fractional(value) for value in scalars) or len({_kind(value) for value in scalars}) > 1:
            return _join(join, [_operator(field, single, value, at) for value in scalars])
        # Chroma refuses a list of two types, and compares a whole number in the type of the row's own.
        return {field: {name: [int(value) if type(value) is float else value for value in scalars]}}
    if name not in (*_COMPARE, *_EITHER, *_MEMBER):
        known = " ".join((*_EITHER, *_COMPARE, *_LISTS, *_MEMBER))
        raise BadQuery(f"{at}: the operator {name} is not known here.", remedy=f"Use one of {known}.")
    value = _scalar(operand, at)
    if name in _COMPARE and _kind(value) != "number":
        raise BadQuery(f"{at} needs a number.", remedy="Compare text with $eq, $ne, $in or $nin.")
    if name in _MEMBER:
        return _join("$or" if name == "$contains" else "$and", [{field: {name: each}} for each in _twins(value)])
    if _fractional(value):
        return _fractional_operand(field, name, cast("float", value))
    return {field: {name: value}}


def _fractional_operand(field: str, name: str, value: float) -> Where:
    """A filter on a number with a fraction, in terms that Chroma's truncation of it does not harm."""
    up, down = math.ceil(value), math.floor(value)
    above: Where = {"$or": [{field: {"$gt": math.nextafter(value, -math.inf)}}, {field: {"$gte": up}}]}
    below: Where = {"$or": [{field: {"$lt": math.nextafter(value, math.inf)}}, {field: {"$lte": down}}]}
    if name == "$gt":
        return {"$or": [{field: {"$gt": value}}, {field: {"$gte": up}}]}
    if name == "$lt":
        return {"$or": [{field: {"$lt": value}}, {field: {"$lte": down}}]}
    if name == "$gte":
        return above
    if name == "$lte":
        return below
    if name == "$eq":
        return {"$and": [above, below]}
    return {"$or": [{field: {"$ne": value}}, {field: {"$eq": math.trunc(value)}}]}


def _size(where: Where) -> tuple[int, int]:
    """Comparisons, and values that they compare with."""
    ((key, value),) = where.items()
    if key in ("$and", "$or"):
        sizes = [_size(item) for item in cast("list[Where]", value)]
        return sum(terms for terms, _ in sizes), sum(operands for _, operands in sizes)
    ((_, operand),) = cast("dict[str, object]", value).items()
    return 1, len(cast("list[object]", operand)) if isinstance(operand, list) else 1


def _twins(value: Scalar) -> list[Scalar]:
    """A whole number as an integer and as a float: in a list, Chroma finds a number by its own type alone."""
    if _kind(value) != "number" or _fractional(value) or abs(cast("float", value)) > _EXACT:
        return [value]
    return [int(value), float(value)]


def _join(connective: str, terms: list[Where]) -> Where:
    return terms[0] if len(terms) == 1 else {connective: terms}


def _scalar(value: object, at: str) -> Scalar:
    if isinstance(value, bool) or (isinstance(value, str) and is_unicode(value)):
        return value
    # A NaN is within no bounds.
    if isinstance(value, int | float) and -_INT64 <= value < _INT64:
        return value
    shown = "that integer" if isinstance(value, int) else ascii(value)[:60]
    raise BadQuery(f"{at}: {shown} can't be compared.", remedy="Use text, true, false or a number of 64 bits.")


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can carry it: JSON's escapes can also name half of a surrogate pair."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else "text" if isinstance(value, str) else "other"


def _fractional(value: object) -> bool:
    return isinstance(value, float) and not value.is_integer()


def matches(where: Where | None, metadata: Mapping[str, Any] | None) -> bool:
    """Whether a row's metadata passes a filter that :func:`normalize` returned."""
    if where is None:
        return True
    row = metadata or {}
    return all(_term(key, value, row) for key, value in where.items())


def _term(key: str, value: Any, row: Mapping[str, Any]) -> bool:
    if key == "$and":
        return all(matches(item, row) for item in value)
    if key == "$or":
        return any(matches(item, row) for item in value)
    ((name, operand),) = value.items()
    return _TESTS[name](row.get(key), operand)


def _equal(present: object, operand: object) -> bool:
    if _kind(present) != _kind(operand) or _kind(present) == "other":
        return False
    return present == (_like(present, operand) if _kind(present) == "number" else operand)


def _like(present: Any, operand: Any) -> int | float:
    """The operand as Chroma compares it: in the type of the column that the row's number is kept in."""
    return float(operand) if isinstance(present, float) else int(operand)


def _among(present: object, operands: list[object]) -> bool:
    return any(_equal(present, operand) for operand in operands)


def _holds(present: object, operand: object) -> bool:
    items = cast("list[object]", present) if isinstance(present, list) else []
    return any(type(item) is type(operand) and item == operand for item in items)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[object, object], bool]:
    return lambda present, operand: _kind(present) == "number" and compare(present, _like(present, operand))


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": lambda present, operand: not _equal(present, operand),
    "$in": _among,
    "$nin": lambda present, operands: not _among(present, operands),
    "$contains": _holds,
    "$not_contains": lambda present, operand: not _holds(present, operand),
    "$gt": _ordered(operator.gt),
    "$gte": _ordered(operator.ge),
    "$lt": _ordered(operator.lt),
    "$lte": _ordered(operator.le),
}
