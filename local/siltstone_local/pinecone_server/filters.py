"""Metadata filters, operator by operator, as Pinecone's query language has them.

It follows MongoDB's, but a condition holds only where the field is there, ``$ne`` and ``$nin`` too (since 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from siltstone_local.pinecone_server.api_error import ApiError

Predicate = Callable[[Mapping[str, Any]], bool]
_MAX_VALUES = 10_000  # of one $in or $nin


def compile_filter(value: object) -> Predicate:
    """Whether a vector's metadata match. Raises `ApiError` for a filter that Pinecone refuses."""
    if not isinstance(value, dict) or not value:
        raise ApiError(400, "A metadata filter must be a JSON object with at least one condition")
    clauses = [_clause(key, held) for key, held in cast("dict[str, Any]", value).items()]
    return lambda metadata: all(clause(metadata) for clause in clauses)


def _clause(key: str, value: object) -> Predicate:
    if key in ("$and", "$or"):
        if not isinstance(value, list) or not value:
            raise ApiError(400, f"{key} must be a non-empty list of filters")
        parts = [compile_filter(part) for part in value]
        decide = all if key == "$and" else any
        return lambda metadata: decide(part(metadata) for part in parts)
    if key.startswith("$"):
        raise ApiError(400, f"{key} is not a valid operator at this place")
    if not isinstance(value, dict):
        return _condition(key, "$eq", value)
    if not value:
        raise ApiError(400, f"illegal condition for field {key}, got {{}}")
    conditions = [_condition(key, operator, operand) for operator, operand in value.items()]
    return lambda metadata: all(condition(metadata) for condition in conditions)


def _condition(field: str, operator: str, operand: object) -> Predicate:
    """A list of strings matches where any of its values does; $ne and $nin where none of them is meant."""
    match operator:
        case "$eq" | "$ne":
            _scalar(field, operator, operand)
            return _membership(field, [operand], wanted=operator == "$eq")
        case "$in" | "$nin":
            if not isinstance(operand, list) or len(operand) > _MAX_VALUES:
                raise ApiError(400, f"the {operator} operator must be followed by a list of up to {_MAX_VALUES} values")
            for value in operand:
                _scalar(field, operator, value)
            return _membership(field, operand, wanted=operator == "$in")
        case "$exists":
            if not isinstance(operand, bool):
                raise ApiError(400, f"the $exists operator must be followed by a boolean, got {operand!r} for {field}")
            return lambda metadata: (field in metadata) == operand
        case "$gt" | "$gte" | "$lt" | "$lte":
            return _comparison(field, operator, operand)
        case _:
            raise ApiError(400, f"{operator} is not a valid operator")


def _scalar(field: str, operator: str, value: object) -> None:
    if not isinstance(value, str | int | float | bool):
        raise ApiError(400, f"the {operator} operator of {field} takes a string, number or boolean, got {value!r}")


def _membership(field: str, values: list[Any], *, wanted: bool) -> Predicate:
    keys = {_key(value) for value in values}

    def decide(metadata: Mapping[str, Any]) -> bool:
        if field not in metadata:
            return False
        held = metadata[field]
        found = any(_key(item) in keys for item in held) if isinstance(held, list) else _key(held) in keys
        return found == wanted

    return decide


def _key(value: object) -> object:
    """1 is 1.0 and is not True."""
    return (bool, value) if isinstance(value, bool) else repr(value) if isinstance(value, dict | list) else value


def _comparison(field: str, operator: str, operand: object) -> Predicate:
    if isinstance(operand, bool) or not isinstance(operand, int | float):
        raise ApiError(400, f"the {operator} operator must be followed by a number, got {operand!r} for {field}")
    limit = float(operand)
    compare: dict[str, Callable[[float], bool]] = {
        "$gt": lambda held: held > limit,
        "$gte": lambda held: held >= limit,
        "$lt": lambda held: held < limit,
        "$lte": lambda held: held <= limit,
    }

    def decide(metadata: Mapping[str, Any]) -> bool:
        held = metadata.get(field)
        return isinstance(held, int | float) and not isinstance(held, bool) and compare[operator](held)

    return decide
