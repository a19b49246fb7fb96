"""Pinecone's metadata filters: parsed once, and evaluated with Pinecone's meaning.

A condition holds only where the field is there, ``$ne`` and ``$nin`` too; ``{"$exists": false}`` alone holds where it
is not. Numbers are of 64 bits with a fraction, so ``1`` is ``1.0``; a truth value is no number, and values of different
kinds are not equal. A list of texts holds each of them: ``$eq`` and ``$in`` look for one that equals, ``$ne`` and
``$nin`` want none to.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from siltstone.errors import BadQuery

OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists")
MAX_DEPTH = 32
Scalar = str | float | bool


@dataclass(frozen=True)
class Condition:
    """``operand``: a scalar, a tuple of them, or a truth value, as the operator wants it; numbers are floats."""

    field: str
    operator: str
    operand: Any


@dataclass(frozen=True)
class Group:
    """All of ``items``, or any of them."""

    connective: Literal["$and", "$or"]
    items: tuple[Node, ...]


Node = Condition | Group
EVERYTHING = Group("$and", ())


def parse(filters: Mapping[str, Any] | None) -> Node:
    """Raises `BadQuery` naming the operator that is not known, or that has the wrong operand."""
    return EVERYTHING if filters is None or filters == {} else _expression(filters, "filter", 0)


def matches(node: Node, metadata: Mapping[str, Any]) -> bool:
    """Whether a row with this ``metadata`` passes."""
    if isinstance(node, Group):
        held = (matches(item, metadata) for item in node.items)
        return all(held) if node.connective == "$and" else any(held)
    present = metadata.get(node.field)
    if node.operator == "$exists":
        return (present is not None) == node.operand
    return present is not None and _TESTS[node.operator](present, node.operand)


def _expression(node: object, at: str, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise BadQuery(f"{at} is nested deeper than {MAX_DEPTH}.", remedy="Flatten it.")
    if not isinstance(node, Mapping) or not node:
        raise BadQuery(f"{at} is not a filter.", remedy='Use {"field": value} or {"field": {"$gte": value}}.')
    items: list[Node] = []
    for key, value in cast("Mapping[Any, Any]", node).items():
        if key in ("$and", "$or"):
            if not isinstance(value, list | tuple) or not value:
                raise BadQuery(f"{at}: {key} needs a list of filters.", remedy="Give at least one.")
            inner = cast("list[object]", value)
            items.append(
                Group(key, tuple(_expression(each, f"{at}.{key}[{n}]", depth + 1) for n, each in enumerate(inner)))
            )
        elif not isinstance(key, str):
            raise BadQuery(f"{at}: {key!r:.60} is not a field's name.", remedy="Name a metadata field.")
        elif key.startswith("$"):
            raise BadQuery(
                f"{at}: the operator {key:.60} can't be translated here.",
                remedy=f"Use $and, $or, or a field with one of {' '.join(OPERATORS)}.",
            )
        else:
            items.append(_field(key, value, f"{at}.{key:.60}"))
    return items[0] if len(items) == 1 else Group("$and", tuple(items))


def _field(name: str, value: object, at: str) -> Node:
    if not isinstance(value, Mapping):
        return Condition(name, "$eq", _scalar(value, at, "$eq"))
    conditions = [_condition(name, key, operand, at) for key, operand in cast("Mapping[Any, Any]", value).items()]
    if not conditions:
        raise BadQuery(f"{at} has no operator.", remedy='Use {"$eq": value}.')
    return conditions[0] if len(conditions) == 1 else Group("$and", tuple(conditions))


def _condition(name: str, key: object, operand: object, at: str) -> Condition:
    if key not in OPERATORS:
        raise BadQuery(
            f"{at}: the operator {key!s:.60} can't be translated.", remedy=f"Use one of {' '.join(OPERATORS)}."
        )
    if key == "$exists":
        if not isinstance(operand, bool):
            raise BadQuery(f"{at}: $exists needs true or false.", remedy="Give one of them.")
        return Condition(name, key, operand)
    if key in ("$in", "$nin"):
        if not isinstance(operand, list | tuple | set | frozenset):
            raise BadQuery(f"{at}: {key} needs a list.", remedy="Give a list of texts or numbers.")
        return Condition(name, key, tuple(_scalar(each, at, key) for each in cast("list[object]", operand)))
    value = _scalar(operand, at, str(key))
    if key not in ("$eq", "$ne") and not isinstance(value, float):
        raise BadQuery(f"{at}: {key} compares numbers.", remedy="Compare text with $eq, $ne, $in or $nin.")
    return Condition(name, str(key), value)


def _scalar(value: object, at: str, key: str) -> Scalar:
    if isinstance(value, bool | str):
        return value
    number = as_number(value)
    if number is None:
        raise BadQuery(
            f"{at}: {key} can't compare with {value!a:.60}.", remedy="Use text, a finite number, true or false."
        )
    return number


def as_number(value: object) -> float | None:
    """As Pinecone has every number; ``None`` for what is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _equal(present: object, operand: Scalar) -> bool:
    if isinstance(present, list):
        return isinstance(operand, str) and operand in cast("list[object]", present)
    if isinstance(operand, float):
        return as_number(present) == operand
    return type(present) is type(operand) and present == operand


def _ordered(compare: Callable[[float, float], bool]) -> Callable[[object, float], bool]:
    def test(present: object, operand: float) -> bool:
        number = as_number(present)
        return number is not None and compare(number, operand)

    return test


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": lambda present, operand: not _equal(present, operand),
    "$in": lambda present, operands: any(_equal(present, each) for each in operands),
    "$nin": lambda present, operands: not any(_equal(present, each) for each in operands),
    "$gt": _ordered(operator.gt),
    "$gte": _ordered(operator.ge),
    "$lt": _ordered(operator.lt),
    "$lte": _ordered(operator.le),
}
