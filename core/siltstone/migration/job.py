"""One namespace's migration as it was asked for: what the copy, its estimate and its verification all begin with."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from siltstone.deltas.codec import MAX_ROWS
from siltstone.errors import BadSettings
from siltstone.migration.convert import DOCUMENT_KEY
from siltstone.migration.plan import Move
from siltstone.migration.source import FETCH_LIMIT, SourceIndex, SourceVector
from siltstone.migration.walk import Walk
from siltstone.parallel import chunks

_MAX_WORKERS = 64


@dataclass(frozen=True)
class Pages:
    """How much at once. ``rows``: of a delta; ``fetch``: ids of a request; ``workers``: requests at the same time.

    Raises `BadSettings`.
    """

    rows: int = 5_000
    fetch: int = 100
    workers: int = 4

    def __post_init__(self) -> None:
        for name, value, most in (
            ("page size", self.rows, MAX_ROWS),
            ("fetch size", self.fetch, FETCH_LIMIT),
            ("number of workers", self.workers, _MAX_WORKERS),
        ):
            if not 1 <= value <= most:
                raise BadSettings(f"The {name} is {value:,}.", remedy=f"It is 1 to {most:,}.")


@dataclass(frozen=True)
class Job:
    """``name``: of the migration. ``document_key``: of the metadata whose text becomes the document."""

    name: str
    move: Move
    walk: Walk
    pages: Pages = field(default_factory=Pages)
    document_key: str | None = DOCUMENT_KEY

    def fetch(self, index: SourceIndex, ids: Sequence[str]) -> list[SourceVector]:
        """Those of ``ids`` that exist, in their order."""

        def fetch(part: list[str]) -> list[SourceVector]:
            return index.fetch(self.move.namespace, part)

        with ThreadPoolExecutor(self.pages.workers) as pool:
            found = {row.id: row for rows in pool.map(fetch, chunks(ids, self.pages.fetch)) for row in rows}
        return [found[row_id] for row_id in ids if row_id in found]
