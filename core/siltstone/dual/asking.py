"""Ask two sides the same thing: the chosen one's answer is the answer, the other's is only looked at.

The other is asked in a thread of its own at the same moment. Nothing waits for it: an error, a hang, or a full house
there costs the answer nothing. It is a daemon thread, so not even the end of the process waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from siltstone.clock import Clock, iso
from siltstone.dual.differences import Difference
from siltstone.dual.records import Counters, Log

Compare = Callable[[Any, Any], Difference]


class _Asked:
    """One question that is on its way to the other side."""

    def __init__(self, started: float, about: dict[str, Any]) -> None:
        self.started = started
        self.about = about
        self.chosen: Future[tuple[Any, float]] = Future()  # the chosen side's answer and its seconds
        self.reported = False  # as slow
        self.done = threading.Event()


class Asking:
    """``seconds``: what the other may take before it counts as slow. ``at_once``: questions to it at the same time;
    beyond that it is not asked. Safe for threads.
    """

    def __init__(self, log: Log, counters: Counters, clock: Clock, *, seconds: float, at_once: int) -> None:
        self._log = log
        self._counters = counters
        self._clock = clock
        self._seconds = seconds
        self._at_once = at_once
        self._lock = threading.Lock()
        self._on_their_way: set[_Asked] = set()

    def ask(self, chosen: Callable[[], Any], other: Callable[[], Any], compare: Compare, about: dict[str, Any]) -> Any:
        """The chosen side's answer, or its error. ``about``: what a record says of the question."""
        asked = self._begin(other, compare, about)
        started = self._clock.monotonic()
        try:
            answer = chosen()
        except BaseException as error:
            self._counters.add("chosen_failed")
            if asked is not None:
                asked.chosen.set_exception(error)
            raise
        if asked is not None:
            asked.chosen.set_result((answer, self._clock.monotonic() - started))
        return answer

    def drain(self, seconds: float) -> bool:
        """Wait for what is on its way, at most so long; whether all came. Where a process is frozen between requests
        (a Lambda), call it at the end of each.
        """
        until = self._clock.monotonic() + seconds
        with self._lock:
            waiting = list(self._on_their_way)
        came = all(asked.done.wait(max(0.0, until - self._clock.monotonic())) for asked in waiting)
        self.look()
        return came

    def look(self) -> None:
        """Report what has been on its way for too long: it may never come."""
        now = self._clock.monotonic()
        with self._lock:
            late = [each for each in self._on_their_way if now - each.started > self._seconds and not each.reported]
            for asked in late:
                asked.reported = True
        for asked in late:
            self._slow(asked, now - asked.started)

    def _begin(self, other: Callable[[], Any], compare: Compare, about: dict[str, Any]) -> _Asked | None:
        self.look()
        self._counters.add("asked")
        asked = _Asked(self._clock.monotonic(), {"time": iso(self._clock.now()), **about})
        with self._lock:
            room = len(self._on_their_way) < self._at_once
            if room:
                self._on_their_way.add(asked)
        if room:
            try:
                threading.Thread(target=self._beside, args=(asked, other, compare), daemon=True).start()
            except RuntimeError:  # the system gives no more threads
                self._end(asked)
            else:
                return asked
        self._counters.add("not_asked")
        return None

    def _beside(self, asked: _Asked, other: Callable[[], Any], compare: Compare) -> None:
        try:
            theirs = other()
            took = self._clock.monotonic() - asked.started
            with self._lock:
                slow, known = took > self._seconds, asked.reported
                asked.reported |= slow
            if slow and not known:
                self._slow(asked, took)
            if not slow and not known:
                self._compare(asked, theirs, took, compare)
        except Exception as error:  # whatever it is, it is the other side's and goes into the record
            self._record("other_failed", asked, {"error": f"{type(error).__name__}: {error}"[:300]})
        finally:
            self._end(asked)

    def _compare(self, asked: _Asked, theirs: Any, took: float, compare: Compare) -> None:
        try:
            ours, seconds = asked.chosen.result()
        except BaseException:  # there is no answer to compare with; who asked has the error
            return
        found = compare(ours, theirs)
        if found.same:
            self._counters.add("same")
            return
        times = {"chosen_ms": round(seconds * 1_000, 1), "other_ms": round(took * 1_000, 1)}
        self._record("different", asked, {**found.as_record(), **times})

    def _slow(self, asked: _Asked, took: float) -> None:
        self._record("other_slow", asked, {"other_ms": round(took * 1_000, 1)})

    def _record(self, what: str, asked: _Asked, more: dict[str, Any]) -> None:
        self._counters.add(what)
        if not self._log.write({"what": what, **asked.about, **more}):
            self._counters.add("log_failed")

    def _end(self, asked: _Asked) -> None:
        with self._lock:
            self._on_their_way.discard(asked)
        asked.done.set()
