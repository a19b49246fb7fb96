"""The demo's questions, asked of the deployed query function; one of them for a record that no snapshot has yet."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from rich.markup import escape
from rich.table import Table
from siltstone.clock import Clock
from siltstone.sources.files import Input
from siltstone.sources.receipt import Receipt
from siltstone.sources.receipts import read_receipts
from siltstone.sources.text import Text
from siltstone.sources.texts import read_texts
from siltstone.stores import Stores

from siltstone_local.demo.loading import Inputs
from siltstone_local.deployment import Deployment
from siltstone_local.errors import DemoFailed

_NOTE = {
    "id": "just-arrived",
    "text": "The parcel with the blue ceramic teapot arrived this minute.",
    "metadata": {"source": "demo"},
}
_NOTES = "notes"
_LOOKED_AT = 200  # receipts, to find something to ask for
_SLIPS = str.maketrans("OIlESBA", "01135B4")


def search(deployment: Deployment, stores: Stores, inputs: Inputs, clock: Clock) -> Table:
    """Ask, and return a table of the answers. Raises `DemoFailed` for a question that the function refuses."""
    table = Table("asked", "of", "how", "found", "distance", "answered from", title="A few questions", show_lines=True)
    for title, question in _questions(inputs):
        _row(table, title, question, _ask(deployment, question))
    _arrive(deployment)
    question = {"collection_name": _NOTES, "query_text": "teapot", "n_results": 1, "consistency": "strong"}
    answer = _ask(deployment, question)
    if answer["results"]["ids"] != [_NOTE["id"]]:
        raise DemoFailed("A durable record was not found by a strong read.", remedy="Please report this.")
    _row(table, "teapot", question, answer)
    return table


def _questions(inputs: Inputs) -> list[tuple[str, dict[str, Any]]]:
    """Made of the receipts themselves, so that they fit any."""
    receipts = [item for item in islice(read_receipts(inputs.receipts), _LOOKED_AT) if isinstance(item, Receipt)]
    asked: list[tuple[str, dict[str, Any]]] = []
    middle = receipts[len(receipts) // 2]
    slipped = middle.lines[0].text.translate(_SLIPS)
    asked.append((f"{slipped} (a first line, with slips)", {"collection_name": "lines", "query_text": slipped}))
    asked.append(("total amount", {"collection_name": "lines", "query_text": "total amount"}))
    merchant = next((each.merchant_name for each in receipts if each.merchant_name), None)
    if merchant:
        filtered = {"query_text": "phone, tel.", "metadata_filter": {"merchant_name": merchant}}
        asked.append((f"phone, tel., of {merchant} alone", {"collection_name": "lines", **filtered}))
    word = max(middle.lines[-1].text.split(), key=len)
    asked.append((f"{word} (a word)", {"collection_name": "words", "query_text": word}))
    if inputs.texts is not None:
        text = next(item for item in read_texts(Input.of(inputs.texts), "texts") if isinstance(item, Text))
        some = " ".join(text.text.split()[:6])
        asked.append((f"{some} ...", {"collection_name": "texts", "query_text": some}))
    return [(title, {"n_results": 2, **question}) for title, question in asked]


def _arrive(deployment: Deployment) -> None:
    """Embed one more text at once: its delta is durable when the call returns, and nothing compacts it."""
    _invoke(deployment, "embed_now", {"texts": [{"collection": _NOTES, **_NOTE}]})


def _ask(deployment: Deployment, question: dict[str, Any]) -> dict[str, Any]:
    return _invoke(deployment, "query", question)


def _invoke(deployment: Deployment, function: str, event: dict[str, Any]) -> dict[str, Any]:
    reply = deployment.client("lambda").invoke(
        FunctionName=deployment.function(function).name, Payload=json.dumps(event).encode()
    )
    payload = json.loads(reply["Payload"].read())
    if "FunctionError" in reply:
        raise DemoFailed(
            f"{function} failed: {payload.get('errorType')}: {payload.get('errorMessage')}.", remedy="Please report it."
        )
    return payload


def _row(table: Table, title: str, question: dict[str, Any], answer: dict[str, Any]) -> None:
    results = answer["results"]
    pending = answer["pending_deltas"]
    table.add_row(
        escape(title),
        question["collection_name"],
        question.get("consistency", "snapshot"),
        escape("\n".join(str(document) for document in results["documents"])),
        "\n".join(f"{distance:.3f}" for distance in results["distances"]),
        "\n".join(filter(None, [answer["version"], f"{pending} pending delta" if pending else ""])),
    )
