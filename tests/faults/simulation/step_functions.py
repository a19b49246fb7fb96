"""Executions of the compaction machine: each state is a process, tried again, given up, stopped by hand.

A state whose attempt is given up goes on without it, and the function runs on: nobody tells it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from siltstone.clock import ManualClock
from siltstone.compaction import messages
from siltstone.settings import CollectionBook
from siltstone.stores import Stores

from tests.faults.events import Doer, Ended
from tests.faults.simulation.actors import Actor, Timer, open_poisonable, turn_steps
from tests.faults.simulation.machine import FUNCTIONS, CollectionRun, Execution
from tests.faults.simulation.processes import Processes
from tests.faults.simulation.stepping import Call, Crash, Process

FUNCTION_SECONDS = 900.0  # Lambda's own limit: what still runs is ended
EXECUTION_SECONDS = 6 * 3_600.0
EXECUTIONS = 4  # at once: the schedule starts another, and this keeps the world small


class StepFunctions:
    """Everything that runs executions and calls functions."""

    def __init__(
        self, seed: object, clock: ManualClock, processes: Processes, stores: Stores, folder: Path, done: Counter[str]
    ) -> None:
        self.seed = seed
        self.clock = clock
        self.processes = processes
        self.stores = stores  # what its functions work with
        self.folder = folder
        self.done = done
        self.executions: dict[str, Execution] = {}
        self.attempts: dict[str, Process] = {}  # by run or execution: the attempt that its state waits for
        self._environments: dict[str, list[Path]] = {}
        self._starting: list[tuple[str, dict[str, Any], float]] = []
        self._numbers: Counter[str] = Counter()

    def deploy(self, settings: CollectionBook) -> None:
        """From now on functions start with these settings."""
        self.stores = replace(self.stores, settings=settings)

    def ask(self, name: str, request: Mapping[str, Any], skew: float = 0.0) -> None:
        """An execution is to start, with functions whose clocks are off by ``skew`` seconds."""
        self._starting.append((name, dict(request), skew))

    def start(self, name: str, request: Any) -> str:
        """What Step Functions does when a process asks it to start an execution."""
        call = Call("machine", "start", name, write=True)
        self.processes.gate.call(call, lambda: self.ask(name, request))
        return name

    def start_those_asked_for(self) -> None:
        while self._starting:
            asked, request, skew = self._starting.pop(0)
            if len(self.executions) >= EXECUTIONS:
                continue
            times = self._next(asked)
            name = asked if times == 1 else f"{asked}-{times}"  # asked twice, by a request that was sent twice
            self.executions[name] = Execution(name, messages.ListCollectionsInput(**request), self.clock.now(), skew)
            self._invoke(name)

    def give_up(self, name: str, error: str) -> bool:
        """Nothing is heard of the state's attempt any more; its function runs on."""
        process = self.attempts.pop(name, None)
        if process is None:
            return False
        process.notes["forgotten"] = True
        self.done[f"attempts given up: {error}"] += 1
        self._attempt_ended(name, error, "")
        return True

    def stop(self, name: str) -> bool:
        """Somebody stops an execution by hand: no state of it runs any more, functions that run run on."""
        execution = self.executions.pop(name, None)
        if execution is None:
            return False
        for each in (execution.name, *(run.name for run in execution.runs)):
            process = self.attempts.pop(each, None)
            if process is not None:
                process.notes["forgotten"] = True
        self.done["executions stopped by hand"] += 1
        return True

    def time_passed(self) -> None:
        """Give up what took too long."""
        for execution in list(self.executions.values()):
            if self.clock.now() - execution.started > EXECUTION_SECONDS:
                self.stop(execution.name)
        for run, limit in self._limits():
            if limit < self.clock.now():
                self.give_up(run.name, "States.Timeout")

    def _next(self, what: str) -> int:
        self._numbers[what] += 1
        return self._numbers[what]

    def _invoke(self, name: str) -> None:
        """Call the function of the state that an execution or a run is in."""
        execution = self.executions[name.partition(".")[0]]
        run = next((run for run in execution.runs if run.name == name), None)
        state, request = ("ListCollections", execution.request) if run is None else (run.state, run.payload())
        attempt = self._next(f"{name}/{state}")
        if any(process.notes.get("state_of") == (name, state) for process in self.processes.values()):
            self.done["states tried again while they run elsewhere"] += 1
        function = _Function(state, self.clock)
        function.clock.skew = execution.skew
        if function.clock.skew:
            self.done["functions with a clock that is off"] += 1
        lease = run.run if run is not None else None
        doer = Doer(
            state,
            run.collection if run else None,
            lease.run_id if lease else None,
            lease.version if lease else None,
            lease.token if lease else None,
        )
        stores = self.stores
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
            if process.notes.get("forgotten"):
                return
            del self.attempts[name]
            error = process.notes.get("error")
            if error is None and process.error is not None:
                error = "Runtime.ExitError" if isinstance(process.error, Crash) else type(process.error).__name__
            self._attempt_ended(name, error, str(process.error), process.result)

        process = self.processes.prepare(
            f"{name}/{state}#{attempt}",
            function,
            lambda: FUNCTIONS[state](request, stores, function.clock, **more),
            doer,
            then=then,
            seconds=FUNCTION_SECONDS,
            state_of=(name, state),
        )
        self.attempts[name] = process
        self.processes.run(process)

    def _attempt_ended(self, name: str, error: str | None, cause: str, output: Any = None) -> None:
        execution = self.executions.get(name.partition(".")[0])
        if execution is None:
            return
        run = next((run for run in execution.runs if run.name == name), None)
        if run is None:
            self._listing_ended(execution, error, output)
        else:
            self._state_ended(run, error, cause, output)
        if execution.over or (execution.listed is not None and all(each.outcome for each in execution.runs)):
            self._execution_ended(execution)

    def _listing_ended(self, execution: Execution, error: str | None, output: Any) -> None:
        if error is None:
            execution.list_succeeded(output)
            for each in execution.runs:
                self._invoke(each.name)
        else:
            execution.list_failed(error)
            if not execution.over:
                self._invoke(execution.name)

    def _state_ended(self, run: CollectionRun, error: str | None, cause: str, output: Any) -> None:
        if error is None:
            run.succeeded(output)
        else:
            before = run.variables.get("failure")
            run.failed(error, cause)
            failure = run.variables.get("failure")
            if failure is not None and failure is not before:
                self.processes.errors[f"run failed in {failure.state}: {failure.error}"] += 1
                self._tell_end(run, over=False)
        if run.outcome is None:
            self._invoke(run.name)
        else:
            self.done[f"runs: {run.outcome['end']}"] += 1
            self._tell_end(run, over=True)

    def _tell_end(self, run: CollectionRun, *, over: bool) -> None:
        failure, lease = run.variables.get("failure"), run.run
        state, error = (failure.state, failure.error) if failure else (None, None)
        self.processes.tell(Ended(run.collection, lease.version if lease else None, state, error, over))

    def _execution_ended(self, execution: Execution) -> None:
        if self.executions.pop(execution.name, None) is None:
            return
        request = execution.next_request() if execution.listed is not None else None
        if request is not None:
            self.processes.start(
                f"{execution.name}/StartNext",
                Actor("machine", self.clock),
                lambda: self.start(f"{execution.name}+", request),
                Doer("Start"),
                seconds=90.0,
            )

    def _limits(self) -> list[tuple[CollectionRun, float]]:
        """Runs with the true time at which their state's attempt is given up."""
        return [
            (run, process.started + run.time_limit())
            for execution in self.executions.values()
            for run in execution.runs
            if (process := self.attempts.get(run.name)) is not None
        ]


@dataclass(frozen=True)
class Machine:
    """`siltstone.stores.machines.Machine`, as the starter has it: what it starts is called after it."""

    step_functions: StepFunctions
    name: str

    def start(self, request: Mapping[str, Any]) -> str:
        return self.step_functions.start(self.name, request)


class _Function(Actor):
    """A function's environment."""
