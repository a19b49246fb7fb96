"""What the functions printed: MiniStack keeps it in its CloudWatch Logs, as AWS does, once an invocation has ended."""

from __future__ import annotations

from siltstone_local.deployment import Deployment


def function_log(deployment: Deployment, function: str, *, since: float = 0.0) -> list[str]:
    """A function's lines in order, from ``since`` (epoch seconds) on; empty before its first invocation ended.

    ``function``: see `Deployment.function`. Raises `UnknownName`.
    """
    group = deployment.function(function).log_group
    client = deployment.client("logs")
    try:
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=int(since * 1000))
        return [event["message"] for page in pages for event in page["events"]]
    except client.exceptions.ResourceNotFoundException:
        return []
