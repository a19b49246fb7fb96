"""Version ids: ``{YYYYmmdd_HHMMSS}_{token:08d}``, UTC, ordered by token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from siltstone.errors import InvalidInput

_PATTERN = re.compile(r"(\d{8}_\d{6})_(\d{8}|[1-9]\d{8,})", re.ASCII)


@dataclass(frozen=True, order=True)
class Version:
    """A version id. Order is by ``token``: two clocks may disagree, tokens never repeat."""

    token: int
    stamp: str

    def __str__(self) -> str:
        return f"{self.stamp}_{self.token:08d}"

    @staticmethod
    def at(seconds: float, token: int) -> Version:
        """The version id of ``token``, acquired at ``seconds`` since the epoch."""
        return Version(token, datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d_%H%M%S"))

    @staticmethod
    def parse(text: str) -> Version:
        """Inverse of ``str``. Raises `InvalidInput`."""
        match = _PATTERN.fullmatch(text)
        if not match:
            raise InvalidInput(f"{text[:80]!r} is not a version id.", remedy="It looks like 20260131_235959_00000042.")
        return Version(int(match[2]), match[1])
