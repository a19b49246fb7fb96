"""Requests at a bounded rate, and again when the index says that it is busy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from siltstone.clock import Clock
from siltstone.errors import IndexUnavailable
from siltstone.migration.source import IdPage, IndexShape, SourceIndex, SourceVector

T = TypeVar("T")

TRIES = 8  # of one request, on top of those of the index's own client
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds


class PatientIndex:
    """A `SourceIndex` that waits: at most ``rate`` requests a second, and longer after each refusal to answer.

    A pause is everybody's: threads that went on asking would be throttled in turn. ``requests`` counts all, ``pauses``
    those that had to be made again.
    """

    def __init__(
        self,
        index: SourceIndex,
        clock: Clock,
        *,
        rate: float | None = None,
        tries: int = TRIES,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._index = index
        self._clock = clock
        self._gap = 0.0 if rate is None else 1.0 / rate
        self._tries = tries
        self._first_pause = first_pause
        self._gate = threading.Lock()
        self._next = clock.monotonic()  # no request before
        self.requests = 0
        self.pauses = 0

    @property
    def name(self) -> str:
        return self._index.name

    def shape(self) -> IndexShape:
        return self._asked(self._index.shape)

    def list_ids(self, namespace: str, token: str | None, limit: int) -> IdPage:
        return self._asked(lambda: self._index.list_ids(namespace, token, limit))

    def fetch(self, namespace: str, ids: Sequence[str]) -> list[SourceVector]:
        return self._asked(lambda: self._index.fetch(namespace, ids))

    def query(self, namespace: str, vector: Sequence[float], top_k: int) -> list[str]:
        return self._asked(lambda: self._index.query(namespace, vector, top_k))

    def _asked(self, request: Callable[[], T]) -> T:
        for attempt in range(1, self._tries + 1):
            self._wait()
            try:
                return request()
            except IndexUnavailable as error:
                if attempt == self._tries:
                    raise
                pause = min(self._first_pause * 2 ** (attempt - 1), LONGEST_PAUSE)
                self._hold(max(pause, error.retry_after or 0.0))
        raise ValueError("A request has at least one try.")

    def _wait(self) -> None:
        with self._gate:
            now = self._clock.monotonic()
            mine = max(now, self._next)
            self._next = mine + self._gap
            self.requests += 1
        if mine > now:
            self._clock.sleep(mine - now)

    def _hold(self, seconds: float) -> None:
        with self._gate:
            self.pauses += 1
            self._next = max(self._next, self._clock.monotonic() + seconds)
