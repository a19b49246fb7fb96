"""Receipts and texts, one JSON object per line."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from siltstone.errors import BadSource
from siltstone.keys import check_collection
from siltstone.sources.files import Seen, mode_of, read_lines
from siltstone.sources.problem import SourceProblem
from siltstone.sources.receipt import Receipt
from siltstone.sources.text import Text, TextLine

Model = TypeVar("Model", Receipt, TextLine)


def read_receipts_jsonl(path: Path | str) -> Iterator[Receipt | SourceProblem]:
    """Receipts of a file, as a stream. A bad line is a `SourceProblem` and the others go on.

    Raises `BadSource` at once if there is no such file, and at its end if it held no line at all.
    """
    file = _check_file(Path(path))
    return _receipts(file)


def read_texts_jsonl(path: Path | str, collection: str) -> Iterator[Text | SourceProblem]:
    """Texts (``{"id", "text", "metadata"}``) of a file for ``collection``, as a stream.

    Raises as `read_receipts_jsonl` does, and `InvalidInput` for a name that no collection can have.
    """
    check_collection(collection)
    file = _check_file(Path(path))
    return _texts(file, collection)


def _receipts(path: Path) -> Iterator[Receipt | SourceProblem]:
    seen = Seen()
    for number, receipt in _models(path, Receipt):
        if isinstance(receipt, Receipt):
            yield _repeated(seen, path, number, receipt.source_id) or receipt
        else:
            yield receipt


def _texts(path: Path, collection: str) -> Iterator[Text | SourceProblem]:
    seen = Seen()
    for number, line in _models(path, TextLine):
        if isinstance(line, TextLine):
            text = line.into(collection)
            yield _repeated(seen, path, number, text.source_id) or text
        else:
            yield line


def _models(path: Path, model: type[Model]) -> Iterator[tuple[int, Model | SourceProblem]]:
    empty = True
    for number, line in read_lines(path):
        empty = False
        if isinstance(line, SourceProblem):
            yield number, line
            continue
        try:
            item = model.model_validate_json(line)
        except ValidationError as error:
            yield number, SourceProblem.of(error, path=str(path), line=number)
            continue
        yield number, item
    if empty:
        raise BadSource(f"{path} is empty.", remedy="Write one JSON object per line.")


def _repeated(seen: Seen, path: Path, number: int, source_id: str) -> SourceProblem | None:
    first = seen.note(source_id, f"line {number}")
    if first is None:
        return None
    return SourceProblem(
        path=str(path),
        line=number,
        what=f"{source_id} is in {first} already",
        remedy="The first one was taken; remove one of the two.",
        duplicate=True,
    )


def _check_file(path: Path) -> Path:
    if not stat.S_ISREG(mode_of(path)):
        raise BadSource(f"{path} is not a file.", remedy="Name a .jsonl file.")
    return path
