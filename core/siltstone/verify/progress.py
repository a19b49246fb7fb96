"""How far a verification is, for whoever watches it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told by several threads at once. ``unit``: ``bytes``, ``deltas``, ``rows`` or ``writes``."""

    def begin(self, step: str, total: int, unit: str) -> None:
        """A step begins; the one before is done."""
        ...

    def advance(self, amount: int) -> None:
        """So much more of the present step is done."""
        ...


class Silent:
    """Nobody watches."""

    def begin(self, step: str, total: int, unit: str) -> None:
        pass

    def advance(self, amount: int) -> None:
        pass
