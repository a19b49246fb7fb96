"""A small world: two collections, their stores, and everybody who works on them, moved one store call at a time.

What happens is a list of *actions*, tuples of plain values. `World.apply` takes one and says whether it made sense;
then the invariants are asked about all that happened. Who chooses the actions (a seed, Hypothesis, a recorded list) is
no matter of the world: the same actions in the same order are the same history, to the last key.

One **step** is one store call that was decided: done, refused, lost, or ended with its process.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.compaction.retention import pin, unpin
from siltstone.compaction.rollback import rollback
from siltstone.compaction.start_compaction import start_compaction
from siltstone.errors import UnknownBatch
from siltstone.settings import CollectionSettings, DueSettings, HnswSettings, RetentionSettings, RunLimits
from siltstone.stores import Stores
from siltstone.stores.ledger import Attempt, BatchItem, Counts
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.sources_memory import MemorySources

from tests.faults.events import Acknowledged, Answered, Doer, Pinned
from tests.faults.facts import token_of
from tests.faults.history import History
from tests.faults.invariants import check
from tests.faults.simulation.actors import Actor, Delta, Reader, book, content_of
from tests.faults.simulation.gate import Gate, StoreClock
from tests.faults.simulation.patches import simulated
from tests.faults.simulation.processes import Processes
from tests.faults.simulation.step_functions import Machine, StepFunctions
from tests.faults.simulation.stepping import Call, Crash, Fault, Process, Stepper
from tests.faults.simulation.unkind import UnkindHints, UnkindLeases, UnkindLedger, UnkindObjects
from tests.faults.simulation.watched import WatchedLeases, WatchedObjects
from tests.faults.violation import Violation

Action = tuple[Any, ...]

COLLECTIONS = ("line", "lines")  # one name begins with the other
PRODUCERS = 3
READERS = 3
STAGING_SECONDS = 2 * 86_400


def settings_of(seed: object) -> CollectionSettings:
    """What the collections of a seed's world are made of, how much a run takes, and how soon versions go."""
    chance = random.Random(f"settings {seed}")
    keep, grace = chance.choice([(1_800, 1_300), (300, 300), (0, 0)])
    return CollectionSettings(
        dimension=2,
        space="l2",
        due=DueSettings(max_age_seconds=120, min_deltas=3),
        retention=RetentionSettings(keep_seconds=keep, keep_at_least=chance.choice([1, 1, 3]), grace_seconds=grace),
        limits=RunLimits(max_rows=chance.choice([4, 12]), part_rows=chance.choice([1, 2, 5])),  # merges have turns
    )


