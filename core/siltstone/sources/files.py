"""Reading other people's files: bounded in memory, UTF-8 or a problem, never outside the folder that was named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from siltstone.errors import BadSource
from siltstone.sources.problem import SourceProblem

ITEM_BYTES = 8 * 2**20  # a receipt of 10,000 lines with their words is some 5 MB of JSON
UTF8_BOM = b"\xef\xbb\xbf"


class Seen:
    """Which sources a reading has had, and where. About 300 bytes for each."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}

    def note(self, source_id: str, place: str) -> str | None:
        """The place where ``source_id`` was first, or ``None`` if it is new."""
        first = self._places.get(source_id)
        if first is None:
            self._places[source_id] = place
        return first


def read_lines(path: Path) -> Iterator[tuple[int, str | SourceProblem]]:
    """``(line number from 1, text without its line end)`` of a JSONL file; blank lines are counted and skipped.

    A line over `ITEM_BYTES` or not in UTF-8 is a problem. Raises `BadSource` if the file can't be opened.
    """
    try:
        with path.open("rb") as stream:
            number = 0
            while raw := stream.readline(ITEM_BYTES + 1):
                number += 1
                text = _line(stream, raw, number, path)
                if isinstance(text, SourceProblem) or text.strip():
                    yield number, text
    except OSError as error:
        raise unreadable(path, error) from error


def read_file(path: Path, folder: Path) -> str | SourceProblem:
    """A small file of ``folder`` (both resolved alike) as text, or what is wrong with it."""
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(folder):
            return _problem(path, "is a symbolic link that leads out of the folder", "Copy the file into the folder.")
        if not real.is_file():
            return _problem(path, "is not a file", "Remove it.")
        with real.open("rb") as stream:
            raw = stream.read(ITEM_BYTES + 1)
    except (OSError, RuntimeError) as error:  # RuntimeError: a symbolic link to itself
        return _problem(path, f"can't be read ({error})", "Check the file and its permissions.")
    if len(raw) > ITEM_BYTES:
        return _problem(path, f"is larger than {ITEM_BYTES} bytes", "One receipt is far smaller: split it.")
    return decode(raw.removeprefix(UTF8_BOM), path, None)


def decode(raw: bytes, path: Path, line: int | None) -> str | SourceProblem:
    """UTF-8 or a problem: another encoding is never guessed, since a wrong guess embeds nonsense."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        what = f"is not UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start}"
        return _problem(path, what, "Convert it (`iconv -f latin1 -t utf-8`, if it is Latin-1).", line)


def mode_of(path: Path) -> int:
    """What kind of thing ``path`` is (``st_mode``). Raises `BadSource` if it does not exist or can't be looked at."""
    try:
        return path.stat().st_mode
    except FileNotFoundError as error:
        raise BadSource(f"{path} does not exist.", remedy="Check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise unreadable(path, error) from error


def is_missing(path: Path) -> bool:
    """True only if there is nothing at all: a link to nowhere, or a folder that may not be read, is something."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def unreadable(path: Path, error: Exception) -> BadSource:
    """The error for a path that can't be read at all."""
    return BadSource(f"{str(path)[:200]!r} can't be read ({error}).", remedy="Check the path and its permissions.")


def _line(stream: BinaryIO, raw: bytes, number: int, path: Path) -> str | SourceProblem:
    if len(raw) > ITEM_BYTES:
        while raw and not raw.endswith(b"\n"):  # the rest of it, without holding it
            raw = stream.readline(2**16)
        return _problem(path, f"the line is longer than {ITEM_BYTES} bytes", "Write one item per line.", number)
    if number == 1:
        raw = raw.removeprefix(UTF8_BOM)
    return decode(raw.rstrip(b"\r\n"), path, number)


def _problem(path: Path, what: str, remedy: str, line: int | None = None) -> SourceProblem:
    return SourceProblem(path=str(path), line=line, what=what, remedy=remedy)
