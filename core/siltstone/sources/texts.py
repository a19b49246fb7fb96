"""Texts from whatever a person points at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from siltstone.errors import BadSource
from siltstone.sources.csv_texts import read_texts_csv
from siltstone.sources.files import Input
from siltstone.sources.jsonl import read_texts_jsonl
from siltstone.sources.parquet_texts import read_texts_parquet
from siltstone.sources.problem import SourceProblem
from siltstone.sources.table import Columns
from siltstone.sources.text import Text

Format = Literal["jsonl", "csv", "parquet"]

_ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def read_texts(
    source: Input,
    collection: str,
    *,
    form: Format | None = None,
    columns: Columns | None = None,
    separator: str | None = None,
) -> Iterator[Text | SourceProblem]:
    """Texts of a file or a stream, as a stream: bounded memory, however large it is.

    ``form``: by default what the file's name ends with; JSONL for a stream. ``columns``: of CSV and Parquet.
    ``separator``: one character, of CSV; by default a comma, a tab for ``.tsv``. Raises `BadSource` for what can't be
    read at all.
    """
    form = form or _form(source)
    columns = columns or Columns()
    if form == "jsonl":
        return read_texts_jsonl(source, collection)
    if form == "parquet":
        return read_texts_parquet(source, collection, columns)
    if separator is None:
        separator = "\t" if _ending(source) == ".tsv" else ","
    if len(separator) != 1 or separator in '"\r\n':
        raise BadSource(f"{separator!r} can't separate columns.", remedy="It is one character, such as ',' or ';'.")
    return read_texts_csv(source, collection, columns, separator=separator)


def _form(source: Input) -> Format:
    if source.path is None:
        return "jsonl"
    form = _ENDINGS.get(_ending(source))
    if form is None:
        hint = f" Or `gzip -dc {Path(source.name).name}` into `-`." if _ending(source) == ".gz" else ""
        raise BadSource(
            f"The name of {source.name} does not say what it is.",
            remedy=f"Say it: --format {'|'.join(get_args(Format))}.{hint}",
        )
    return form


def _ending(source: Input) -> str:
    return "" if source.path is None else source.path.suffix.lower()
