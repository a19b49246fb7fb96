"""What makes a replay exact and a step quick: names from a seed, pools that run in line, a disk that crashes leave.

Nothing here changes what the code under test does; it changes where chance comes from.
"""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any
from unittest import mock

import siltstone.compaction.download
import siltstone.compaction.parts
import siltstone.compaction.rebuild
import siltstone.compaction.upload
import siltstone.deltas.ids
import siltstone.deltas.reading
import siltstone.deltas.writer
import siltstone.parallel
import siltstone.query.pending
import ulid
from siltstone.clock import Clock
from siltstone.deltas.codec import read_header
from siltstone.deltas.ids import GrowingIds

from tests.faults.simulation.stepping import Stepper

REBUILD_ROWS = 3


class InLine:
    """A pool whose tasks run where they are asked for, in an order that the seed gives."""

    shuffled: Callable[[list[int]], None]

    def __init__(self, max_workers: int | None = None) -> None:
        del max_workers

    def __enter__(self) -> InLine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        del wait, cancel_futures

    def submit(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def map(self, work: Callable[..., Any], *columns: Iterable[Any]) -> Iterator[Any]:
        tasks = list(zip(*columns, strict=False))
        order = list(range(len(tasks)))
        type(self).shuffled(order)
        futures: dict[int, Future[Any]] = {place: self.submit(work, *tasks[place]) for place in order}
        return (futures[place].result() for place in range(len(tasks)))


@contextmanager
def simulated(stepper: Stepper, seed: object) -> Iterator[None]:
    """Run one world under these conditions. One at a time in a process."""

    def shuffle(order: list[int]) -> None:
        process = stepper.current
        if len(order) > 1 and process is not None:
            random.Random(f"{seed} {process.name} {process.calls}").shuffle(order)

    pool = type("Pool", (InLine,), {"shuffled": staticmethod(shuffle)})
    numbers = count()
    real_rmtree = shutil.rmtree

    def rmtree(path: Any, *args: Any, **named: Any) -> None:
        if stepper.current is None or not stepper.current.dead:  # who is dead removes nothing
            real_rmtree(path, *args, **named)

    class OfProducer:
        def next(self, clock: Clock) -> str:
            assert stepper.current is not None
            ids: GrowingIds = stepper.current.actor.ids
            return ids.next(clock)

    names = ulid.ULIDGenerator(
        clock=lambda: 1_700_000_000_000,
        randomness=lambda _: random.Random(f"{seed} {next(numbers)}").randbytes(10),
        policy=ulid.LaxMonotonicPolicy(),
    )

    def urandom(size: int) -> bytes:
        process = stepper.current
        assert process is not None
        return random.Random(f"{seed} {process.name} {process.calls}").randbytes(size)

    with ExitStack() as stack:
        for module in (
            siltstone.parallel,
            siltstone.compaction.parts,
            siltstone.compaction.download,
            siltstone.query.pending,
        ):
            stack.enter_context(mock.patch.object(module, "ThreadPoolExecutor", pool))
        patches: list[tuple[Any, str, Any]] = [
            (ulid, "default_generator", names),
            (siltstone.deltas.ids, "os", SimpleNamespace(urandom=urandom)),
            (siltstone.deltas.writer, "delta_ids", OfProducer()),
            (siltstone.compaction.rebuild, "MAX_BATCH", REBUILD_ROWS),
            (siltstone.compaction.upload, "installed", lambda _: "simulated"),
            (shutil, "rmtree", rmtree),
        ]
        if hasattr(siltstone.deltas.reading, "vetting"):  # a process for every read, and the same verdict
            patches.append((siltstone.deltas.reading, "vetting", SimpleNamespace(header=read_header)))
        for target, name, value in patches:
            stack.enter_context(mock.patch.object(target, name, value))
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
