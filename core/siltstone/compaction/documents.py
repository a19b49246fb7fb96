"""The JSON documents of compaction: plan, work, and the manifest. Each is written once, create-only."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from siltstone.compaction.messages import Message
from siltstone.keys import MAX_DEPTH, MAX_NAME_BYTES

SCHEMA_VERSION = 1


def _safe_relative(path: str) -> str:
    """A path from a file is never trusted: no absolute path, no '..', no odd separators, nothing a disk can't hold."""
    pure = PurePosixPath(path)
    if not pure.parts or pure.is_absolute() or str(pure) != path or ".." in pure.parts:
        raise ValueError(f"unsafe path {path[:80]!r}")
    if "\\" in path or any(unicodedata.category(each) in {"Cc", "Cs"} for each in path):
        raise ValueError(f"unsafe characters in the path {path[:80]!r}")
    if len(pure.parts) > MAX_DEPTH or max(len(part.encode()) for part in pure.parts) > MAX_NAME_BYTES:
        raise ValueError(f"the path {path[:80]!r}... is too long")
    return path


SafePath = Annotated[str, AfterValidator(_safe_relative)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class StagedFile(Message):
    """A file in staging: read by key, conditional on its ETag, checked against its hash. ``size`` in bytes."""

    path: SafePath
    key: str
    etag: str
    size: int
    sha256: Sha256


class Part(Message):
    """Operations of bounded number, at most one for each id over all parts of a plan; same Parquet as a delta."""

    file: StagedFile
    upserts: int
    deletes: int


class AppliedDelta(Message):
    """A delta by the only identity that counts: its key and the ETag of its body."""

    key: str
    etag: str


class Pin(Message):
    """The pointer as this run saw it first. Both ``None`` where no pointer ever existed."""

    version: str | None
    etag: str | None


class Plan(Message):
    """What ``Download`` decided: everything later states read is named here."""

    schema_version: Literal[1] = SCHEMA_VERSION
    collection: str
    run_id: str
    base: Pin
    settings: dict[str, Any]  # CollectionSettings.fixed(), equal to the base manifest's
    parts: list[Part]
    deltas: list[AppliedDelta]  # taken by this run, in order
    still_listed: list[AppliedDelta]  # of the base's ``applied``: promoted earlier, not yet retired
    quarantined: list[AppliedDelta]
    more: bool


class RowCounts(Message):
    """Rows by kind. ``after = before + inserted - deleted``."""

    before: int = 0
    inserted: int = 0
    updated: int = 0  # another vector
    metadata_only: int = 0
    unchanged: int = 0
    deleted: int = 0
    after: int = 0


class Check(Message):
    """One thing that was verified over the sealed files before publication."""

    name: str
    passed: bool
    detail: str = ""


class Work(Message):
    """A Chroma directory in staging, between two turns of ``Merge`` or sealed for ``Upload``."""

    schema_version: Literal[1] = SCHEMA_VERSION
    parts_done: int
    counts: RowCounts
    dead_slots: int  # deleted or replaced rows that still take room in the index
    files: list[StagedFile]
    checks: tuple[Check, ...] = ()  # only in a sealed one


class VersionFile(Message):
    """A file of a version, relative to the version's prefix. ``size`` in bytes."""

    path: SafePath
    size: int
    sha256: Sha256


class Manifest(Message):
    """A version's contents and history. Written last and create-only: without one a version does not exist."""

    schema_version: Literal[1] = SCHEMA_VERSION
    collection: str
    version: str
    parent: str | None
    token: int
    run: str
    reason: Literal["compaction", "rollback", "takeover"] = "compaction"
    restored_from: str | None = None  # the version whose files a rollback copied
    started_at: str
    created_at: str
    libraries: dict[str, str]
    settings: dict[str, Any]
    counts: RowCounts
    dead_slots: int
    files: list[VersionFile]
    applied: list[AppliedDelta]
    checks: list[Check]

    @property
    def total_bytes(self) -> int:
        """Size of all files, bytes."""
        return sum(file.size for file in self.files)
