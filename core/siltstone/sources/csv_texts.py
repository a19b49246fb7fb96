"""Texts as CSV: a header, then one row per text. Every value is text; an empty cell is no metadata."""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator, Sequence
from typing import BinaryIO

from siltstone.errors import BadSource
from siltstone.keys import check_collection
from siltstone.sources.files import ITEM_BYTES, UTF8_BOM, Input, skip_line
from siltstone.sources.problem import SourceProblem
from siltstone.sources.table import Columns, Row, texts_of
from siltstone.sources.text import Text

FIELD_CHARACTERS = 2**20  # far over what a model takes; a quote that is never closed reads no further than this


def read_texts_csv(
    source: Input, collection: str, columns: Columns, *, separator: str = ","
) -> Iterator[Text | SourceProblem]:
    """Texts of a CSV file as RFC 4180 has it, in UTF-8, as a stream; ``line`` is where a row begins.

    A bad row is a `SourceProblem` and the others go on. Raises `BadSource` for a header that can't be used, and
    `InvalidInput` for a name that no collection can have.
    """
    check_collection(collection)
    return texts_of(_rows(source, columns, separator), columns, source.name, collection)


def _rows(source: Input, columns: Columns, separator: str) -> Generator[Row | SourceProblem]:
    with source.opened() as stream:
        csv.field_size_limit(FIELD_CHARACTERS)  # of the whole process: the module has no other
        reader = csv.reader(_lines(source, stream), delimiter=separator, strict=True)
        header = _header(reader, source, columns, separator)
        while True:
            line = reader.line_num + 1
            try:
                values = next(reader, None)
            except csv.Error as error:
                yield _malformed(source, line, reader.line_num, error)
                continue
            if values is None:
                return
            if any(value.strip() for value in values):
                yield _row(values, header, source, columns, line)


def _header(reader: Iterator[list[str]], source: Input, columns: Columns, separator: str) -> list[str]:
    try:
        header = next((row for row in reader if row), None)
    except csv.Error as error:
        raise BadSource(f"{source.name}: the header can't be read: {error}.", remedy="Is it CSV?") from error
    if header is None:
        raise BadSource(f"{source.name} is empty.", remedy="Write a header and one row per text.")
    if _not_utf8(header):
        raise BadSource(f"{source.name}: its header is not UTF-8.", remedy="Is it CSV? Convert it to UTF-8.")
    other = next((each for each in ";\t|," if each != separator and each in header[0]), None)
    if len(header) == 1 and other is not None:
        raise BadSource(
            f"{source.name} has one column, {header[0][:200]!r}.",
            remedy=f"Say what separates them: --separator {other!r}.",
        )
    columns.check(header, source.name)
    return header


def _row(
    values: Sequence[str], header: Sequence[str], source: Input, columns: Columns, line: int
) -> Row | SourceProblem:
    place = header.index(columns.id)
    item = values[place] if place < len(values) else None
    if len(values) != len(header):
        return SourceProblem(
            path=source.name,
            line=line,
            item=item,
            what=f"the row has {len(values)} values, the header {len(header)}",
            remedy="Quote a value that holds the separator.",
        )
    if (wrong := _not_utf8(values)) is not None:
        return SourceProblem(
            path=source.name,
            line=line,
            item=None if item is None else item.encode(errors="replace").decode(),
            what=f"is not UTF-8: byte 0x{wrong:02x}",
            remedy="Convert it (`iconv -f latin1 -t utf-8`, if it is Latin-1).",
        )
    named = zip(header, values, strict=True)
    return Row(
        {name: value if value or name in {columns.id, columns.text} else None for name, value in named}, line=line
    )


def _malformed(source: Input, first: int, last: int, error: csv.Error) -> SourceProblem:
    what = f"the row can't be read: {error}"
    if last > first:  # whatever stands in there could be a part of the text as well as rows: nothing is guessed
        what = f"a quote opens in this row and is not closed properly; lines {first} to {last} are left out ({error})"
    return SourceProblem(
        path=source.name,
        line=first,
        what=what,
        remedy="Double the quotes inside a quoted value and close it, then load the file again.",
    )


def _not_utf8(values: Sequence[str]) -> int | None:
    """The first byte that UTF-8 does not have: `_lines` lets it through, so that it costs its row alone."""
    for value in values:
        if not value.isascii():
            for character in value:
                if "\udc80" <= character <= "\udcff":
                    return ord(character) - 0xDC00
    return None


def _lines(source: Input, stream: BinaryIO) -> Iterator[str]:
    first = True
    while raw := stream.readline(ITEM_BYTES):
        source.watch(len(raw))
        if first:
            raw, first = raw.removeprefix(UTF8_BOM), False
        if len(raw) == ITEM_BYTES:
            skip_line(stream, raw, source)
        yield raw.decode(errors="surrogateescape")
