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
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from siltstone import keys
from siltstone.clock import ManualClock
from siltstone.compaction import messages
from siltstone.compaction.retention import pin, unpin
from siltstone.compaction.rollback import rollback
from siltstone.compaction.start_compaction import start_compaction
from siltstone.errors import SiltstoneError, UnknownBatch
from siltstone.settings import CollectionSettings, DueSettings, HnswSettings, RetentionSettings, RunLimits
from siltstone.stores import Stores
from siltstone.stores.ledger import Attempt, BatchItem, Counts
from siltstone.stores.ledger_memory import MemoryLedger
from siltstone.stores.sources_memory import MemorySources

from tests.faults.history import Acknowledged, Answered, Doer, Ended, Event, History, Pinned, token_of
from tests.faults.invariants import Violation, check
from tests.faults.simulation.actors import (
    Actor,
    Delta,
    Reader,
    Timer,
    book,
    content_of,
    open_poisonable,
    turn_steps,
)
from tests.faults.simulation.machine import FUNCTIONS, CollectionRun, Execution
from tests.faults.simulation.patches import simulated
from tests.faults.simulation.stepping import Call, Crash, Fault, Process, Stepper
from tests.faults.simulation.unkind import Gate, StoreClock, UnkindHints, UnkindLeases, UnkindLedger, UnkindObjects
from tests.faults.simulation.watched import WatchedLeases, WatchedObjects

Action = tuple[Any, ...]

