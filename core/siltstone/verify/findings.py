"""What a verification found: typed, with the key it is about and what to do."""

from __future__ import annotations

import threading
from typing import Literal

from pydantic import Field

from siltstone.compaction.messages import Message

Severity = Literal["error", "warning", "info"]
"""``error``: something is lost, damaged or about to be. ``warning``: look at it, nothing current rests on it.
``info``: as designed, and worth knowing."""

Code = Literal[
    # versions
    "file-missing",
    "file-damaged",
    "file-unnamed",
    "manifest-damaged",
    "manifest-rewritten",
    "manifest-wrong",
    "check-failed",
    "count-wrong",
    "parent-wrong",
    "settings-changed",
    "version-removed",
    "version-unfinished",
    "version-unpromoted",
    # pointer and lock
    "pointer-missing",
    "pointer-damaged",
    "pointer-moved-back",
    "pointer-dangling",
    "pointer-forked",
    "pointer-touched",
    "lock-behind",
    # deltas
    "delta-damaged",
    "delta-rewritten",
    "delta-lost",
    "delta-returned",
    "delta-unprovable",
    "quarantined",
    "quarantine-damaged",
    "key-strange",
    "collection-unknown",
    # contents, with deep
    "row-missing",
    "row-unexpected",
    "row-wrong",
    "snapshot-unreadable",
    "content-unprovable",
]

_RANK: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}


class Finding(Message):
    """One thing that was found. ``key``: an object's key, or a prefix, or the lock's id."""

    severity: Severity
    code: Code
    key: str
    what: str
    remedy: str = ""


class Figures(Message):
    """How much was looked at: a verification that looked at nothing finds nothing. Bytes are those that were hashed."""

    versions: int = 0
    objects: int = 0
    bytes: int = 0
    pointer_writes: int = 0
    deltas_pending: int = 0
    deltas_deleted: int = 0
    deltas_accounted: int = 0  # of the deleted ones: merged into a kept version, or in quarantine
    deltas_unprovable: int = 0  # deleted before the oldest version of the current line: nothing tells any more
    quarantined: int = 0
    staging_objects: int = 0
    staging_bytes: int = 0
    versions_rebuilt: int = 0  # with deep
    rows_compared: int = 0


class VerifyInput(Message):
    """What to verify. ``version``: only this one's files and content. ``deep``: rebuild and compare contents too."""

    collection: str
    version: str | None = None
    deep: bool = False


class Report(Message):
    """What was found, the worst first."""

    collection: str
    version: str | None
    deep: bool
    current: str | None
    started_at: str
    seconds: float = Field(ge=0)
    figures: Figures
    findings: list[Finding]

    @property
    def damaged(self) -> bool:
        """Whether there is an error among the findings."""
        return any(finding.severity == "error" for finding in self.findings)


class Findings:
    """Gathers findings and figures. Safe for threads."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._figures: dict[str, int] = {}
        self._lock = threading.Lock()

    def error(self, code: Code, key: str, what: str, remedy: str) -> None:
        """Something is lost, damaged or about to be."""
        self._add(Finding(severity="error", code=code, key=key, what=what, remedy=remedy))

    def warning(self, code: Code, key: str, what: str, remedy: str) -> None:
        """Somebody should look; nothing current rests on it."""
        self._add(Finding(severity="warning", code=code, key=key, what=what, remedy=remedy))

    def info(self, code: Code, key: str, what: str, remedy: str = "") -> None:
        """As designed, and worth knowing."""
        self._add(Finding(severity="info", code=code, key=key, what=what, remedy=remedy))

    def count(self, **figures: int) -> None:
        """Add to the `Figures` of these names."""
        with self._lock:
            for name, number in figures.items():
                self._figures[name] = self._figures.get(name, 0) + number

    @property
    def figures(self) -> Figures:
        """What was counted so far."""
        return Figures(**self._figures)

    def sorted(self) -> list[Finding]:
        """The worst first, then by key."""
        return sorted(self._found, key=lambda found: (_RANK[found.severity], found.key, found.code))

    def _add(self, finding: Finding) -> None:
        with self._lock:
            self._found.append(finding)
