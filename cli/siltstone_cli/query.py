"""``siltstone query``"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from siltstone_cli.asking import Strong, Version, Where, WhereDocument, answered_from, narrowed
from siltstone_cli.completion import complete_collections
from siltstone_cli.console import output, print_json, problems
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import find_target


def query(
    context: typer.Context,
    collection: Annotated[str, typer.Argument(help="The collection to ask.", autocompletion=complete_collections)],
    text: Annotated[list[str], typer.Argument(help="What to look for; several words need no quotes.")],
    *,
    results: Annotated[int, typer.Option("--results", "-n", metavar="N", help="How many rows.", min=1, max=1_000)] = 10,
    where: Where = None,
    where_document: WhereDocument = None,
    strong: Strong = False,
    version: Version = None,
    stage: Stage = None,
    local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Ask a collection for what is nearest to a text, through the deployed query function.

    Example: siltstone query lines total amount -n 5 --where '{"merchant_name": "Lidl"}' --stage dev
    """
    question: dict[str, Any] = {
        "collection_name": collection,
        "query_text": " ".join(text),
        "n_results": results,
        **narrowed(where, where_document, version, strong=strong),
    }
    target = find_target(context, stage, local)
    with problems.status("asking"):
        answer = target.invoke("Query", question)
    if as_json:
        print_json(answer)
        return
    found = answer["results"]
    table = Table("distance", "id", "document")
    for distance, row, document in zip(found["distances"], found["ids"], found["documents"], strict=True):
        table.add_row(f"{distance:.4f}", escape(row), escape(document or ""))
    output.print(table)
    output.print(escape(answered_from(answer)), soft_wrap=True)
