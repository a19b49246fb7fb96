"""What an execution did so far, as a person would follow it.

The emulator's history leaves out the states inside a Map, where most of the work is, and never names a function. So
the functions' logs are read as well: a finished call tells which state ran and for how long, and a failed call's
request id tells which state failed.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any, Literal

from siltstone_local.deployment import Deployment, Function
from siltstone_local.logs import LogLine, log_lines

_REQUEST = re.compile(r"^(START|REPORT) RequestId: (\S+)(?:.*Duration: (\d+) ms\tBilled)?")
_ENDS = {
    "ExecutionSucceeded": "SUCCEEDED",
    "ExecutionFailed": "FAILED",
    "ExecutionAborted": "ABORTED",
    "ExecutionTimedOut": "TIMED_OUT",
}


@dataclass(frozen=True)
class Step:
    """One thing that happened. ``at``: epoch seconds.

    ``entered``: a state of the machine's top level began. ``ran``: a state's function returned or died; ``detail`` is
    its time. ``failed``: an attempt, which may be retried or caught; ``detail`` is ``error: message``. ``ended``: the
    execution; ``detail`` is its status.
    """

    kind: Literal["entered", "ran", "failed", "ended"]
    state: str
    detail: str
    at: float


class Follower:
    """Tells each step of one execution once.

    A call's log does not say which execution it belongs to: while two executions of one machine run at the same time,
    each shows the other's ``ran`` steps as well.
    """

    def __init__(self, deployment: Deployment, execution: dict[str, Any]) -> None:
        """``execution``: what DescribeExecution answered."""
        self._deployment = deployment
        self._execution = execution["executionArn"]
        self._since = execution["startDate"].timestamp()
        definition = deployment.client("stepfunctions").describe_state_machine(
            stateMachineArn=execution["stateMachineArn"]
        )["definition"]
        self._functions = [each for each in deployment.functions.values() if each.arn in definition]
        self._events_told = 0
        self._lines_told: set[LogLine] = set()
        self._state_of_request: dict[str, str] = {}
        self._entered = ""
        self._held: list[Step] = []  # what is newer than an event that can't be told yet

    def news(self) -> list[Step]:
        """What happened since the last call, in order of time."""
        # History first: a failure that it tells of is then in the log that is read after it, as a rule. What the log
        # tells of the time since waits for the history of that time.
        horizon = time.time()
        events = history(self._deployment, self._execution)
        over = any(event["type"] in _ENDS for event in events)
        self._held += [step for function in self._functions for step in self._read_log(function)]
        self._held += self._read_history(events, over=over)
        if over:
            horizon = float("inf")
        elif self._events_told < len(events):
            horizon = min(horizon, events[self._events_told]["timestamp"].timestamp())
        told = sorted((step for step in self._held if step.at < horizon), key=lambda step: step.at)
        self._held = [step for step in self._held if step.at >= horizon]
        return told

    def _read_log(self, function: Function) -> list[Step]:
        steps: list[Step] = []
        state = "".join(word.title() for word in function.state.split("_"))
        for line in log_lines(self._deployment, function, since=self._since):
            match = _REQUEST.match(line.text)
            if match is None or line in self._lines_told:
                continue
            self._lines_told.add(line)
            self._state_of_request[match[2]] = state
            if match[3]:
                steps.append(Step("ran", state, f"{int(match[3]) / 1000:.1f} s", line.at))
        return steps

    def _read_history(self, events: list[dict[str, Any]], *, over: bool) -> list[Step]:
        steps: list[Step] = []
        for event in events[self._events_told :]:
            if self._is_early(event) and not over:
                break  # the log says which state it was, a moment later
            self._events_told += 1
            kind: str = event["type"]
            at = event["timestamp"].timestamp()
            if kind.endswith("StateEntered"):
                self._entered = event["stateEnteredEventDetails"]["name"]
                steps.append(Step("entered", self._entered, "", at))
            elif kind in _ENDS:
                steps.append(Step("ended", "", _ENDS[kind], at))
            elif kind.endswith(("Failed", "TimedOut")):
                steps.append(self._failure(event, at))
        return steps

    def _is_early(self, event: dict[str, Any]) -> bool:
        request = _reply_of(event).get("requestId", "")
        return request != "" and request not in self._state_of_request

    def _failure(self, event: dict[str, Any], at: float) -> Step:
        details, reply = _details_of(event), _reply_of(event)
        # A killed function has no request id: the state entered last is then the best that is known.
        state = self._state_of_request.get(reply.get("requestId", ""), self._entered)
        message = reply.get("errorMessage", details.get("cause", ""))
        return Step("failed", state, f"{details.get('error', event['type'])}: {message}", at)


def _details_of(event: dict[str, Any]) -> dict[str, Any]:
    return next((value for key, value in event.items() if key.endswith("EventDetails")), {})


def _reply_of(event: dict[str, Any]) -> dict[str, Any]:
    """What a failed function answered, if this event is its failure."""
    try:
        reply = json.loads(_details_of(event).get("cause", ""))
    except ValueError:
        return {}
    return reply if isinstance(reply, dict) else {}


def history(deployment: Deployment, execution: str) -> list[dict[str, Any]]:
    """All events of an execution (by ARN), oldest first."""
    pages = deployment.client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=execution)
    return [event for page in pages for event in page["events"]]
