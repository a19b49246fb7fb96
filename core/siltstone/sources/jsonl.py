"""Receipts and texts, one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from siltstone.errors import BadSource
from siltstone.keys import check_collection
from siltstone.sources.files import Input, read_lines
from siltstone.sources.problem import SourceProblem
from siltstone.sources.receipt import Receipt
from siltstone.sources.seen import Seen
from siltstone.sources.text import Text, TextLine

Model = TypeVar("Model", Receipt, TextLine)


def read_receipts_jsonl(source: Path | str | Input) -> Iterator[Receipt | SourceProblem]:
    """Receipts of a file, as a stream. A bad line is a `SourceProblem` and the others go on.

    Raises `BadSource` at once if there is no such file, and at its end if it held no line at all.
    """
    return _receipts(source if isinstance(source, Input) else Input.of(source))


def read_texts_jsonl(source: Path | str | Input, collection: str) -> Iterator[Text | SourceProblem]:
    """Texts (``{"id", "text", "metadata"}``) of a file for ``collection``, as a stream.

    Raises as `read_receipts_jsonl` does, and `InvalidInput` for a name that no collection can have.
    """
    check_collection(collection)
    return _texts(source if isinstance(source, Input) else Input.of(source), collection)


def _receipts(source: Input) -> Iterator[Receipt | SourceProblem]:
    seen = Seen()
    for number, receipt in _models(source, Receipt):
        if isinstance(receipt, Receipt):
            name = f"{receipt.image_id}#{receipt.receipt_id}"
            yield seen.repeated(receipt, source.name, line=number, item=name) or receipt
        else:
            yield receipt


def _texts(source: Input, collection: str) -> Iterator[Text | SourceProblem]:
    seen = Seen()
    for number, line in _models(source, TextLine):
        if isinstance(line, TextLine):
            text = line.into(collection)
            yield seen.repeated(text, source.name, line=number, item=text.id) or text
        else:
            yield line


def _models(source: Input, model: type[Model]) -> Iterator[tuple[int, Model | SourceProblem]]:
    empty = True
    for number, line in read_lines(source):
        empty = False
        if isinstance(line, SourceProblem):
            yield number, line
            continue
        try:
            item = model.model_validate_json(line)
        except ValidationError as error:
            yield number, SourceProblem.of(error, path=source.name, line=number, item=_item(line))
            continue
        yield number, item
    if empty:
        raise BadSource(f"{source.name} is empty.", remedy="Write one JSON object per line.")


def _item(line: str) -> str | None:
    """The id that a bad line claims, so that a person can find it in their own system."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    fields = cast("dict[str, Any]", found)
    if "id" in fields:
        return str(fields["id"])
    return f"{fields['image_id']}#{fields.get('receipt_id')}" if "image_id" in fields else None
