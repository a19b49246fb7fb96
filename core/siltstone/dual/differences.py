"""How far two answers to one question are apart."""

from __future__ import annotations

from typing import Any, NamedTuple

from siltstone.dual.calls import as_upsert

SHOWN = 20  # ids in a record
SCORE_TOLERANCE = 1e-3  # two indexes round differently; Pinecone's own scores vary in the fourth digit
VALUE_TOLERANCE = 1e-5  # of a vector's numbers: a store may keep a direction and a length


class Difference(NamedTuple):
    """``overlap``: share of the chosen answer's ids that the other has too. ``missing``: in the other; ``extra``: only
    there. ``gap``: the largest between scores (or a vector's numbers) of one id. ``changed``: ids with other metadata.
    """

    same: bool
    overlap: float
    missing: list[str]
    extra: list[str]
    gap: float
    changed: list[str]

    def as_record(self) -> dict[str, Any]:
        """For the log: long lists of ids are cut, and counted."""
        return {
            "overlap": round(self.overlap, 4),
            "missing": self.missing[:SHOWN],
            "missing_count": len(self.missing),
            "extra": self.extra[:SHOWN],
            "extra_count": len(self.extra),
            "gap": round(self.gap, 6),
            "changed": self.changed[:SHOWN],
        }


def compare_queries(chosen: Any, other: Any) -> Difference:
    """Two answers of ``query``."""
    ours, theirs = ({match.id: float(match.score) for match in answer.matches} for answer in (chosen, other))
    gap = max((abs(ours[each] - theirs[each]) for each in ours.keys() & theirs.keys()), default=0.0)
    return _difference(ours, theirs, gap, SCORE_TOLERANCE, [])


def compare_fetches(chosen: Any, other: Any) -> Difference:
    """Two answers of ``fetch``."""
    ours, theirs = ({row: as_upsert(vector) for row, vector in answer.vectors.items()} for answer in (chosen, other))
    both = sorted(ours.keys() & theirs.keys())
    gap = max((_gap(ours[row]["values"], theirs[row]["values"]) for row in both), default=0.0)
    changed = [row for row in both if ours[row]["metadata"] != theirs[row]["metadata"]]
    return _difference(ours, theirs, gap, VALUE_TOLERANCE, changed)


def _gap(ours: list[float], theirs: list[float]) -> float:
    if len(ours) != len(theirs):
        return float("inf")
    largest = max((abs(number) for number in ours), default=0.0) or 1.0
    return max((abs(a - b) for a, b in zip(ours, theirs, strict=True)), default=0.0) / largest


def _difference(
    ours: dict[str, Any], theirs: dict[str, Any], gap: float, tolerance: float, changed: list[str]
) -> Difference:
    missing = [row for row in ours if row not in theirs]
    extra = [row for row in theirs if row not in ours]
    overlap = 1.0 if not ours else 1 - len(missing) / len(ours)
    same = not missing and not extra and not changed and gap <= tolerance
    return Difference(same, overlap, missing, extra, gap, changed)
