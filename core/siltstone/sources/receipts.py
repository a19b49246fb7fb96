"""Receipts from whatever a person points at."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from siltstone.errors import BadSource
from siltstone.sources.files import Input, mode_of
from siltstone.sources.jsonl import read_receipts_jsonl
from siltstone.sources.problem import SourceProblem
from siltstone.sources.receipt import Receipt
from siltstone.sources.sroie import read_sroie_folder


def read_receipts(source: Path | str | Input) -> Iterator[Receipt | SourceProblem]:
    """Receipts of a ``.jsonl`` file, a stream of JSONL, or a folder in the SROIE layout.

    Raises `BadSource` for anything else.
    """
    if not isinstance(source, Input):
        if stat.S_ISDIR(mode_of(Path(source))):
            return read_sroie_folder(source)
        _check_name(Path(source))
        source = Input.of(source)
    elif source.path is not None:
        _check_name(source.path)
    return read_receipts_jsonl(source)


def _check_name(path: Path) -> None:
    if path.suffix.lower() not in {".jsonl", ".ndjson"}:
        raise BadSource(f"{path} is neither a folder nor a .jsonl file.", remedy="Name one of the two.")
