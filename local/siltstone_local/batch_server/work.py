"""The process that moves batches on, one small step each in turn, so that none waits for another and memory is bounded.

A step reads the batch, does a little, and writes back how far it got. Result files grow by appending, and are first cut
to the size that was last written back: a step that died half-way leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from siltstone.stores.provider_memory import never_ran

from siltstone_local.batch_server.rows import Ran, dump_row, run_rows
from siltstone_local.batch_server.state import State, StoredBatch
from siltstone_local.batch_server.validation import validate

_CHUNK_INPUTS = 256  # passed by one row at most, of 2,048 inputs: 25 MB of vectors
_IDLE_SECONDS = 0.05

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How long a batch stays in each status at least, in seconds."""

    validating: float
    in_progress: float
    finalizing: float

    @staticmethod
    def of(speed: float) -> Pace:
        """Speed 1 is a quick day at OpenAI: half a minute, two minutes, half a minute."""
        return Pace(30.0 / speed, 120.0 / speed, 30.0 / speed)


class Worker:
    """Moves the batches of one state folder. ``seed``: of the order in which a batch's rows are run."""

    def __init__(self, state: State, pace: Pace, seed: int) -> None:
        self._state = state
        self._pace = pace
        self._seed = seed
        self._orders: dict[str, NDArray[np.int64]] = {}  # offsets of the running batches' rows, in running order

    def turn(self) -> bool:
        """One step of every batch; whether any had something to do."""
        running = self._state.running_batches()
        self._orders = {batch_id: order for batch_id, order in self._orders.items() if batch_id in running}
        worked = [self._safely(batch_id) for batch_id in running]
        return any(worked)

    def _safely(self, batch_id: str) -> bool:
        try:
            return self._step(batch_id)
        except Exception:
            # A defect of this server must show as a failed batch, not as one that is in progress for ever.
            _log.exception("batch %s", batch_id)
            self._fail(batch_id, [{"code": "server_error", "line": None, "message": "See the log.", "param": None}])
            return True

    def _step(self, batch_id: str) -> bool:
        batch = self._state.batch(batch_id)
        if batch is None:
            return False
        age = time.time() - batch.progress.since
        if batch.status == "validating":
            return age >= self._pace.validating and self._validate(batch)
        if batch.status == "in_progress":
            return self._progress(batch, age)
        ends = "completed" if batch.status == "finalizing" else "cancelled"
        return age >= self._pace.finalizing and self._finish(batch, ends)

    def _progress(self, batch: StoredBatch, age: float) -> bool:
        rows, half = batch.body["request_counts"]["total"], batch.faults.end_half_done
        last = rows // 2 if half else rows
        if batch.progress.rows < last:
            return self._run(batch, last)
        if age < self._pace.in_progress:
            return False
        return self._finish(batch, half) if half else self._move(batch.id, "finalizing")

    def _validate(self, batch: StoredBatch) -> bool:
        if batch.faults.token_limit_exceeded:
            message = (
                f"Enqueued token limit reached for {batch.body['model'] or 'this model'} (provoked). "
                "Please try again once some in_progress batches have been completed."
            )
            error = {"code": "token_limit_exceeded", "line": None, "message": message, "param": None}
            return self._fail(batch.id, [error])
        if batch.faults.fail_validation:
            error = {"code": "invalid_json_line", "line": 1, "message": "Not parseable (provoked).", "param": None}
            return self._fail(batch.id, [error])
        path = self._state.content(batch.body["input_file_id"])
        if not path.exists():
            message = "The input file was deleted before it was validated."
            return self._fail(batch.id, [{"code": "file_not_found", "line": None, "message": message, "param": None}])
        found = validate(path, batch.body["endpoint"])
        if found.errors:
            return self._fail(batch.id, found.errors)
        # Its own link: deleting the input file must not stop a batch that is running.
        self._input(batch.id).unlink(missing_ok=True)
        os.link(path, self._input(batch.id))
        self._orders[batch.id] = self._ordered(batch, found.offsets)

        def change(current: StoredBatch) -> None:
            current.body["request_counts"]["total"] = len(found.offsets)
            current.body["model"] = found.model
            if current.status == "validating":
                current.move("in_progress")

        self._state.update_batch(batch.id, change)
        return True

    def _ordered(self, batch: StoredBatch, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        if batch.faults.order == "shuffled":
            return offsets[np.random.default_rng(self._seed).permutation(len(offsets))]
        return offsets[::-1] if batch.faults.order == "reversed" else offsets

    def _order(self, batch: StoredBatch) -> NDArray[np.int64]:
        if batch.id not in self._orders:  # the server was started again
            offsets = validate(self._input(batch.id), batch.body["endpoint"]).offsets
            self._orders[batch.id] = self._ordered(batch, offsets)
        return self._orders[batch.id]

    def _run(self, batch: StoredBatch, last: int) -> bool:
        """Run a chunk of rows, up to row ``last`` of the running order."""
        rows: list[dict[str, Any]] = []
        inputs, first = 0, batch.progress.rows
        with self._input(batch.id).open("rb") as file:
            for offset in self._order(batch)[first:last]:
                file.seek(int(offset))
                rows.append(json.loads(file.readline()))
                value = rows[-1]["body"].get("input")
                inputs += len(value) if isinstance(value, list) else 1
                if inputs >= _CHUNK_INPUTS:
                    break
        ran = run_rows(rows, first, batch.faults)
        output_bytes = _append(self._result(batch.id, "output"), batch.progress.output_bytes, ran.output)
        error_bytes = _append(self._result(batch.id, "error"), batch.progress.error_bytes, ran.errors)

        def change(current: StoredBatch) -> None:
            current.progress.rows += len(rows)
            current.progress.output_bytes = output_bytes
            current.progress.error_bytes = error_bytes
            _count(current.body, ran)

        self._state.update_batch(batch.id, change)
        return True

    def _finish(self, batch: StoredBatch, status: Literal["completed", "expired", "cancelled"]) -> bool:
        """End the batch: what did not run goes to the error file, then both files are published."""
        left = self._order(batch)[batch.progress.rows :] if status != "completed" and batch.body["model"] else ()
        why: Literal["batch_expired", "batch_cancelled"] = "batch_expired" if status == "expired" else "batch_cancelled"
        lines: list[bytes] = []
        if len(left):
            with self._input(batch.id).open("rb") as file:
                for offset in left:
                    file.seek(int(offset))
                    lines.append(dump_row(never_ran(uuid.uuid4().hex, json.loads(file.readline())["custom_id"], why)))
        _append(self._result(batch.id, "output"), batch.progress.output_bytes, [])
        _append(self._result(batch.id, "error"), batch.progress.error_bytes, lines)
        files = {kind: self._publish(batch.id, kind) for kind in ("output", "error")}

        def change(current: StoredBatch) -> None:
            current.body |= {f"{kind}_file_id": file_id for kind, file_id in files.items()}
            current.body["request_counts"]["failed"] += len(left)
            current.move(status)

        self._state.update_batch(batch.id, change)
        for path in (self._input(batch.id), self._result(batch.id, "output"), self._result(batch.id, "error")):
            path.unlink(missing_ok=True)
        return True

    def _publish(self, batch_id: str, kind: str) -> str | None:
        """The new file's id, or ``None`` for an empty one. Linked, not moved: a crash before the end starts again."""
        path = self._result(batch_id, kind)
        if path.stat().st_size == 0:
            return None
        link = path.with_suffix(".link")
        link.unlink(missing_ok=True)
        os.link(path, link)
        return self._state.add_file(link, filename=f"{batch_id}_{kind}.jsonl", purpose="batch_output")["id"]

    def _move(self, batch_id: str, status: str) -> bool:
        # A cancellation that came in between stands.
        self._state.update_batch(batch_id, lambda batch: None if batch.status == "cancelling" else batch.move(status))
        return True

    def _fail(self, batch_id: str, errors: list[dict[str, Any]]) -> bool:
        def change(batch: StoredBatch) -> None:
            batch.body["errors"] = {"object": "list", "data": errors}
            batch.move("failed")

        self._state.update_batch(batch_id, change)
        return True

    def _input(self, batch_id: str) -> Path:
        return self._state.folder / "work" / f"{batch_id}.input"

    def _result(self, batch_id: str, kind: str) -> Path:
        return self._state.folder / "work" / f"{batch_id}.{kind}"


def _append(path: Path, size: int, lines: list[bytes]) -> int:
    """Cut the file to ``size`` bytes, append ``lines``, return the new size."""
    with path.open("ab") as file:
        file.truncate(size)
        file.writelines(lines)
        file.flush()
        return path.stat().st_size


def _count(body: dict[str, Any], ran: Ran) -> None:
    body["request_counts"]["completed"] += ran.completed
    body["request_counts"]["failed"] += ran.failed
    for name in ("input_tokens", "total_tokens"):
        body["usage"][name] += ran.tokens


def work_forever(folder: Path, pace: Pace, seed: int, parent: int) -> None:
    """The worker process's whole life: it ends with its parent, however that ended."""
    logging.basicConfig(level=logging.INFO)
    os.nice(5)  # answering comes before working
    worker = Worker(State(folder), pace, seed)
    with (folder / "worker.lock").open("w") as lock:
        # The worker of a server that was just killed may still be in its last step: two would both count the same rows.
        fcntl.flock(lock, fcntl.LOCK_EX)
        while os.getppid() == parent:
            if not worker.turn():
                time.sleep(_IDLE_SECONDS)