COLLECTIONS = ("line", "lines")  # one name begins with the other
PRODUCERS = 3
READERS = 3
FUNCTION_SECONDS = 900.0  # Lambda's own limit: what still runs is ended
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
        self.gate = Gate(self.stepper, self.clock, store_clock)
        self._events: list[Event] = []
        self.deltas = WatchedObjects("deltas", self.clock, store_clock, self._tell, self._doer)
        self.snapshots = WatchedObjects("snapshots", self.clock, store_clock, self._tell, self._doer)
        self.leases, self.ledger = WatchedLeases(self._tell), MemoryLedger()
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
        self._deployed = self.stores  # what the machine's functions work with
        self.history = History(self.deltas, self.snapshots)
        self.processes: dict[str, Process] = {}
        self.executions: dict[str, Execution] = {}
        self.attempts: dict[str, Process] = {}  # by run or execution: the attempt that its state waits for
        self.producers = [Actor(f"producer-{number}", self.clock) for number in range(PRODUCERS)]
        self.operator = Actor("operator", self.clock)
        self._environments: dict[str, list[Path]] = {}
        self._starting: list[tuple[str, dict[str, Any], float]] = []
        self._keys: dict[int, str] = {}  # of deltas, by the number of the action that wrote them
        self._numbers: Counter[str] = Counter()
        self.done: Counter[str] = Counter()  # actions and faults, for the report
        self.errors: Counter[str] = Counter()
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
        if self._events:
            events = self._events.copy()
            self._events.clear()
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
        self._settle(process)
        return True

    def _do_land(self, name: str) -> bool:
        """A write of a process arrives, though it had given it up."""
        flying = next((each for each in self.gate.in_flight if each.process.name == name), None)
        if flying is None:
            return False
        self.gate.land(flying)
        self._start_executions()
        return True

    def _do_advance(self, seconds: float) -> bool:
        """Time passes."""
        self.clock.advance(seconds)
        self.gate.expire()
        for execution in list(self.executions.values()):
            if self.clock.now() - execution.started > 6 * 3_600:  # no execution lives as long
                self._do_stop(execution.name)
        for run, limit in self._waiting_runs():
            if limit < self.clock.now():
                self._do_give_up(run.name, "States.Timeout")
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
                    self._tell(Acknowledged(part.key, part.etag))

        def intend(key: str) -> tuple[str, Any, str | None]:
            self._keys[number] = key
            return delta.kind, delta.operations(key.split("/")[-2], settings), delta.batch_id

        self._process(
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
        self._process(
            f"late-retry#{number}",
            self.producers[0],
            lambda: self.stores.deltas.put(key, body, create_only=True),
            Doer("Produce", key.split("/")[1]),
            expected=("PreconditionFailed",),
        )
        return True

    def _do_compact(self, number: int, collections: list[str] | None, force: bool, skew: float) -> bool:
        """The schedule, or a person, starts an execution, whose functions' clocks are off by ``skew`` seconds."""
        request = {"operation": "compact", "collections": collections, "force": force}
        self._starting.append((f"execution-{number}", request, skew))
        self._start_executions()
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

        machine = _Machine(self, f"execution-{number}")
        self._process(
            f"starter#{number}",
            Actor("starter", self.clock),
            lambda: start_compaction(bodies, machine),
            Doer("Start"),
            then=then,
            seconds=60.0,
        )
        return True

    def _do_lose(self, count: int) -> bool:
        """Messages are lost."""
        lost = bool(self.hints)
        del self.hints[:count]
        return lost

    def start(self, name: str, request: Any) -> str:
        """What Step Functions does when it is asked to start an execution."""
        call = Call("machine", "start", name, write=True)
        self.gate.call(call, lambda: self._starting.append((name, dict(request), 0.0)))
        return name

    def _do_give_up(self, name: str, error: str) -> bool:
        """Step Functions hears nothing of the state's attempt any more; its function runs on."""
        process = self.attempts.pop(name, None)
        if process is None:
            return False
        process.notes["zombie"] = True
        self.done[f"attempts given up: {error}"] += 1
        self._attempt_ended(name, error, "")
        return True

    def _do_stop(self, name: str) -> bool:
        """Somebody stops an execution by hand: no state of it runs any more, functions that run run on."""
        execution = self.executions.pop(name, None)
        if execution is None:
            return False
        for each in (execution.name, *(run.name for run in execution.runs)):
            process = self.attempts.pop(each, None)
            if process is not None:
                process.notes["zombie"] = True
        self.done["executions stopped by hand"] += 1
        return True

    def _do_read(self, number: int, reader: int, collection: str, strong: bool) -> bool:
        """A reader is asked for everything."""
        actor = self.readers[reader]
        if actor.process_name in self.attempts:
            return False  # it answers one question at a time
        asked = self.history.ask(collection)

        def then(process: Process) -> None:
            del self.attempts[actor.process_name]
            if isinstance(process.error, Crash):
                return
            output = process.result
            self.done["strong reads" if strong else "snapshot reads"] += process.error is None
            if output is not None and output.stale:
                self.done["answers from an older version, saying so"] += 1
            self._tell(
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

        process = self._process(
            f"{actor.name}#{number}",
            actor,
            lambda: actor.ask(collection, strong=strong),
            Doer("Read", collection),
            then=then,
            defer=True,
        )
        self.attempts[actor.process_name] = process
        self._run(process)
        return True

    def _do_restart(self, reader: int) -> bool:
        """A reader's process ends, and another starts with nothing."""
        actor = self.readers[reader]
        process = self.attempts.get(actor.process_name)
        if process is not None:
            self.stepper.kill(process)
            self._settle(process)
        actor.restart()
        return True

    def _do_rollback(self, number: int, collection: str, back: int, name: str) -> bool:
        """The operator goes back some versions. The same ``name`` again is the same attempt, after a crash."""
        versions = [each for each, facts in self.history.of(collection).versions.items() if not facts.removed]
        if len(versions) <= back or any(process.name.startswith(f"{name}#") for process in self.processes.values()):
            return False
        to = sorted(versions, key=token_of)[-1 - back]
        self._operate(
            f"{name}#{number}",
            lambda: rollback(collection, to, self.stores, self.operator.clock, execution=name),
            Doer("Rollback", collection),
        )
        return True

    def _do_pin(self, number: int, collection: str, back: int, pinned: bool) -> bool:
        """The operator pins a version, or lets it go."""
        facts = self.history.of(collection)
        versions = [version for version, each in facts.versions.items() if not each.removed]
        if len(versions) <= back or "pin" in self.attempts:
            return False
        version = sorted(versions, key=token_of)[-1 - back]
        if not pinned:
            self._tell(Pinned(collection, version, pinned=False))

        def then(process: Process) -> None:
            del self.attempts["pin"]
            if pinned and process.error is None:
                self._tell(Pinned(collection, version, pinned=True))

        work = pin if pinned else unpin
        process = self._operate(
            f"pin#{number}",
            lambda: work(self.stores.snapshots, collection, version),
            Doer("Pin", collection),
            then=then,
            defer=True,
        )
        self.attempts["pin"] = process
        self._run(process)
        return True

    def _do_deploy(self, wrong: bool) -> bool:
        """Somebody deploys settings that differ from what the collections are made of, or the right ones again.

        Before a collection has a version nothing says what is right, so it waits for those.
        """
        if any(self.history.of(collection).current is None for collection in COLLECTIONS):
            return False
        other = self.settings.model_copy(update={"model": "another", "hnsw": HnswSettings(max_neighbors=8)})
        self._deployed = replace(self.stores, settings=book(COLLECTIONS, other if wrong else self.settings))
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

    # Processes ------------------------------------------------------------------------------------------------------

    def runnable(self) -> list[Process]:
        """Processes that wait for a decision about a store call."""
        return [process for process in self.processes.values() if process.call is not None]

    def _process(
        self,
        name: str,
        actor: Any,
        work: Callable[[], Any],
        doer: Doer,
        *,
        then: Callable[[Process], None] = lambda _: None,
        seconds: float | None = None,
        defer: bool = False,
        expected: tuple[str, ...] = (),
        **notes: Any,
    ) -> Process:
        now = self.clock.now()
        process = Process(name, actor, work, now, None if seconds is None else now + seconds)
        process.notes |= {"doer": doer, "then": then, "expected": expected, **notes}
        self.processes[name] = process
        if not defer:
            self._run(process)
        return process

    def _operate(self, name: str, work: Callable[[], Any], doer: Doer, **more: Any) -> Process:
        expected = ("InvalidInput", "UnknownVersion", "LockBusy", "LockLost", "PointerMoved", "SnapshotDamaged")
        return self._process(name, self.operator, work, doer, seconds=20 * 3_600, expected=expected, **more)

    def _run(self, process: Process) -> None:
        self.stepper.start(process)
        self._settle(process)

    def _settle(self, process: Process) -> None:
        """If the process ended, say so to who waits for it."""
        if process.done:
            del self.processes[process.name]
            error = process.error
            if error is not None:
                self.errors[f"{process.notes['doer'].state}: {type(error).__name__}"] += 1
            if error is not None and not isinstance(error, SiltstoneError | Crash) and str(error) != "poison":
                raise Violation(f"{process.name} failed with {type(error).__name__}: {error}") from error
            process.notes["then"](process)
            self._start_executions()

    def _doer(self) -> Doer:
        acting = self.gate.acting
        return Doer("Lifecycle") if acting is None else acting.notes["doer"]

    def _tell(self, event: Event) -> None:
        acting = self.gate.acting
        if acting is not None and "intend" in acting.notes and getattr(event, "bucket", None) == "deltas":
            self.history.intended[event.etag] = acting.notes["intend"](event.key)  # type: ignore[union-attr]
        self._events.append(event)

    def _next(self, what: str) -> int:
        self._numbers[what] += 1
        return self._numbers[what]

    # The machine ----------------------------------------------------------------------------------------------------

    def _start_executions(self) -> None:
        while self._starting:
            asked, request, skew = self._starting.pop(0)
            if len(self.executions) >= 4:
                continue  # the schedule starts another; this keeps the world small
            times = self._next(asked)
            name = asked if times == 1 else f"{asked}-{times}"  # asked twice, by a request that was sent twice
            self.executions[name] = Execution(name, messages.ListCollectionsInput(**request), self.clock.now(), skew)
            self._invoke(name)

    def _invoke(self, name: str) -> None:
        """Call the function of the state that an execution or a run is in."""
        execution = self.executions[name.partition(".")[0]]
        run = next((run for run in execution.runs if run.name == name), None)
        state, request = ("ListCollections", execution.request) if run is None else (run.state, run.payload())
        attempt = self._next(f"{name}/{state}")
        function = _Function(state, self.clock)
        function.clock.skew = execution.skew
        lease = run.run if run is not None else None
        doer = Doer(
            state,
            run.collection if run else None,
            lease.run_id if lease else None,
            lease.version if lease else None,
            lease.token if lease else None,
        )
        stores = self._deployed
        more: dict[str, Any] = {}
        if state in ("Download", "Merge"):
            idle = self._environments.setdefault(state, [])
            more["workspace"] = idle.pop() if idle else self.folder / f"{state}-{self._next('environment')}"
        environment = more.get("workspace")
        if state == "Merge":
            more["seconds_left"] = Timer(turn_steps(f"{self.seed} {name} {attempt}"))
            more["open_store"] = open_poisonable

        def then(process: Process) -> None:
            if environment is not None:
                self._environments[state].append(environment)
            if process.notes.get("zombie"):
                return
            del self.attempts[name]
            error = process.notes.get("error")
            if error is None and process.error is not None:
                error = "Runtime.ExitError" if isinstance(process.error, Crash) else type(process.error).__name__
            self._attempt_ended(name, error, str(process.error), process.result)

        process = self._process(
            f"{name}/{state}#{attempt}",
            function,
            lambda: FUNCTIONS[state](request, stores, function.clock, **more),
            doer,
            then=then,
            seconds=FUNCTION_SECONDS,
            defer=True,
        )
        self.attempts[name] = process
        self._run(process)

    def _attempt_ended(self, name: str, error: str | None, cause: str, output: Any = None) -> None:
        execution = self.executions.get(name.partition(".")[0])
        if execution is None:
            return
        run = next((run for run in execution.runs if run.name == name), None)
        if run is None:
            if error is None:
                execution.list_succeeded(output)
                for each in execution.runs:
                    self._invoke(each.name)
            else:
                execution.list_failed(error)
        elif error is None:
            run.succeeded(output)
        else:
            before = run.variables.get("failure")
            run.failed(error, cause)
            failure = run.variables.get("failure")
            if failure is not None and failure is not before:
                self.errors[f"run failed in {failure.state}: {failure.error}"] += 1
                self._tell_end(run, over=False)
        if run is not None and run.outcome is not None:
            self._run_ended(run)
        elif (
            (run is not None and error is not None)
            or (run is None and error is not None and not execution.over)
            or run is not None
        ):
            self._invoke(name)
        if execution.over or (execution.listed is not None and all(each.outcome for each in execution.runs)):
            self._execution_ended(execution)

    def _run_ended(self, run: CollectionRun) -> None:
        assert run.outcome is not None
        self.done[f"runs: {run.outcome['end']}"] += 1
        self._tell_end(run, over=True)

    def _tell_end(self, run: CollectionRun, *, over: bool) -> None:
        failure, lease = run.variables.get("failure"), run.run
        state, error = (failure.state, failure.error) if failure else (None, None)
        self._tell(Ended(run.collection, lease.version if lease else None, state, error, over))

    def _execution_ended(self, execution: Execution) -> None:
        if self.executions.pop(execution.name, None) is None:
            return
        request = execution.next_request() if execution.listed is not None else None
        if request is not None:
            self._process(
                f"{execution.name}/StartNext",
                Actor("machine", self.clock),
                lambda: self.start(f"{execution.name}+", request),
                Doer("Start"),
                seconds=90.0,
            )

    def _waiting_runs(self) -> list[tuple[CollectionRun, float]]:
        """Runs with the true time at which their state's attempt is given up."""
        return [
            (run, process.started + run.time_limit())
            for execution in self.executions.values()
            for run in execution.runs
            if (process := self.attempts.get(run.name)) is not None
        ]

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


@dataclass(frozen=True)
class _Machine:
    """`siltstone.stores.machines.Machine`: executions that a starter starts are called after it."""

    world: World
    name: str

    def start(self, request: Mapping[str, Any]) -> str:
        return self.world.start(self.name, request)


class _Function(Actor):
    """A function's environment."""


def _possible(call: Call, fault: Fault) -> bool:
    """Whether this can happen to this call."""
    if call.begun is not None:
        return fault in ("ok", "lost", "crash before", "crash after")
    if fault == "late":
        # Who gives up an unconditional delete and does the contrary next can't be told from who wanted the delete.
        return call.write and (call.conditional or call.operation not in ("delete", "delete_many"))
    return fault != "conflict" or call.conditional
