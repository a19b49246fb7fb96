"""``siltstone logs``: what the functions of the local stack printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from siltstone.clock import Clock, SystemClock, iso
from siltstone.times import parse_time

from siltstone_cli.console import output, problems
from siltstone_cli.exits import TargetMissing
from siltstone_cli.options import AsJson
from siltstone_cli.stack import local_stack
from siltstone_cli.target import LOCAL_VARIABLE, local_state

if TYPE_CHECKING:
    from siltstone_local.deployment import Deployment
    from siltstone_local.logs import LogLine

_PLATFORM = ("START ", "END ", "REPORT ", "INIT_START ")  # Lambda's own lines
_SHOWN = ("collection", "run", "version", "batch_id", "attempt", "error")
_KNOWN = {"level", "location", "message", "timestamp", "service", "state", "request_id", "xray_trace_id", "token"}
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
_PAUSE = 1.0  # seconds


def logs(
    function: Annotated[
        str | None, typer.Argument(help="One function, such as merge or create_delta; default: all of them.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="From when: 90s, 10min, 6h, or 2026-02-01T06:00 (UTC).")
    ] = "1h",
    everything: Annotated[bool, typer.Option("--all", help="Also Lambda's own lines and the metrics.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the functions of the local stack logged. A call's lines appear when it has ended.

    With --json each line is one JSON document. On AWS: aws logs tail /aws/lambda/siltstone-dev-merge --follow.

    Example: siltstone logs merge --since 10min --follow
    """
    clock = SystemClock()
    begin = parse_time(since, clock.now(), ago=True)
    stack = local_stack()
    state = local_state(os.environ.get(LOCAL_VARIABLE, ""))
    deployment = stack.running(state)
    if deployment is None:
        raise TargetMissing(f"No local stack runs in {state}.", remedy="Start it: siltstone up.")
    nothing = True
    for name, line in _lines(deployment, function, begin, follow=follow, clock=clock):
        entry = _parse(line.text)
        if not everything and _is_noise(line.text, entry):
            continue
        nothing = False
        if as_json:
            sys.stdout.write(json.dumps({"function": name, "at": iso(line.at), "line": entry or line.text}) + "\n")
        else:
            output.print(_shown(name, line, entry), soft_wrap=True)
    if nothing:
        problems.print(f"Nothing was logged since {iso(begin)}.")


def _lines(
    deployment: Deployment, function: str | None, begin: float, *, follow: bool, clock: Clock
) -> Iterator[tuple[str, LogLine]]:
    """Each line once, in order of time; those of one call together."""
    from siltstone_local.logs import log_lines  # noqa: PLC0415 - the local stack is an extra

    chosen = [deployment.function(function)] if function else list(deployment.functions.values())
    told: set[tuple[str, LogLine]] = set()
    while True:
        found = [(each.state, line) for each in chosen for line in log_lines(deployment, each, since=begin)]
        fresh = [entry for entry in found if entry not in told]
        told.update(fresh)
        yield from sorted(fresh, key=lambda entry: entry[1].at)
        if not follow:
            return
        clock.sleep(_PAUSE)


def _parse(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_noise(text: str, entry: dict[str, Any] | None) -> bool:
    return "_aws" in entry if entry is not None else text.startswith(_PLATFORM)


def _shown(name: str, line: LogLine, entry: dict[str, Any] | None) -> Text:
    shown = Text(f"{iso(line.at)[11:19]} ", "dim")
    shown.append(f"{name} ", "bold")
    if entry is None:
        return shown.append(line.text)
    level = str(entry.get("level", ""))
    shown.append(f"{level} ", _COLOURS.get(level, "dim"))
    shown.append(str(entry.get("message", line.text)))
    rest = [*(key for key in _SHOWN if key in entry), *(key for key in entry if key not in {*_KNOWN, *_SHOWN})]
    for key in rest:
        shown.append(f" {key}={entry[key]}", "dim")
    return shown
