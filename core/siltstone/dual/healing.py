"""Make ids that may differ equal again: what the right side holds is copied to the other one.

Nothing is replayed. The newest mark of an id says which side is right, so an old mark never brings back an old vector;
and after copying the right side is read once more: if it changed meanwhile, it is copied again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from siltstone.clock import Clock, iso
from siltstone.dual.calls import VectorCalls, as_upsert, where
from siltstone.dual.journal import Journal, Mark
from siltstone.dual.phases import Phases, Side
from siltstone.dual.records import Counters, Log
from siltstone.dual.writing import SideOf, Writing
from siltstone.errors import StoreUnavailable
from siltstone.parallel import chunks

PAGE = 50  # vectors: Pinecone takes 2 MB a request
TURNS = 5  # copies of a page that keeps changing


@dataclass
class Healed:
    """``ids`` were made equal. ``waiting``: marks that are too young, of a phase that writes to one side, or whose
    healing failed; ``errors``: why.
    """

    ids: int = 0
    marks: int = 0
    waiting: int = 0
    errors: list[str] = field(default_factory=list[str])


class Healing:
    """See `heal`."""

    def __init__(
        self, side: SideOf, journal: Journal, writing: Writing, *, log: Log, counters: Counters, clock: Clock
    ) -> None:
        self._side = side
        self._journal = journal
        self._writing = writing
        self._log = log
        self._counters = counters
        self._clock = clock

    def heal(self, phases: Phases, older_than: float) -> Healed:
        """Heal the marks that are older than ``older_than`` seconds: younger ones may belong to writes on their way.

        Raises `StoreUnavailable` where the journal can't be read, `BadSettings` for a namespace without a phase. What
        fails on the way is reported, and its mark stays.
        """
        report = Healed()
        by_namespace: dict[str, list[Mark]] = {}
        for mark in self._journal.marks():
            by_namespace.setdefault(mark.namespace, []).append(mark)
        until = self._clock.now() - older_than
        for namespace, marks in by_namespace.items():
            if phases.of(namespace).both:
                self._heal_namespace(namespace, marks, until, report)
            else:
                report.waiting += len(marks)
        self._counters.add("healed", report.ids)
        return report

    def _heal_namespace(self, namespace: str, marks: list[Mark], until: float, report: Healed) -> None:
        busy: set[str] = set()
        settled: set[str] = set()
        right_of_all: Side | None = None  # by the newest mark of the whole namespace
        for older, mark in reversed([*enumerate(marks)]):
            if mark.time > until:
                report.waiting += 1
                if mark.ids is None:  # what it finds is not known: nothing older can be told from it
                    report.waiting += older
                    return
                busy.update(mark.ids)
                continue
            right = right_of_all or mark.right
            try:
                todo = self._all_ids(namespace, right) if mark.ids is None else iter(mark.ids)
                report.ids += self._copy(namespace, right, (each for each in todo if each not in settled | busy))
            except Exception as error:  # either side may raise what it likes: the mark stays
                self._failed(mark, error, report)
                # What an older mark says of these ids must not be done in its place.
                if mark.ids is None:
                    report.waiting += older
                    return
                busy.update(mark.ids)
                continue
            if mark.ids is None:
                right_of_all = right
            else:
                settled.update(set(mark.ids) - busy)
            if busy and (mark.ids is None or busy & set(mark.ids)):
                report.waiting += 1
                continue
            self._journal.remove(mark)
            report.marks += 1

    def _all_ids(self, namespace: str, right: Side) -> Iterator[str]:
        """A write by filter never adds an id: those that the other side has are all that may differ."""
        found: list[str] = []  # all of them first: the listing must not run into its own deletes
        for page in self._side(right.other).list(**where(namespace)):
            found += [each if isinstance(each, str) else each.id for each in page]
        return iter(found)

    def _copy(self, namespace: str, right: Side, ids: Iterable[str]) -> int:
        source, target = self._side(right), self._side(right.other)
        done = 0
        for page in chunks(dict.fromkeys(ids), PAGE):
            with self._writing.lock(namespace):
                self._copy_page(namespace, source, target, page)
            done += len(page)
        return done

    def _copy_page(self, namespace: str, source: VectorCalls, target: VectorCalls, ids: list[str]) -> None:
        held = _read(source, namespace, ids)
        for _ in range(TURNS):
            gone = [each for each in ids if each not in held]
            if gone:
                target.delete(ids=gone, **where(namespace))
            if held:
                target.upsert(vectors=list(held.values()), **where(namespace))
            before, held = held, _read(source, namespace, ids)
            if held == before:
                return
        raise StoreUnavailable(f"{ids[0]} and others keep changing.", remedy="Heal again when fewer writes go on.")

    def _failed(self, mark: Mark, error: Exception, report: Healed) -> None:
        words = f"{type(error).__name__}: {error}"[:300]
        report.waiting += 1
        report.errors.append(f"{mark.namespace}, {mark.call} of {iso(mark.time)}: {words}")
        self._counters.add("heal_failed")
        line = {"what": "heal_failed", "namespace": mark.namespace, "mark": mark.name, "error": words}
        if not self._log.write(line):
            self._counters.add("log_failed")


def _read(side: VectorCalls, namespace: str, ids: list[str]) -> dict[str, dict[str, Any]]:
    found = side.fetch(ids=ids, **where(namespace)).vectors
    return {row: as_upsert(vector) for row, vector in found.items()}
