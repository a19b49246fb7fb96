"""The demo's sources: read, what can't be used named, the rest loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.markup import escape
from siltstone.clock import Clock
from siltstone.errors import BadSource
from siltstone.sources.files import Input
from siltstone.sources.intake import Intake, take_in
from siltstone.sources.problem import SourceProblem
from siltstone.sources.receipts import read_receipts
from siltstone.sources.source import Source
from siltstone.sources.texts import read_texts
from siltstone.stores import Stores

from siltstone_local.demo.phases import Say

_SHOWN = 10


@dataclass(frozen=True)
class Inputs:
    """What the demo was given. ``texts`` go into the collection ``texts``."""

    receipts: Path
    texts: Path | None = None

    @property
    def collections(self) -> list[str]:
        """The collections that are compacted and copied."""
        return ["lines", "words", *(["texts"] if self.texts else [])]

    def check(self) -> None:
        """Refuse a missing path before anything is started. Raises `BadSource`."""
        for path in filter(None, (self.receipts, self.texts)):
            if not path.exists():
                raise BadSource(f"{path} does not exist.", remedy="Name a folder or a .jsonl file that does.")


@dataclass
class Loaded:
    """What was found and taken."""

    receipts: int = 0
    texts: int = 0
    intake: Intake = field(default_factory=Intake)

    def summary(self) -> str:
        """For a person, as Rich markup."""
        report, problems = self.intake.report, self.intake.problems
        new = f"{report.new} new, {report.changed} changed, {report.unchanged} known already"
        lines = [f"  {self.receipts} receipts, {self.texts} texts: {new}"]
        lines += [f"  [yellow]left out[/] {escape(str(problem))}" for problem in problems[:_SHOWN]]
        more = self.intake.rejected + self.intake.repeated - _SHOWN
        return "\n".join([*lines, f"  [yellow]left out[/] ... and {more} more"] if more > 0 else lines)


def load(inputs: Inputs, stores: Stores, clock: Clock, say: Say) -> Loaded:
    """Read and load everything. Raises `BadSource` where nothing at all can be used."""
    loaded = Loaded()

    def told(items: Iterable[Source | SourceProblem], kind: str) -> Iterator[Source | SourceProblem]:
        for item in items:
            if not isinstance(item, SourceProblem):
                setattr(loaded, kind, getattr(loaded, kind) + 1)
                say(f"{loaded.receipts} receipts, {loaded.texts} texts")
            yield item

    def everything() -> Iterator[Source | SourceProblem]:
        yield from told(read_receipts(inputs.receipts), "receipts")
        if inputs.texts is not None:
            yield from told(read_texts(Input.of(inputs.texts), "texts"), "texts")

    take_in(everything(), stores, clock, intake=loaded.intake)
    if not loaded.intake.read:
        problems = loaded.intake.problems
        first = f" The first: {problems[0]}" if problems else ""
        raise BadSource(f"{inputs.receipts} holds nothing that can be used.{first}", remedy="")
    return loaded
