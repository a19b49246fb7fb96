"""A receipt as plain text, about as it was printed."""

from __future__ import annotations

from siltstone.sources.receipt import Line, Receipt


def lay_out(receipt: Receipt, width: int = 60) -> list[str]:
    """The receipt's lines from top to bottom, each at its place; what stands side by side comes into one row.

    ``width``: characters that the image's width becomes; a row that holds more text than fits is longer. Characters
    that are no part of a line (control characters, line ends) come out as blanks.
    """
    return [_row(row, width) for row in _rows(receipt)]


def _rows(receipt: Receipt) -> list[list[Line]]:
    """Lines whose vertical centre lies within the box of a row's first one are beside it."""
    rows: list[list[Line]] = []
    for line in sorted(receipt.lines, key=lambda line: (line.centre[1], line.x, line.line_id)):
        first = rows[-1][0] if rows else None
        beside = first is not None and line.centre[1] < first.y + first.height
        if beside and not any(_overlap(line, other) for other in rows[-1]):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: (line.x, line.line_id)) for row in rows]


def _overlap(one: Line, other: Line) -> bool:
    return one.x < other.x + other.width and other.x < one.x + one.width


def _row(lines: list[Line], width: int) -> str:
    row = ""
    for line in lines:
        text = "".join(character if character.isprintable() else " " for character in line.text)
        place = max(0, round(line.x * width))
        row = row.ljust(place) if not row or len(row) < place else f"{row} "
        row += text
    return row.rstrip()
