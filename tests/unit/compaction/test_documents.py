"""Paths in somebody's document never lead out of a folder, and are such as a disk can hold."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from siltstone.compaction.documents import VersionFile


@pytest.mark.parametrize(
    "path",
    [
        "", ".", "..", "../x", "a/../../b", "/etc/passwd", "a//b", "a/", "./a", "a\\..\\b", "a\0b", "a\nb", "\ud800",
        "x" * 256, "\u00e9" * 128, "d/" * 16 + "x",
    ],
)  # fmt: skip
def test_an_unsafe_path_is_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        VersionFile(path=path, size=1, sha256="0" * 64)


@pytest.mark.parametrize("path", ["chroma.sqlite3", "5f1c/data_level0.bin", "a b/\u00e9", "x" * 255, "d/" * 15 + "x"])
def test_an_ordinary_path_is_taken(path: str) -> None:
    assert VersionFile(path=path, size=1, sha256="0" * 64).path == path
