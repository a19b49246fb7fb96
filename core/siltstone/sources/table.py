"""What CSV and Parquet have in common: columns that become a text's id, its text, and its metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from siltstone.errors import BadSource
from siltstone.records.metadata import check_metadata
from siltstone.sources.problem import SourceProblem
from siltstone.sources.seen import Seen
from siltstone.sources.text import Text

_NAMED = 20  # columns, in an error


@dataclass(frozen=True)
class Columns:
    """Which columns hold the ids and the texts; the others are metadata under their own names."""

    id: str = "id"
    text: str = "text"

    def check(self, names: Sequence[str], file: str) -> None:
        """Raise `BadSource` for a table whose columns can't be used; what is wrong once is not said for each row."""
        for wanted in (self.id, self.text):
            if wanted not in names:
                known = ", ".join(repr(name[:80]) for name in names[:_NAMED])
                raise BadSource(
                    f"{file} has no column {wanted!r}; it has {known}.",
                    remedy="Name the columns of ids and texts: --id-column NAME, --text-column NAME.",
                )
        if self.id == self.text:
            raise BadSource(f"{self.id!r} can't be both.", remedy="Name two columns.")
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise BadSource(f"{file} has more than one column {repeated[0]!r}.", remedy="Rename one of them.")
        for number, name in enumerate(names, start=1):
            if name in {self.id, self.text}:
                continue
            if not name.strip():
                raise BadSource(
                    f"{file} has no name for its column {number}.", remedy="Name it, or leave it out of the file."
                )
            try:
                check_metadata({name: ""})
            except ValueError as error:
                raise BadSource(f"{file}: {error}.", remedy="Rename the column, or leave it out.") from error


@dataclass(frozen=True)
class Row:
    """A row's values by column, and its place: ``line`` in a text file, else ``row``; both from 1."""

    values: Mapping[str, object]
    line: int | None = None
    row: int | None = None


def texts_of(
    rows: Iterator[Row | SourceProblem], columns: Columns, file: str, collection: str
) -> Iterator[Text | SourceProblem]:
    """A text or a problem for each row. Raises `BadSource` at the end if there was none at all."""
    seen = Seen()
    empty = True
    for found in rows:
        empty = False
        if isinstance(found, SourceProblem):
            yield found
            continue
        text = _text(found, columns, file, collection)
        if isinstance(text, Text):
            yield seen.repeated(text, file, line=found.line, row=found.row, item=text.id) or text
        else:
            yield text
    if empty:
        raise BadSource(f"{file} holds no row.", remedy="Write one row per text.")


def _text(row: Row, columns: Columns, file: str, collection: str) -> Text | SourceProblem:
    raw = row.values[columns.id]
    text_id = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
    metadata = {name: value for name, value in row.values.items() if name not in {columns.id, columns.text}}
    try:
        return Text.model_validate(
            {"collection": collection, "id": text_id, "text": row.values[columns.text], "metadata": metadata}
        )
    except ValidationError as error:
        item = None if text_id is None else str(text_id)
        problem = SourceProblem.of(error, path=file, line=row.line, row=row.row, item=item)
        names = {"id": columns.id, "text": columns.text}
        return replace(problem, field=names.get(problem.field or "", problem.field))
