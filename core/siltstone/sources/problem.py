"""What is wrong with one item of a file, so that the others go on."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from siltstone.errors import BadSource
from siltstone.records.tokens import TooLong

_CUT = 300
_ID_CUT = 100


@dataclass(frozen=True)
class SourceProblem:
    """One item that can't be used. ``field``: as in ``lines[3].text``, or a column's name.

    ``line``: line number in the file, from 1; ``row``: of a table that has no lines, from 1. ``item``: the item's id,
    where it could be read. ``tokens``, ``limit``: of a text that is too long for the model.
    ``duplicate``: the same item is there already; nothing is missing without it.
    """

    path: str
    what: str
    remedy: str
    line: int | None = None
    row: int | None = None
    item: str | None = None
    field: str | None = None
    tokens: int | None = None
    limit: int | None = None
    duplicate: bool = False

    @staticmethod
    def of(
        error: ValidationError, *, path: str, line: int | None = None, row: int | None = None, item: str | None = None
    ) -> SourceProblem:
        """The first thing that a model found wrong, and how many more there are."""
        found = error.errors(include_url=False, include_input=False)
        what = found[0]["msg"].removeprefix("Value error, ")[:_CUT]
        if len(found) > 1:
            what += f" (and {len(found) - 1} more)"
        cause = found[0].get("ctx", {}).get("error")
        long = cause if isinstance(cause, TooLong) else None
        return SourceProblem(
            path=path,
            line=line,
            row=row,
            item=item,
            field=_field(found[0]["loc"]),
            what=what,
            remedy="Split it into several." if long else "Correct it and load it again.",
            tokens=long.tokens if long else None,
            limit=long.limit if long else None,
        )

    def error(self) -> BadSource:
        """The same as an error, for a caller that wants all or nothing."""
        return BadSource(self._sentence(), remedy=self.remedy)

    def __str__(self) -> str:
        return f"{self._sentence()} {self.remedy}"

    def _sentence(self) -> str:
        places = (("line", self.line), ("row", self.row))
        where = ", ".join([self.path, *(f"{unit} {number}" for unit, number in places if number is not None)])
        which = None if self.item is None else f"id {self.item[:_ID_CUT]!r}"
        return ": ".join(part for part in (where, which, self.field, self.what) if part is not None) + "."


def _field(loc: tuple[int | str, ...]) -> str | None:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{str(part)[:80]}" for part in loc).removeprefix(".")
    return name or None