class World:
    """See above. Use it as a context, or call `close`."""

    def __init__(self, seed: object = 0) -> None:
        self.seed = seed
        self.settings = settings_of(seed)
        self.stepper = Stepper()
        self._stack = ExitStack()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="siltstone-faults-", dir=memory if memory.is_dir() else None))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._stack.enter_context(simulated(self.stepper, seed))
        self._stack.callback(self.stepper.close)
        self.clock = ManualClock()
        store_clock = StoreClock(self.clock)
        self.done: Counter[str] = Counter()  # actions and faults, for the report
        self.gate = Gate(self.stepper, self.clock, store_clock, self.done)
        self.processes = Processes(self.gate)
        tell, doer = self.processes.tell, self.processes.doer
        self.deltas = WatchedObjects("deltas", self.clock, store_clock, tell, doer)
        self.snapshots = WatchedObjects("snapshots", self.clock, store_clock, tell, doer)
        self.leases, self.ledger = WatchedLeases(tell), MemoryLedger()
        self.hints: list[dict[str, object]] = []
        self.stores = Stores(
            deltas=UnkindObjects("deltas", self.deltas, self.gate),
            snapshots=UnkindObjects("snapshots", self.snapshots, self.gate),
            leases=UnkindLeases(self.leases, self.gate),  # type: ignore[arg-type]
            ledger=UnkindLedger(self.ledger, self.gate),  # type: ignore[arg-type]
            sources=MemorySources(),
            hints=UnkindHints(self.hints, self.gate),
            settings=book(COLLECTIONS, self.settings),
        )
        self.machine = StepFunctions(seed, self.clock, self.processes, self.stores, self.folder, self.done)
        self.processes.afterwards = self.machine.start_those_asked_for
        self.history = History(self.deltas, self.snapshots, self.processes.intended)
        self.producers = [Actor(f"producer-{number}", self.clock) for number in range(PRODUCERS)]
        self.operator = Actor("operator", self.clock)
        self._busy: dict[str, Process] = {}  # by who does one thing at a time
        self._keys: dict[int, str] = {}  # of deltas, by the number of the action that wrote them
        self.readers = [
            Reader(f"reader-{number}", self.clock, self.stores, self.folder / f"reader-{number}")
            for number in range(READERS)
        ]
        for number in range(6):
            self._batch(f"batch-{number}")

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, remove all files."""
        self._stack.close()

    @property
    def steps(self) -> int:
        return self.stepper.steps

    # What may be done -----------------------------------------------------------------------------------------------

    def apply(self, action: Action) -> bool:
        """Do it, and ask the invariants. ``False``: it makes no sense here, and nothing was done."""
        kind, *arguments = action
        done: bool = getattr(self, f"_do_{kind}")(*arguments)
        if done and kind != "step":
            self.done[kind] += 1
        self.check()
        return done

    def check(self) -> None:
        """Ask the invariants about what happened since the last time."""
        if self.processes.events:
            events = self.processes.events.copy()
            self.processes.events.clear()
            check(self.history, events, self._ledger_item, self.settings.retention)

    def _do_step(self, name: str, fault: Fault) -> bool:
        """Decide a process's store call."""
        process = self.processes.get(name)
        if process is None or process.call is None or not _possible(process.call, fault):
            return False
        if process.deadline is not None and self.clock.now() > process.deadline:
            self.done["functions ended by the platform"] += 1
            self.stepper.kill(process)
            process.notes["error"] = "Sandbox.Timedout"
        else:
            if fault != "ok":
                self.done[f"fault: {fault}"] += 1
            self.clock.advance(0.01)
            self.stepper.resume(process, fault)
        self.processes.settle(process)
        return True

    def _do_land(self, name: str) -> bool:
        """A write of a process arrives, though it had given it up."""
        flying = next((each for each in self.gate.in_flight if each.process.name == name), None)
        if flying is None:
            return False
        self.gate.land(flying)
        self.machine.start_those_asked_for()
        return True

    def _do_advance(self, seconds: float) -> bool:
        """Time passes."""
        self.clock.advance(seconds)
        self.gate.expire()
        self.machine.time_passed()
        return True

    def _do_skew(self, who: str, number: int, seconds: float) -> bool:
        """An actor's clock is off from now on; 0 mends it."""
        actors: dict[str, list[Any]] = {"producer": self.producers, "reader": self.readers, "operator": [self.operator]}
        actors[who][number].clock.skew = seconds
        return True

    def _do_produce(
        self,
        number: int,
        producer: int,
        collection: str,
        ids: str,
        kind: str,
        derived: str | None,
        same: bool,
        tries: int,
    ) -> bool:
        """A producer writes a delta."""
        actor = self.producers[producer]
        delta = Delta(number, collection, ids, kind, derived, same)  # type: ignore[arg-type]
        settings = self.stores.settings.resolve(collection)

        def then(process: Process) -> None:
            if process.result is not None:
                for part in process.result.parts:
                    self.processes.tell(Acknowledged(part.key, part.etag))

        def intend(key: str) -> tuple[str, Any, str | None]:
            self._keys[number] = key
            return delta.kind, delta.operations(key.split("/")[-2], settings), delta.batch_id

        self.processes.start(
            f"{actor.name}#{number}",
            actor,
            lambda: delta.write(self.stores, actor, tries),
            Doer("Produce", collection),
            then=then,
            intend=intend,
        )
        return True

    def _do_again(self, number: int, delta: int) -> bool:
        """A producer's late retry: the bytes of a delta are put again, create-only, long after."""
        key = self._keys.get(delta)
        if key is None:
            return False
        body = self.deltas.first_body(key)
        self.processes.start(
            f"late-retry#{number}",
            self.producers[0],
            lambda: self.stores.deltas.put(key, body, create_only=True),
            Doer("Produce", key.split("/")[1]),
        )
        return True

    def _do_compact(self, number: int, collections: list[str] | None, force: bool, skew: float) -> bool:
        """The schedule, or a person, starts an execution, whose functions' clocks are off by ``skew`` seconds."""
        request = {"operation": "compact", "collections": collections, "force": force}
        self.machine.ask(f"execution-{number}", request, skew)
        self.machine.start_those_asked_for()
        return True

    def _do_deliver(self, number: int, count: int, again: bool) -> bool:
        """The queue hands messages to the starter; ``again``: it will hand them over once more."""
        gathered = self.hints[:count]
        if not gathered:
            return False
        if not again:
            del self.hints[:count]
        bodies = {str(place): json.dumps(hint) for place, hint in enumerate(gathered)}

        def then(process: Process) -> None:
            if process.error is not None and not again:
                self.hints.extend(gathered)

        machine = Machine(self.machine, f"execution-{number}")
        self.processes.start(
            f"starter#{number}",
            Actor("starter", self.clock),
            lambda: start_compaction(bodies, machine),
            Doer("Start"),
            then=then,
            seconds=60.0,
        )
        self.done["messages delivered twice"] += len(gathered) if again else 0
        return True

    def _do_lose(self, count: int) -> bool:
        """Messages are lost."""
        lost = bool(self.hints)
        del self.hints[:count]
        return lost

    def _do_give_up(self, name: str, error: str) -> bool:
        """Step Functions hears nothing of a state's attempt any more."""
        return self.machine.give_up(name, error)

    def _do_stop(self, name: str) -> bool:
        """Somebody stops an execution by hand."""
        return self.machine.stop(name)

    def _do_read(self, number: int, reader: int, collection: str, strong: bool) -> bool:
        """A reader is asked for everything."""
        actor = self.readers[reader]
        if actor.process_name in self._busy:
            return False  # it answers one question at a time
        asked = self.history.ask(collection)

        def then(process: Process) -> None:
            del self._busy[actor.process_name]
            if isinstance(process.error, Crash):
                return
            output = process.result
            self.done["strong reads" if strong else "snapshot reads"] += process.error is None
            if output is not None and output.stale:
                self.done["answers from an older version, saying so"] += 1
            self.processes.tell(
                Answered(
                    reader=actor.process_name,
                    collection=collection,
                    strong=strong,
                    asked=asked,
                    version=output.version if output else None,
                    content=content_of(output) if output else None,
                    error=type(process.error).__name__ if process.error else None,
                )
            )

        process = self.processes.prepare(
            f"{actor.name}#{number}",
            actor,
            lambda: actor.ask(collection, strong=strong),
            Doer("Read", collection),
            then=then,
        )
        self._busy[actor.process_name] = process
        self.processes.run(process)
        return True

    def _do_restart(self, reader: int) -> bool:
        """A reader's process ends, and another starts with nothing."""
        actor = self.readers[reader]
        process = self._busy.get(actor.process_name)
        if process is not None:
            self.stepper.kill(process)
            self.processes.settle(process)
        actor.restart()
        return True

    def _do_rollback(self, number: int, collection: str, back: int, name: str) -> bool:
        """The operator goes back some versions. The same ``name`` again is the same attempt, after a crash."""
        versions = [each for each, facts in self.history.of(collection).versions.items() if not facts.removed]
        if len(versions) <= back or any(process.name.startswith(f"{name}#") for process in self.processes.values()):
            return False
        to = sorted(versions, key=token_of)[-1 - back]
        process = self._operate(
            f"{name}#{number}",
            lambda: rollback(collection, to, self.stores, self.operator.clock, execution=name),
            Doer("Rollback", collection),
        )
        self.processes.run(process)
        return True

    def _do_pin(self, number: int, collection: str, back: int, pinned: bool) -> bool:
        """The operator pins a version, or lets it go."""
        facts = self.history.of(collection)
        versions = [version for version, each in facts.versions.items() if not each.removed]
        if len(versions) <= back or "pin" in self._busy:
            return False
        version = sorted(versions, key=token_of)[-1 - back]
        if not pinned:
            self.processes.tell(Pinned(collection, version, pinned=False))

        def then(process: Process) -> None:
            del self._busy["pin"]
            if pinned and process.error is None:
                self.processes.tell(Pinned(collection, version, pinned=True))

        work = pin if pinned else unpin
        process = self._operate(
            f"pin#{number}",
            lambda: work(self.stores.snapshots, collection, version),
            Doer("Pin", collection),
            then,
        )
        self._busy["pin"] = process
        self.processes.run(process)
        return True

    def _do_deploy(self, wrong: bool) -> bool:
        """Somebody deploys settings that differ from what the collections are made of, or the right ones again.

        Before a collection has a version nothing says what is right, so it waits for those.
        """
        if any(self.history.of(collection).current is None for collection in COLLECTIONS):
            return False
        other = self.settings.model_copy(update={"model": "another", "hnsw": HnswSettings(max_neighbors=8)})
        self.machine.deploy(book(COLLECTIONS, other if wrong else self.settings))
        return True

    def _do_calm(self) -> bool:
        """From now on listings are whole, as they are where few write."""
        for bucket in (self.deltas, self.snapshots):
            bucket.answer_in_large_pages()
        return True

    def _do_expire(self) -> bool:
        """S3's lifecycle removes old scratch."""
        old = [
            found.key
            for found in list(self.snapshots.list(keys.STAGING))
            if self.clock.now() - found.last_modified > STAGING_SECONDS
        ]
        self.snapshots.delete_many(old)
        return bool(old)

    def _operate(
        self, name: str, work: Callable[[], Any], doer: Doer, then: Callable[[Process], None] = lambda _: None
    ) -> Process:
        return self.processes.prepare(name, self.operator, work, doer, then=then, seconds=20 * 3_600)

    def _batch(self, batch_id: str) -> None:
        counts = Counts(submitted=3, embedded=3)
        item = BatchItem(batch_id=batch_id, collection="lines", plan="", model="", records=3)
        item = item.model_copy(update={"status": "COMPLETE", "attempts": (Attempt(attempt=1, counts=counts),)})
        self.ledger.create(item, now=0.0)

    def _ledger_item(self, batch_id: str) -> BatchItem:
        try:
            return self.ledger.read(batch_id)
        except UnknownBatch:
            raise Violation(f"every_record_is_accounted_for: nobody knows {batch_id}") from None


def _possible(call: Call, fault: Fault) -> bool:
    """Whether this can happen to this call."""
    if call.begun is not None:
        return fault in ("ok", "lost", "crash before", "crash after")
    if fault == "late":
        # Who gives up an unconditional delete and does the contrary next can't be told from who wanted the delete.
        return call.write and (call.conditional or call.operation not in ("delete", "delete_many"))
    return fault != "conflict" or call.conditional
