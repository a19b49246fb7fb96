"""What the functions printed: MiniStack keeps it in its CloudWatch Logs, as AWS does, once an invocation has ended."""

from __future__ import annotations

from dataclasses import dataclass

from siltstone_local.deployment import Deployment, Function


@dataclass(frozen=True)
class LogLine:
    """One line. ``at``: epoch seconds of the invocation's end. ``stream``: one for each invocation."""

    text: str
    at: float
    stream: str


def function_log(deployment: Deployment, function: str, *, since: float = 0.0) -> list[str]:
    """A function's lines in order, from ``since`` (epoch seconds) on; empty before its first invocation ended.

    ``function``: see `Deployment.function`. Raises `UnknownName`.
    """
    return [line.text for line in log_lines(deployment, deployment.function(function), since=since)]


def log_lines(deployment: Deployment, function: Function, *, since: float = 0.0) -> list[LogLine]:
    """As `function_log`, with time and stream."""
    client = deployment.client("logs")
    pages = client.get_paginator("filter_log_events").paginate(
        logGroupName=function.log_group, startTime=int(since * 1000)
    )
    try:
        return [
            LogLine(event["message"], event["timestamp"] / 1000, event["logStreamName"])
            for page in pages
            for event in page["events"]
        ]
    except client.exceptions.ResourceNotFoundException:
        return []
