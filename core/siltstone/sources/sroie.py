"""Receipts in the ICDAR-2019 SROIE layout: ``box/NNN.csv`` and ``key/NNN.json``.

A row of a box file is eight corner pixels (top left, top right, bottom right, bottom left) and the text, which may hold
commas. The image itself is not there, so its size is unknown: boxes become fractions of the extent of all boxes of the
receipt, rounded to six digits. Lines are numbered from 1 in file order, the words come from the text, confidence is
unknown. The merchant is the key file's ``company``; no key file or no company: ``None``.

``image_id`` is a UUIDv5 of the box file's text with its line ends as LF, so a checkout that turns LF into CRLF changes
nothing, and the same receipt under two names is one receipt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import UUID, uuid5

from pydantic import ValidationError

from siltstone.errors import BadSource
from siltstone.sources.files import is_missing, mode_of, read_file, unreadable
from siltstone.sources.problem import SourceProblem
from siltstone.sources.receipt import Line, Receipt
from siltstone.sources.seen import Seen

NAMESPACE = UUID("8d0f6a0e-6a0b-5a53-9a6e-2f0c1d7b4e19")  # of no meaning, but every image_id hangs on it
CORNERS = 8

_PIXELS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


@dataclass(frozen=True)
class _Row:
    line: int  # in the file, from 1
    text: str
    left: float
    top: float
    right: float
    bottom: float


def read_sroie_folder(path: Path | str) -> Iterator[Receipt | SourceProblem]:
    """Receipts of a folder, by file name. A bad file is one `SourceProblem` and the others go on.

    Raises `BadSource` at once if the folder does not exist or has no ``box/*.csv``. Links out of it are not followed.
    """
    folder = Path(path)
    mode_of(folder)
    try:
        files = sorted(file for file in (folder / "box").iterdir() if _is_box_file(file))
        root = folder.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadSource(f"{folder} has no folder 'box'.", remedy="Name a folder that holds box/ and key/.") from error
    except OSError as error:
        raise unreadable(folder, error) from error
    if not files:
        raise BadSource(f"{folder / 'box'} holds no .csv file.", remedy="Name a folder that holds box/NNN.csv.")
    return _receipts(folder, root, files)


def _is_box_file(file: Path) -> bool:
    return file.suffix.lower() == ".csv" and not file.name.startswith(".")


def _receipts(folder: Path, root: Path, files: list[Path]) -> Iterator[Receipt | SourceProblem]:
    seen = Seen()
    for file in files:
        receipt = _receipt(folder, root, file)
        if isinstance(receipt, Receipt):
            found = seen.note(receipt.source_id, receipt.revision, file.name)
            if found is not None:
                receipt = SourceProblem(
                    path=str(file),
                    item=receipt.source_id,
                    what=f"is the same receipt as {found[0]}",
                    remedy="The first one was taken; remove one of the two.",
                    duplicate=True,
                )
        yield receipt


def _receipt(folder: Path, root: Path, file: Path) -> Receipt | SourceProblem:
    content = read_file(file, root)
    if isinstance(content, SourceProblem):
        return content
    content = content.replace("\r\n", "\n")
    lines = _lines(content, file)
    if isinstance(lines, SourceProblem):
        return lines
    key_file = folder / "key" / f"{file.stem}.json"
    key = "{}" if is_missing(key_file) else read_file(key_file, root)
    merchant = key if isinstance(key, SourceProblem) else _merchant(key, key_file)
    if isinstance(merchant, SourceProblem):
        return merchant
    image_id = str(uuid5(NAMESPACE, content))
    try:
        return Receipt(image_id=image_id, receipt_id=1, merchant_name=merchant, lines=tuple(lines))
    except ValidationError as error:
        return SourceProblem.of(error, path=str(file))


def _merchant(content: str, file: Path) -> str | SourceProblem | None:
    remedy = "Correct the file, or remove it: the merchant is then unknown."
    try:
        key = json.loads(content)
    except (ValueError, RecursionError) as error:
        return SourceProblem(path=str(file), what=f"is not JSON ({str(error)[:200]})", remedy=remedy)
    if not isinstance(key, dict):
        return SourceProblem(path=str(file), what="is not a JSON object", remedy=remedy)
    company = cast(dict[str, object], key).get("company")
    if company is not None and not isinstance(company, str):
        return SourceProblem(path=str(file), field="company", what="is not a text", remedy=remedy)
    return company


def _lines(content: str, file: Path) -> list[Line] | SourceProblem:
    rows: list[_Row] = []
    for number, raw in enumerate(content.split("\n"), start=1):
        if not raw.strip():
            continue
        try:
            rows.append(_row(raw, number))
        except ValueError as error:
            return _bad_row(file, number, str(error))
    if not rows:
        return SourceProblem(path=str(file), what="holds no line", remedy="Remove it, or restore its content.")
    left, right = min(row.left for row in rows), max(row.right for row in rows)
    top, bottom = min(row.top for row in rows), max(row.bottom for row in rows)
    lines: list[Line] = []
    for line_id, row in enumerate(rows, start=1):
        try:
            lines.append(
                Line(
                    line_id=line_id,
                    text=row.text,
                    x=round((row.left - left) / (right - left), 6),
                    y=round((row.top - top) / (bottom - top), 6),
                    width=round((row.right - row.left) / (right - left), 6),
                    height=round((row.bottom - row.top) / (bottom - top), 6),
                )
            )
        except ValidationError as error:
            return SourceProblem.of(error, path=str(file), line=row.line)
    return lines


def _row(raw: str, number: int) -> _Row:
    """Parse a row. Raises `ValueError` saying what is wrong with it."""
    *corners, text = raw.split(",", CORNERS)
    if len(corners) < CORNERS:
        raise ValueError(f"expected {CORNERS} corner numbers and a text, found {len(corners)} commas")
    for place, corner in enumerate(corners, start=1):
        if not _PIXELS.fullmatch(corner.strip()):
            raise ValueError(f"corner number {place} is {corner[:40]!r}, not a number of pixels")
    x1, y1, x2, y2, x3, y3, x4, y4 = (float(corner) for corner in corners)
    if min(x2, x3) <= min(x1, x4) or max(y3, y4) <= max(y1, y2):
        raise ValueError("the box is inverted or empty: corners go top left, top right, bottom right, bottom left")
    return _Row(number, text.strip(), min(x1, x4), min(y1, y2), max(x2, x3), max(y3, y4))


def _bad_row(file: Path, number: int, what: str) -> SourceProblem:
    return SourceProblem(
        path=str(file),
        line=number,
        what=what,
        remedy="A row is x1,y1,x2,y2,x3,y3,x4,y4,text; the receipt was left out until it is corrected.",
    )
