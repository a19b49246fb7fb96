"""What Pinecone's documentation says of its filters, in as few words as it can be said in Python.

A field holds a set of typed values, a list each of its texts; numbers are of 64 bits with a fraction.
"""

from __future__ import annotations

from typing import Any


def passes(filters: dict[str, Any], metadata: dict[str, Any]) -> bool:
    return all(_clause(name, value, metadata) for name, value in filters.items())


def _clause(name: str, value: Any, metadata: dict[str, Any]) -> bool:
    if name == "$and":
        return all(passes(each, metadata) for each in value)
    if name == "$or":
        return any(passes(each, metadata) for each in value)
    conditions = value if isinstance(value, dict) else {"$eq": value}
    return all(_holds(name in metadata, _values(metadata.get(name)), *each) for each in conditions.items())


def _values(held: Any) -> set[tuple[str, Any]]:
    if held is None:
        return set()
    return {_typed(each) for each in held} if isinstance(held, list) else {_typed(held)}


def _typed(value: Any) -> tuple[str, Any]:
    if isinstance(value, bool):
        return "truth", value
    return ("text", value) if isinstance(value, str) else ("number", float(value))


def _holds(there: bool, held: set[tuple[str, Any]], operator: str, operand: Any) -> bool:  # noqa: PLR0911
    wanted = {_typed(each) for each in (operand if isinstance(operand, list) else [operand])}
    numbers = [value for kind, value in held if kind == "number"]
    match operator:
        case "$exists":
            return there == operand
        case "$eq" | "$in":
            return bool(held & wanted)
        case "$ne" | "$nin":
            return there and not held & wanted
        case "$gt":
            return any(each > operand for each in numbers)
        case "$gte":
            return any(each >= operand for each in numbers)
        case "$lt":
            return any(each < operand for each in numbers)
        case "$lte":
            return any(each <= operand for each in numbers)
    raise AssertionError(operator)
