"""Large questions as several that fit one answer: queries by the hundred, rows by the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from siltstone.clients.transport import Transport
from siltstone.errors import AnswerTooLarge
from siltstone.parallel import chunks
from siltstone.query.messages import MAX_IDS, MAX_QUERIES, MAX_RESULTS, QueryOutput, QueryResults

_NUMBERS = 200_000  # of query vectors in one request: some 4 MB of the 6 that Lambda takes
_ROWS_WITH_EMBEDDINGS = 100  # 3 MB at 1,536 dimensions
T = TypeVar("T")
Question = Mapping[str, Any]


def ask_each(
    transport: Transport, question: Question, field: str, queries: Sequence[Any]
) -> tuple[list[QueryResults], QueryOutput]:
    """The results of each of ``queries`` (``query_texts`` or ``query_embeddings``: ``field``), and the last answer."""
    size = MAX_QUERIES
    if field == "query_embeddings":
        size = max(1, min(size, _NUMBERS // max(1, len(queries[0]))))
    found: list[QueryResults] = []
    last: QueryOutput | None = None
    for chunk in chunks(queries, size):
        for answer in _halving(transport, question, field, chunk, last):
            found += answer.results_of_each or []
            last = answer
    assert last is not None  # noqa: S101  queries is not empty
    return found, last


def ask_ids(transport: Transport, question: Question, ids: Sequence[str]) -> list[QueryOutput]:
    """Rows by id, in their order, at least one answer."""
    answers: list[QueryOutput] = []
    for chunk in chunks(ids, _page_rows(question, MAX_IDS)):
        for answer in _halving(transport, question, "ids", chunk, answers[-1] if answers else None):
            answers.append(answer)
    return answers


def ask_pages(
    transport: Transport, question: Question, *, offset: int, limit: int | None, after: str | None = None
) -> list[QueryOutput]:
    """All rows from ``offset`` on, or ``limit`` of them, in the order of their ids; at least one answer.
    ``after``: only those behind this id.

    A page begins behind the last id of the one before: what is written in between moves none from page to page.
    """
    answers: list[QueryOutput] = []
    size, left = _page_rows(question, MAX_RESULTS), limit
    place: dict[str, Any] = {"offset": offset, "after": after}
    while True:
        rows = size if left is None else min(size, left)
        try:
            answer = transport.ask({**question, **place, **_same_version(question, answers), "limit": rows})
        except AnswerTooLarge:
            if rows == 1:
                raise
            size = rows // 2
            continue
        answers.append(answer)
        found = [] if answer.results is None else answer.results.ids
        if left is not None:
            left -= len(found)
        if len(found) < rows or left == 0:
            return answers
        place = {"after": found[-1]}


def _halving(
    transport: Transport, question: Question, field: str, things: list[T], before: QueryOutput | None
) -> Iterator[QueryOutput]:
    """Answers over all ``things``, in order; in two halves where one answer would be too large."""
    same = _same_version(question, [before] if before else [])
    try:
        yield transport.ask({**question, **same, field: things})
    except AnswerTooLarge:
        if len(things) == 1:
            raise
    else:
        return
    half = len(things) // 2
    for part in (things[:half], things[half:]):
        for answer in _halving(transport, question, field, part, before):
            yield answer
            before = answer


def _same_version(question: Question, before: Sequence[QueryOutput]) -> dict[str, Any]:
    """So that several answers are of one collection, wherever its alias points by then, and several snapshot answers of
    one whole version. Of shards there is no version in common.
    """
    if not before:
        return {}
    same: dict[str, Any] = {"collection_name": before[-1].collection_name}
    if question.get("consistency") != "strong" and before[-1].shard_versions is None:
        same["version"] = before[-1].version
    return same


def _page_rows(question: Question, most: int) -> int:
    return _ROWS_WITH_EMBEDDINGS if "embeddings" in question["include"] else most
