"""Write to two sides so that no difference between them is ever unknown.

    mark ── chosen side ── other side ── mark removed
     │          │              └ fails: the caller has his answer; the mark stays and is healed later
     │          └ fails: the caller has the error, the other side is not written to; the mark stays, nobody knows
     └ fails: nothing was written                                       whether the write happened

Writes of one namespace go one after another within a process, so that both sides see them in one order. Two processes
that write the same id at the same moment may leave the sides different without a mark: verification finds that.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from siltstone.clock import Clock, iso
from siltstone.dual.calls import VectorCalls
from siltstone.dual.journal import Journal, Mark
from siltstone.dual.phases import Phase, Side
from siltstone.dual.records import Counters, Log
from siltstone.errors import BadSettings, Refused, SiltstoneError, StoreUnavailable

Write = Callable[[VectorCalls], Any]
SideOf = Callable[[Side], VectorCalls]


class Writing:
    """Safe for threads. ``side``: the store of a side, or `BadSettings`."""

    def __init__(self, side: SideOf, journal: Journal, log: Log, counters: Counters, clock: Clock) -> None:
        self._side = side
        self._journal = journal
        self._log = log
        self._counters = counters
        self._clock = clock
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._making = threading.Lock()
        self._checked: set[tuple[str, Phase]] = set()

    def lock(self, namespace: str) -> threading.RLock:
        """What a write to the namespace holds while it goes on."""
        with self._making:
            return self._locks[namespace]

    def write(self, call: str, namespace: str, ids: list[str] | None, phase: Phase, do: Write) -> Any:
        """The chosen side's answer, or its error. ``ids``: that the call writes; ``None``: those that a filter finds.

        Raises what the chosen side raises; `StoreUnavailable` where the journal can't be reached; `Refused` where the
        phase would leave behind writes that only the other side has.
        """
        chosen = self._side(phase.chosen)
        if not phase.both:
            self._check_left(namespace, phase)
            return do(chosen)
        other = self._side(phase.chosen.other)
        with self.lock(namespace):
            mark = Mark.new(self._clock.now(), namespace, phase.chosen, ids, call)
            self._journal.add(mark)
            try:
                answer = do(chosen)
            except BaseException:
                self._counters.add("first_write_failed")
                raise
            self._counters.add("written")
            try:
                _check_whole(do(other), ids)
            except Exception as error:  # whatever it is: the caller's write is done, and the mark stays
                self._counters.add("other_write_failed")
                self._record(mark, error)
            else:
                if not _failed(answer):
                    self._unmark(mark)
            return answer

    def mark(self, namespace: str, ids: list[str], phase: Phase) -> None:
        """Note that ids may differ."""
        if not phase.both:
            raise BadSettings(f"In phase {phase.value} nothing is healed.", remedy="Set both or chroma-first.")
        self._journal.add(Mark.new(self._clock.now(), namespace, phase.chosen, ids, "mark"))

    def _unmark(self, mark: Mark) -> None:
        try:
            self._journal.remove(mark)
        except SiltstoneError:
            self._counters.add("journal_failed")  # healed once for nothing

    def _record(self, mark: Mark, error: Exception) -> None:
        line = {
            "what": "other_write_failed",
            "time": iso(mark.time),
            "call": mark.call,
            "namespace": mark.namespace,
            "mark": mark.name,
            "ids": None if mark.ids is None else len(mark.ids),
            "error": f"{type(error).__name__}: {error}"[:300],
        }
        if not self._log.write(line):
            self._counters.add("log_failed")

    def _check_left(self, namespace: str, phase: Phase) -> None:
        """Once for a phase: what only the side that is left has would be overwritten by no one, and never be seen."""
        if (namespace, phase) in self._checked:
            return
        open_marks = [m for m in self._journal.marks() if m.namespace == namespace and m.right is not phase.chosen]
        if open_marks:
            raise Refused(
                f"{len(open_marks)} writes to {namespace} may be only in {phase.chosen.other.value}, the oldest of "
                f"{iso(open_marks[0].time)}.",
                remedy="Go one phase back, heal, and see that no mark is left.",
            )
        self._checked.add((namespace, phase))


def _check_whole(answer: Any, ids: list[str] | None) -> None:
    if failed := _failed(answer):
        raise StoreUnavailable(f"{failed} of {len(ids or [])} vectors were not written.")


def _failed(answer: Any) -> int:
    """Vectors that an upsert in batches did not write: Pinecone's client says so in its answer and raises nothing."""
    return int(getattr(answer, "failed_item_count", 0) or 0)
