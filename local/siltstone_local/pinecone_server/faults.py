"""What goes wrong on purpose. Set with ``POST /_faults``, shown with ``GET``, cleared with ``DELETE``."""

from __future__ import annotations

import threading
import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["429", "500", "503", "timeout", "lost", "cut", "die"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReplyFault(_Model):
    """What becomes of the next ``times`` requests to a path, after ``skip`` that go well.

    ``timeout``: nothing is done, nothing is said for ``seconds``. ``lost``: it is done, and the connection dies.
    ``cut``: it is done, half of the answer comes. ``die``: the server kills itself before it does anything (a
    `PineconeServer` only).
    """

    path: str = "*"  # as in Pinecone's API: "/vectors/list" is that path alone, "/vectors/*" all below it
    method: str | None = None
    kind: Kind
    skip: int = Field(default=0, ge=0)
    times: int = Field(default=1, ge=1)
    seconds: float = Field(default=600.0, ge=0)

    def matches(self, method: str, path: str) -> bool:
        if self.method not in (None, method):
            return False
        return path.startswith(self.path[:-1]) if self.path.endswith("*") else path == self.path


class Faults(_Model):
    """All that is set; the default is a server in good health. ``every_nth`` counts the requests of the data plane."""

    requests_per_second: float | None = Field(default=None, gt=0)  # more get a 429; a tenth of a second's may burst
    throttle_every_nth: int | None = Field(default=None, ge=1)  # 429
    fail_every_nth: int | None = Field(default=None, ge=1)  # 500
    cut_every_nth: int | None = Field(default=None, ge=1)  # half an answer
    retry_after_seconds: float | None = Field(default=1.0, ge=0)  # in the header of each 429; None: no header
    delay_seconds: float = Field(default=0.0, ge=0)  # of every answer
    max_url_bytes: int = Field(default=64 * 1024, ge=1)  # longer: 414 and plain text, as a proxy in front answers
    replies: tuple[ReplyFault, ...] = ()


class FaultBoard:
    """The faults in force, counted down as they are used. They are not kept over a restart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults = Faults()
        self._count = 0
        self._allowance = 0.0
        self._last = time.monotonic()

    def show(self) -> Faults:
        return self._faults

    def set(self, faults: Faults) -> None:
        with self._lock:
            self._faults, self._count, self._allowance, self._last = faults, 0, 1.0, time.monotonic()

    def take(self, method: str, path: str) -> ReplyFault | None:
        """The fault of a request that has just arrived: one for it alone first, then what comes at a rate."""
        with self._lock:
            return self._take_reply(method, path) or self._take_rate()

    def _take_reply(self, method: str, path: str) -> ReplyFault | None:
        replies = list(self._faults.replies)
        for place, fault in enumerate(replies):
            if not fault.matches(method, path):
                continue
            if fault.skip:
                replies[place] = fault.model_copy(update={"skip": fault.skip - 1})
            elif fault.times > 1:
                replies[place] = fault.model_copy(update={"times": fault.times - 1})
            else:
                del replies[place]
            self._faults = self._faults.model_copy(update={"replies": tuple(replies)})
            return None if fault.skip else fault
        return None

    def _take_rate(self) -> ReplyFault | None:
        faults = self._faults
        self._count += 1
        kinds: tuple[tuple[Kind, int | None], ...] = (
            ("429", faults.throttle_every_nth),
            ("500", faults.fail_every_nth),
            ("cut", faults.cut_every_nth),
        )
        for kind, nth in kinds:
            if nth is not None and self._count % nth == 0:
                return ReplyFault(kind=kind)
        if faults.requests_per_second is None:
            return None
        now = time.monotonic()
        gained = (now - self._last) * faults.requests_per_second
        self._allowance = min(max(1.0, faults.requests_per_second / 10), self._allowance + gained)
        self._last = now
        if self._allowance < 1.0:
            return ReplyFault(kind="429")
        self._allowance -= 1.0
        return None
