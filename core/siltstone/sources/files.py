"""Reading other people's files: bounded in memory, UTF-8 or a problem, never outside the folder that was named."""

from __future__ import annotations

import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from siltstone.errors import BadSource
from siltstone.sources.problem import SourceProblem

ITEM_BYTES = 8 * 2**20  # a receipt of 10,000 lines with their words is some 5 MB of JSON
UTF8_BOM = b"\xef\xbb\xbf"


def _nobody(_: int) -> None:
    pass


@dataclass(frozen=True)
class Input:
    """What is read: a file, or a stream that is open already. ``watch`` is told of the bytes as they are read."""

    name: str
    path: Path | None = None
    stream: BinaryIO | None = None
    watch: Callable[[int], None] = _nobody

    @staticmethod
    def of(path: Path | str, watch: Callable[[int], None] = _nobody) -> Input:
        """A file. Raises `BadSource` if there is none."""
        if not stat.S_ISREG(mode_of(Path(path))):
            raise BadSource(f"{path} is not a file.", remedy="Name a file.")
        return Input(str(path), path=Path(path), watch=watch)

    @contextmanager
    def opened(self) -> Generator[BinaryIO]:
        """The bytes. Raises `BadSource` if they can't be opened or read."""
        try:
            if self.stream is not None:
                yield self.stream
            else:
                assert self.path is not None  # noqa: S101  # one of the two
                with self.path.open("rb") as stream:
                    yield stream
        except OSError as error:
            raise unreadable(self.name, error) from error


def read_lines(source: Input) -> Iterator[tuple[int, str | SourceProblem]]:
    """``(line number from 1, text without its line end)`` of JSONL; blank lines are counted and skipped.

    A line over `ITEM_BYTES` or not in UTF-8 is a problem. Raises `BadSource` if the file can't be opened.
    """
    with source.opened() as stream:
        number = 0
        while raw := stream.readline(ITEM_BYTES + 1):
            number += 1
            source.watch(len(raw))
            text = _line(stream, raw, number, source)
            if isinstance(text, SourceProblem) or text.strip():
                yield number, text


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


def decode(raw: bytes, path: Path | str, line: int | None) -> str | SourceProblem:
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


def unreadable(path: Path | str, error: Exception) -> BadSource:
    """The error for a path that can't be read at all."""
    return BadSource(f"{str(path)[:200]!r} can't be read ({error}).", remedy="Check the path and its permissions.")


def _line(stream: BinaryIO, raw: bytes, number: int, source: Input) -> str | SourceProblem:
    if len(raw) > ITEM_BYTES:
        skip_line(stream, raw, source)
        return _problem(source.name, f"the line is longer than {ITEM_BYTES} bytes", "Write one item per line.", number)
    if number == 1:
        raw = raw.removeprefix(UTF8_BOM)
    return decode(raw.rstrip(b"\r\n"), source.name, number)


def skip_line(stream: BinaryIO, raw: bytes, source: Input) -> None:
    """Read what is left of a line that began with ``raw``, without holding it."""
    while raw and not raw.endswith(b"\n"):
        raw = stream.readline(2**16)
        source.watch(len(raw))


def _problem(path: Path | str, what: str, remedy: str, line: int | None = None) -> SourceProblem:
    return SourceProblem(path=str(path), line=line, what=what, remedy=remedy)
