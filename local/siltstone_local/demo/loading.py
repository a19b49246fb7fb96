"""The demo's sources: read, what can't be used named, the rest loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.markup import escape
from siltstone.clock import Clock
from siltstone.errors import BadSource
from siltstone.sources.jsonl import read_texts_jsonl
from siltstone.sources.loading import LoadReport, load_sources
from siltstone.sources.problem import SourceProblem
from siltstone.sources.receipts import read_receipts
from siltstone.sources.source import Source
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
    problems: list[SourceProblem] = field(default_factory=list[SourceProblem])
    report: LoadReport = field(default_factory=LoadReport)

    def summary(self) -> str:
        """For a person, as Rich markup."""
        new = f"{self.report.new} new, {self.report.changed} changed, {self.report.unchanged} known already"
        lines = [f"  {self.receipts} receipts, {self.texts} texts: {new}"]
        lines += [f"  [yellow]left out[/] {escape(str(problem))}" for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"  [yellow]left out[/] ... and {len(self.problems) - _SHOWN} more")
        return "\n".join(lines)


def load(inputs: Inputs, stores: Stores, clock: Clock, say: Say) -> Loaded:
    """Read and load everything. Raises `BadSource` where nothing at all can be used."""
    loaded = Loaded()

    def usable(items: Iterable[Source | SourceProblem], kind: str) -> Iterator[Source]:
        for item in items:
            if isinstance(item, SourceProblem):
                loaded.problems.append(item)
            else:
                setattr(loaded, kind, getattr(loaded, kind) + 1)
                say(f"{loaded.receipts} receipts, {loaded.texts} texts")
                yield item

    def everything() -> Iterator[Source]:
        yield from usable(read_receipts(inputs.receipts), "receipts")
        if inputs.texts is not None:
            yield from usable(read_texts_jsonl(inputs.texts, "texts"), "texts")

    loaded.report = load_sources(everything(), stores, clock)
    if not loaded.receipts and not loaded.texts:
        first = f" The first: {loaded.problems[0]}" if loaded.problems else ""
        raise BadSource(f"{inputs.receipts} holds nothing that can be used.{first}", remedy="")
    return loaded
