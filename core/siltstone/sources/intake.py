"""Taking in what a reader found: what can be used is loaded, what can't is named, and the work ahead is priced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from siltstone.clock import Clock
from siltstone.embedding.prices import cost_usd
from siltstone.settings import CollectionBook
from siltstone.sources.loading import LoadReport, load_sources
from siltstone.sources.problem import SourceProblem
from siltstone.sources.source import Source
from siltstone.stores import Stores

KEPT = 1_000  # problems: a file of the wrong kind has one on every line


@dataclass(frozen=True)
class Estimate:
    """What one collection is to embed. ``tokens``: at most. Dollars: for those tokens; ``None`` for an unknown price.

    ``deletes``: records that vanished, which costs nothing.
    """

    collection: str
    model: str
    records: int
    tokens: int
    batch_usd: float | None
    now_usd: float | None
    deletes: int


@dataclass
class Intake:
    """A load so far. ``read``: usable sources; ``rejected``: items left out that are missing now.

    ``repeated``: items left out that were there already, with the same content; ``problems``: the first `KEPT` of both.
    """

    read: int = 0
    rejected: int = 0
    repeated: int = 0
    problems: list[SourceProblem] = field(default_factory=list[SourceProblem])
    report: LoadReport = field(default_factory=LoadReport)

    def estimates(self, book: CollectionBook) -> list[Estimate]:
        """By collection name; also of a collection with nothing left to do."""
        return [
            Estimate(
                collection=name,
                model=book.resolve(name).model,
                records=work.records,
                tokens=work.tokens,
                batch_usd=cost_usd(book.resolve(name).model, work.tokens, batch=True),
                now_usd=cost_usd(book.resolve(name).model, work.tokens, batch=False),
                deletes=work.deletes,
            )
            for name, work in sorted(self.report.work.items())
        ]


def _nobody(_: SourceProblem) -> None:
    pass


def take_in(
    items: Iterable[Source | SourceProblem],
    stores: Stores,
    clock: Clock,
    *,
    intake: Intake | None = None,
    dry_run: bool = False,
    reject: Callable[[SourceProblem], None] = _nobody,
) -> Intake:
    """Load what a reader found, a hundred at a time; ``reject`` is told each problem as it is met.

    ``intake`` grows as it goes, so that it is true also where this is interrupted. Then what was loaded stays, and the
    same call goes on: what is loaded already is known by its content. Raises as `load_sources` does.
    """
    intake = Intake() if intake is None else intake
    load_sources(_usable(items, intake, reject), stores, clock, report=intake.report, dry_run=dry_run)
    return intake


def _usable(
    items: Iterable[Source | SourceProblem], intake: Intake, reject: Callable[[SourceProblem], None]
) -> Iterator[Source]:
    for item in items:
        if not isinstance(item, SourceProblem):
            intake.read += 1
            yield item
            continue
        if item.duplicate:
            intake.repeated += 1
        else:
            intake.rejected += 1
        if len(intake.problems) < KEPT:
            intake.problems.append(item)
        reject(item)
