"""Which side answers, and which are written to: a setting for each namespace (or collection), read at run time.

==============  ============  ==================  ===============================================
phase           answers from  written to          beside it
==============  ============  ==================  ===============================================
pinecone        Pinecone      Pinecone            nothing
both            Pinecone      Pinecone, Siltstone Siltstone is asked too, differences are recorded
chroma-first    Siltstone     Siltstone, Pinecone Pinecone is asked too, differences are recorded
chroma          Siltstone     Siltstone           nothing
==============  ============  ==================  ===============================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from siltstone.errors import BadSettings

VARIABLE = "SILTSTONE_MIGRATION_PHASES"
EVERY_OTHER = "*"


class Side(StrEnum):
    """One of the two stores."""

    PINECONE = "pinecone"
    SILTSTONE = "siltstone"

    @property
    def other(self) -> Side:
        return Side.SILTSTONE if self is Side.PINECONE else Side.PINECONE


class Phase(StrEnum):
    """How far a namespace's move has come."""

    PINECONE = "pinecone"
    BOTH = "both"
    CHROMA_FIRST = "chroma-first"
    CHROMA = "chroma"

    @property
    def chosen(self) -> Side:
        """The side that answers, and is written to first: what it holds is right."""
        return Side.PINECONE if self in {Phase.PINECONE, Phase.BOTH} else Side.SILTSTONE

    @property
    def both(self) -> bool:
        """Whether the other side is written to and asked, too."""
        return self in {Phase.BOTH, Phase.CHROMA_FIRST}


class Phases(BaseModel):
    """Phases by namespace; ``*`` is every other one, ``__default__`` the one without a name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phases: dict[str, Phase]

    @staticmethod
    @lru_cache(maxsize=8)
    def parse(text: str) -> Phases:
        """Of ``{"lines": "both", "*": "pinecone"}``, or one phase for all. Raises `BadSettings` naming the entry."""
        try:
            found = json.loads(text) if text.lstrip().startswith("{") else {EVERY_OTHER: text.strip()}
            return Phases.model_validate({"phases": found})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"][1:])
            raise BadSettings(
                f"The migration's phase of {where!r} is {first['input']!r:.80}.",
                remedy=f"It is one of {', '.join(Phase)}.",
            ) from error
        except ValueError as error:
            raise BadSettings(f"{VARIABLE} is not JSON: {error}.", remedy="See docs/migration.md.") from error

    def of(self, namespace: str) -> Phase:
        """Raises `BadSettings` where no entry matches: nothing is guessed."""
        found = self.phases.get(namespace, self.phases.get(EVERY_OTHER))
        if found is None:
            raise BadSettings(
                f"No phase is set for the namespace {namespace!r}.",
                remedy=f"Name it in {VARIABLE}, or give '{EVERY_OTHER}' one.",
            )
        return found


PhaseSource = Callable[[], Phases]
"""Asked at each call: a phase that is set there holds from the next call on."""


def phases_from_environment() -> Phases:
    """From ``SILTSTONE_MIGRATION_PHASES``. Raises `BadSettings` where it is not set or wrong."""
    text = os.environ.get(VARIABLE)
    if not text:
        raise BadSettings(f"{VARIABLE} is not set.", remedy='Set it: {"lines": "both", "*": "pinecone"}.')
    return Phases.parse(text)


def phases_from_file(path: Path) -> PhaseSource:
    """From a file that is read at each call: a process that runs on is switched by replacing it (rename it there)."""

    def read() -> Phases:
        try:
            return Phases.parse(path.read_text())
        except OSError as error:
            raise BadSettings(f"The migration's phases can't be read: {error}.", remedy=f"Write {path}.") from error

    return read
