"""From Pinecone's filters to the store's: operator by operator, and never fewer rows than pass.

The store's ``$ne`` and ``$nin`` keep rows without the field, and nothing there says that a field exists. Where a
translation would let such rows through, it is *wide*: what comes back is judged once more by `filters.matches`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from siltstone.errors import BadQuery
from siltstone.pinecone_like.filters import Condition, Group, Node
from siltstone.pinecone_like.metadata import is_kept_aside
from siltstone.query.where import is_unicode, normalize

Where = dict[str, Any]
_EXACT = 2.0**53  # from here on, several whole numbers are one float
_NOTHING: Where = {"$and": [{"-": 0}, {"-": 1}]}


class Narrowed(NamedTuple):
    """``where``: ``None`` for all rows. ``wide``: rows may come that do not pass."""

    where: Where | None
    wide: bool


def narrow(node: Node) -> Narrowed:
    """The store's filter that lets every row through that passes ``node``."""
    found = _translate(node)
    try:
        normalize(found.where)
    except BadQuery:  # more comparisons than the store takes: all rows are judged here instead
        return Narrowed(None, wide=True)
    return found


def _translate(node: Node) -> Narrowed:
    return _group(node) if isinstance(node, Group) else _condition(node)


def _group(group: Group) -> Narrowed:
    parts = [_translate(item) for item in group.items]
    wide = any(part.wide for part in parts)
    wheres = [part.where for part in parts if part.where is not None]
    if not wheres or (group.connective == "$or" and len(wheres) < len(parts)):
        return Narrowed(None, wide)
    return Narrowed(_join(group.connective, wheres), wide)


def _condition(condition: Condition) -> Narrowed:
    name, key, operand = condition.field, condition.operator, condition.operand
    values = operand if isinstance(operand, tuple) else (operand,)
    if key == "$exists" or not _is_stored(name) or not all(_is_comparable(each) for each in values):
        return Narrowed(None, wide=True)
    if key in ("$eq", "$in"):
        return Narrowed(_among(name, list(values)) if values else _NOTHING, wide=False)
    if key in ("$ne", "$nin"):
        return Narrowed(_none_of(name, list(values)) if values else None, wide=True)
    return Narrowed({name: {key: operand}}, wide=False)


def _among(name: str, values: list[Any]) -> Where:
    held: list[Where] = [{name: {"$contains": each}} for each in values if isinstance(each, str)]
    return _join("$or", [{name: {"$in": values}}, *held])


def _none_of(name: str, values: list[Any]) -> Where:
    held: list[Where] = [{name: {"$not_contains": each}} for each in values if isinstance(each, str)]
    return _join("$and", [{name: {"$nin": values}}, *held])


def _is_stored(name: str) -> bool:
    return is_unicode(name) and not is_kept_aside(name)


def _is_comparable(value: Any) -> bool:
    return abs(value) < _EXACT if isinstance(value, float) else not isinstance(value, str) or is_unicode(value)


def _join(connective: str, terms: list[Where]) -> Where:
    return terms[0] if len(terms) == 1 else {connective: terms}
