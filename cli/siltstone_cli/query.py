"""``siltstone query``"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from siltstone_cli.console import human_age, output, print_json, problems
from siltstone_cli.exits import BadUsage
from siltstone_cli.options import AsJson, Local, Stage
from siltstone_cli.target import find_target

_LIKE = """Write it like '{"merchant_name": "Lidl"}'."""


def query(
    context: typer.Context,
    collection: Annotated[str, typer.Argument(help="The collection to ask.")],
    text: Annotated[list[str], typer.Argument(help="What to look for; several words need no quotes.")],
    *,
    results: Annotated[int, typer.Option("--results", "-n", metavar="N", help="How many rows.", min=1, max=1_000)] = 10,
    where: Annotated[
        str | None, typer.Option("--where", metavar="JSON", help='A filter on metadata: {"merchant_name": "Lidl"}.')
    ] = None,
    strong: Annotated[bool, typer.Option("--strong", help="Also what no version contains yet.")] = False,
    version: Annotated[str | None, typer.Option("--version", metavar="V", help="Ask an older version.")] = None,
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
        "consistency": "strong" if strong else "snapshot",
    }
    if where is not None:
        question["metadata_filter"] = _filter(where)
    if version is not None:
        question["version"] = version
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
    output.print(escape(_answered_from(answer)), soft_wrap=True)


def _filter(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadUsage(
            f"--where is not JSON: {error}.", remedy="""Write it like '{"merchant_name": "Lidl"}'."""
        ) from error
    if not isinstance(found, dict):
        raise BadUsage("--where is no JSON object.", remedy="""Write it like '{"merchant_name": "Lidl"}'.""")
    return found


def _answered_from(answer: dict[str, Any]) -> str:
    version = answer["version"]
    parts = [f"from {version}, {human_age(answer['version_age_seconds'])} old" if version else "from no version yet"]
    if answer["pending_deltas"] is not None:
        parts.append(f"{answer['pending_deltas']} pending deltas laid over it")
    if answer["stale"]:
        parts.append(f"a newer version could not be opened: {answer['stale']}")
    return "; ".join(parts)
