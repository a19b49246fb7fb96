"""What is wrong with one item of a file, so that the others go on."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from siltstone.errors import BadSource

_CUT = 300


@dataclass(frozen=True)
class SourceProblem:
    """One item that can't be used. ``line``: line number in the file, from 1. ``field``: as in ``lines[3].text``.

    ``duplicate``: the item is there already; nothing is missing without it.
    """

    path: str
    what: str
    remedy: str
    line: int | None = None
    field: str | None = None
    duplicate: bool = False

    @staticmethod
    def of(error: ValidationError, *, path: str, line: int | None = None) -> SourceProblem:
        """The first thing that a model found wrong, and how many more there are."""
        found = error.errors(include_url=False, include_context=False, include_input=False)
        what = found[0]["msg"].removeprefix("Value error, ")[:_CUT]
        if len(found) > 1:
            what += f" (and {len(found) - 1} more)"
        return SourceProblem(
            path=path,
            line=line,
            field=_field(found[0]["loc"]),
            what=what,
            remedy="Correct it and load it again.",
        )

    def error(self) -> BadSource:
        """The same as an error, for a caller that wants all or nothing."""
        return BadSource(self._sentence(), remedy=self.remedy)

    def __str__(self) -> str:
        return f"{self._sentence()} {self.remedy}"

    def _sentence(self) -> str:
        where = self.path if self.line is None else f"{self.path}, line {self.line}"
        return f"{where}: {self.what}." if self.field is None else f"{where}: {self.field}: {self.what}."


def _field(loc: tuple[int | str, ...]) -> str | None:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{str(part)[:80]}" for part in loc).removeprefix(".")
    return name or None
