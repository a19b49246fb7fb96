"""What `query` and `get` have in common: filters, which version, and how an answer says what it was made from."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from siltstone_cli.console import human_age
from siltstone_cli.exits import BadUsage

Where = Annotated[
    str | None, typer.Option("--where", metavar="JSON", help='A filter on metadata: {"merchant_name": "Lidl"}.')
]
WhereDocument = Annotated[
    str | None,
    typer.Option("--where-document", metavar="JSON", help='A filter on the text: {"$contains": "TOTAL"}.'),
]
Strong = Annotated[bool, typer.Option("--strong", help="Also what no version contains yet.")]
Version = Annotated[str | None, typer.Option("--version", metavar="V", help="Ask an older version.")]


def narrowed(where: str | None, where_document: str | None, version: str | None, *, strong: bool) -> dict[str, Any]:
    """The part of a question that these options make. Raises `BadUsage`."""
    found: dict[str, Any] = {"consistency": "strong" if strong else "snapshot"}
    if where is not None:
        found["metadata_filter"] = _filter("--where", where, '{"merchant_name": "Lidl"}')
    if where_document is not None:
        found["where_document"] = _filter("--where-document", where_document, '{"$contains": "TOTAL"}')
    if version is not None:
        found["version"] = version
    return found


def answered_from(answer: dict[str, Any]) -> str:
    """One line: which version, how old, and what was laid over it."""
    version = answer["version"]
    parts = [f"from {version}, {human_age(answer['version_age_seconds'])} old" if version else "from no version yet"]
    if answer["pending_deltas"] is not None:
        parts.append(f"{answer['pending_deltas']} pending deltas laid over it")
    if answer["stale"]:
        parts.append(f"a newer version could not be opened: {answer['stale']}")
    return "; ".join(parts)


def _filter(option: str, text: str, like: str) -> dict[str, Any]:
    remedy = f"Write it like '{like}'."
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadUsage(f"{option} is not JSON: {error}.", remedy=remedy) from error
    if not isinstance(found, dict):
        raise BadUsage(f"{option} is no JSON object.", remedy=remedy)
    return found
