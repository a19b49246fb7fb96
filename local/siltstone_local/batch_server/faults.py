"""What goes wrong on purpose. Set with ``POST /_faults``, shown with ``GET``, cleared with ``DELETE``."""

from __future__ import annotations

import threading
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

RowFate = Literal["answer", "drop", "repeat", "other_dimension", "nan", "zero", "garble", "refuse"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BatchFaults(_Model):
    """What becomes of one batch; fixed when it is created. Row faults take the first rows that are run."""

    fail_validation: bool = False  # errors.data names line 1
    token_limit_exceeded: bool = False  # the queue is full: nothing is wrong with the batch
    end_half_done: Literal["expired", "cancelled"] | None = None
    order: Literal["shuffled", "input", "reversed"] = "shuffled"
    drop_rows: int = Field(default=0, ge=0)  # counted as completed, and in no file
    repeat_rows: int = Field(default=0, ge=0)
    unknown_rows: int = Field(default=0, ge=0)  # answers to custom_ids that nobody sent
    other_dimension_rows: int = Field(default=0, ge=0)  # one component short
    nan_rows: int = Field(default=0, ge=0)
    zero_rows: int = Field(default=0, ge=0)
    garbled_rows: int = Field(default=0, ge=0)  # a line that is no JSON
    refused_rows: int = Field(default=0, ge=0)  # into the error file, with `refused_status`
    refused_status: int = Field(default=500, ge=400, le=599)

    def fate(self, index: int) -> RowFate:
        """What becomes of the ``index``-th row that is run: the faults take their rows one after the other."""
        fates: tuple[tuple[RowFate, int], ...] = (
            ("drop", self.drop_rows),
            ("repeat", self.repeat_rows),
            ("other_dimension", self.other_dimension_rows),
            ("nan", self.nan_rows),
            ("zero", self.zero_rows),
            ("garble", self.garbled_rows),
            ("refuse", self.refused_rows),
        )
        for fate, rows in fates:
            if index < rows:
                return fate
            index -= rows
        return "answer"


class ReplyFault(_Model):
    """What becomes of the next ``times`` requests to a path."""

    path: str  # "/v1/batches" is that path alone; "/v1/files/*" all below it
    method: str | None = None
    kind: Literal["429", "500", "503", "timeout", "lost"]
    """``timeout``: nothing is done, nothing is said for ``seconds``. ``lost``: it is done, and the connection dies."""
    times: int = Field(default=1, ge=1)
    seconds: float = Field(default=600.0, ge=0)

    def matches(self, method: str, path: str) -> bool:
        if self.method not in (None, method):
            return False
        return path.startswith(self.path[:-1]) if self.path.endswith("*") else path == self.path


class Faults(_Model):
    """All that is set. The default is a server in good health."""

    batch: BatchFaults = BatchFaults()
    batches: int | None = Field(default=None, ge=0)  # for the next n batches; None: until cleared
    replies: tuple[ReplyFault, ...] = ()
    list_lag_seconds: float = Field(default=0.0, ge=0)  # a new batch is not listed before this age


class FaultBoard:
    """The faults in force, counted down as they are used. They are not kept over a restart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults = Faults()

    def show(self) -> Faults:
        return self._faults

    def set(self, faults: Faults) -> None:
        with self._lock:
            self._faults = faults

    def take_batch(self) -> BatchFaults:
        """The faults of a batch that is being created."""
        with self._lock:
            faults = self._faults
            if faults.batches == 0:
                return BatchFaults()
            if faults.batches is not None:
                self._faults = faults.model_copy(update={"batches": faults.batches - 1})
            return faults.batch

    def take_reply(self, method: str, path: str) -> ReplyFault | None:
        """The fault of a request that has just arrived."""
        with self._lock:
            replies = list(self._faults.replies)
            for index, fault in enumerate(replies):
                if fault.matches(method, path):
                    left = fault.times - 1
                    replies[index : index + 1] = [fault.model_copy(update={"times": left})] if left else []
                    self._faults = self._faults.model_copy(update={"replies": tuple(replies)})
                    return fault
        return None
