"""The provider's output and error files, read as streams and matched by id with what was sent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siltstone.embedding.outcome import Fate, Outcome
from siltstone.embedding.requests import EmbeddedRow, MalformedRow, RefusedRow, ResultRow, read_results
from siltstone.settings import CollectionSettings

# Statuses that say "this row will never do". Everything else may pass: throttled, expired, broken on the way.
_FOR_GOOD = frozenset({400, 404, 413, 422})
_MISSING = "no_answer: The provider returned no row for this record."
_REASON_LENGTH = 1_000


class Answers:
    """Vectors and fates of an attempt, filled row by row; rows come in no order, repeated, or under unknown ids.

    ``vectors``: float32 (n, dimension), zeros where there is none.
    """

    def __init__(self, ids: list[str], settings: CollectionSettings) -> None:
        self._places = {record_id: place for place, record_id in enumerate(ids)}
        self._settings = settings
        self.vectors: NDArray[np.float32] = np.zeros((len(ids), settings.dimension), np.float32)
        self.outcome = Outcome.blank(len(ids))
        self.outcome.reasons = dict.fromkeys(range(len(ids)), _MISSING)

    def read(self, path: Path) -> None:
        """Take in one file. Memory: one row."""
        with path.open("rb") as file:
            for row in read_results(file):
                self._take(row)

    def _take(self, row: ResultRow) -> None:
        place = self._places.get(row.custom_id) if row.custom_id is not None else None
        if place is None:
            self.outcome.unknown_rows += 1
            return
        if isinstance(row, EmbeddedRow):
            self.outcome.tokens += row.tokens
        if self.outcome.fates[place] == Fate.EMBEDDED:
            return  # a repeated row: the first good vector stays
        fate, reason = self._judge(row)
        self.outcome.fates[place] = fate
        if isinstance(row, EmbeddedRow) and fate == Fate.EMBEDDED:
            self.vectors[place] = row.vector
            del self.outcome.reasons[place]
        else:
            # JSON's escapes can name half of a surrogate pair, which no file of ours can hold.
            self.outcome.reasons[place] = reason[:_REASON_LENGTH].encode(errors="replace").decode()

    def _judge(self, row: ResultRow) -> tuple[Fate, str]:
        match row:
            case EmbeddedRow():
                fault = self._fault(row.vector)
                return (Fate.TO_RETRY, f"unusable_vector: {fault}.") if fault else (Fate.EMBEDDED, "")
            case RefusedRow():
                fate = Fate.REJECTED if row.status in _FOR_GOOD else Fate.TO_RETRY
                return fate, f"{row.code}: {row.message}"
            case MalformedRow():
                return Fate.TO_RETRY, f"malformed_row: {row.reason}"

    def _fault(self, vector: NDArray[np.float32]) -> str:
        if len(vector) != self._settings.dimension:
            return f"{len(vector)} components instead of {self._settings.dimension}"
        with np.errstate(over="ignore", invalid="ignore"):
            length = np.dot(vector, vector)  # float32, as the index computes it: it must neither overflow nor vanish
        if not np.isfinite(length):
            return "it is not finite"
        return "it has no direction" if self._settings.space == "cosine" and length == 0 else ""
