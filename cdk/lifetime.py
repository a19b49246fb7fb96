"""How long things live: what outlives the stack, and how long logs are kept."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk.settings import LogDays, StageSettings

_RETENTION: dict[LogDays, logs.RetentionDays] = {
    1: logs.RetentionDays.ONE_DAY,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}


def removal(settings: StageSettings) -> RemovalPolicy:
    """Whether a resource is kept when the stack no longer has it."""
    return RemovalPolicy.RETAIN if settings.retain else RemovalPolicy.DESTROY


def log_group(scope: Construct, construct_id: str, name: str, settings: StageSettings) -> logs.LogGroup:
    """A log group with the stage's retention."""
    return logs.LogGroup(
        scope,
        construct_id,
        log_group_name=name,
        retention=_RETENTION[settings.log_days],
        removal_policy=removal(settings),
    )
