"""``siltstone get``"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from siltstone.errors import NotFound

from siltstone_cli.asking import Strong, Version, Where, WhereDocument, answered_from, narrowed
from siltstone_cli.completion import complete_collections
from siltstone_cli.console import output, print_json, problems
from siltstone_cli.exits import BadUsage
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import find_target


class UnknownRecord(NotFound):
    """None of the ids that were asked for is in the collection."""


def get(
    context: typer.Context,
    collection: Annotated[str, typer.Argument(help="The collection to ask.", autocompletion=complete_collections)],
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Record ids; none: a page of all.")] = None,
    *,
    where: Where = None,
    where_document: WhereDocument = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="How many rows.", min=1, max=1_000)] = 20,
    after: Annotated[str | None, typer.Option("--after", metavar="ID", help="The page behind this id.")] = None,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="With --json: the vectors, too.")] = False,
    strong: Strong = False,
    version: Version = None,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Show records by their ids, or page through a collection, or through what a filter leaves of it.

    Example: siltstone get lines --where '{"merchant_name": "Lidl"}' -n 5 --stage dev
    """
    if ids and after is not None:
        raise BadUsage("--after pages through a collection; ids name rows.", remedy="Give one of them.")
    question: dict[str, Any] = {
        "collection_name": collection,
        "operation": "get",
        "limit": max(limit, len(ids or [])),
        "include": ["metadatas", "documents", *(["embeddings"] if embeddings else [])],
        **narrowed(where, where_document, version, strong=strong),
    }
    if ids:
        question["ids"] = ids
    if after is not None:
        question["after"] = after
    target = find_target(context, stage, local)
    with problems.status("asking"):
        answer = target.invoke("Query", question)
    found = answer["results"]
    if ids and not found["ids"]:
        raise UnknownRecord(
            f"{collection} has no record {', '.join(ids)}.",
            remedy="What is not merged yet shows with --strong; `siltstone sources status` tells what became of it.",
        )
    if as_json:
        print_json(answer)
        return
    table = Table("id", "document", "metadata")
    for row, document, metadata in zip(found["ids"], found["documents"], found["metadatas"], strict=True):
        table.add_row(escape(row), escape(document or ""), escape(json.dumps(metadata or {}, ensure_ascii=False)))
    output.print(table)
    missing = [each for each in ids or [] if each not in set(found["ids"])]
    if missing:
        problems.print(f"[yellow]not there[/] {escape(', '.join(missing))}", soft_wrap=True)
    if not ids and len(found["ids"]) == limit:
        output.print(f"The next page: --after {escape(json.dumps(found['ids'][-1]))}", soft_wrap=True)
    output.print(escape(answered_from(answer)), soft_wrap=True)
