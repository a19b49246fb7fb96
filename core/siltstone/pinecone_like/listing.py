"""Pages of ids. A page begins behind the last id of the one before, so it stays right while others write."""

from __future__ import annotations

import base64
from typing import NamedTuple

from siltstone.clients.collection import Collection
from siltstone.errors import BadQuery


class Page(NamedTuple):
    """``token``: of the next page; ``None`` on the last one."""

    ids: list[str]
    token: str | None


def page_of(collection: Collection, prefix: str, size: int, token: str | None) -> Page:
    """``size`` ids that begin with ``prefix``, in their order. Raises `BadQuery` for a token of somebody else."""
    ids: list[str] = []
    if token is None and prefix:  # the id that is nothing but the prefix is not behind it
        ids += collection.get(ids=[prefix], include=())["ids"]
    last = (prefix or None) if token is None else _id_of(token)
    ids += collection.get(limit=size + 1, after=last, include=())["ids"]
    ids = [each for each in ids if each.startswith(prefix)]
    return Page(ids[:size], _token_of(ids[size - 1]) if len(ids) > size else None)


def _token_of(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def _id_of(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), b"-_", validate=True).decode()
    except ValueError as error:
        raise BadQuery("pagination_token is none of this list's.", remedy="Begin without one.") from error
