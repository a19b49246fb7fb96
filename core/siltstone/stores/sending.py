"""A put whose body is sent within a time of its own, or not at all.

S3 dates an object by the start of its request, and shows it at the end. A delta that takes longer to send than the
settle margin would appear among deltas that a run has merged already. The client's timeouts don't prevent it: they
are for each piece that is sent, so that a slow line can take minutes.
"""

from __future__ import annotations

import io
import time
from collections.abc import Generator
from contextlib import contextmanager

from siltstone.errors import StoreUnavailable

SEND_SECONDS = 40.0  # of a put's whole body: 300 MB, the largest delta, at 8 MB/s


class TimedBody(io.BytesIO):
    """``body`` as a file that botocore sends, given up when the first piece was read ``seconds`` ago.

    ``late``: whether that happened. It stays: another attempt over the same line would end in the same way.
    """

    def __init__(self, body: bytes, seconds: float) -> None:
        super().__init__(body)
        self.late = False
        self._seconds = seconds
        self._started: float | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Each attempt goes back to the start, and starts its time."""
        self._started = None
        return super().seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        """Also at the end of the body, so that a last piece that got stuck counts. Raises `TimeoutError`."""
        now = time.monotonic()
        self._started = now if self._started is None else self._started
        self.late = self.late or now - self._started > self._seconds
        if self.late:
            # The connection is closed over it. S3 adds no object of which it has only a part.
            raise TimeoutError(f"{self.tell():,} bytes in {now - self._started:.0f} s")
        return super().read(size)

    @contextmanager
    def named(self, target: str) -> Generator[None]:
        """Raises `StoreUnavailable` that says what was late, whatever botocore made of it."""
        try:
            yield
        except (StoreUnavailable, TimeoutError) as error:
            if not self.late:
                raise
            raise StoreUnavailable(
                f"{target}: {len(self.getbuffer()):,} bytes could not be sent within {self._seconds:g} s.",
                remedy="Send less at once (of a delta: fewer rows), or over a faster line.",
            ) from error
