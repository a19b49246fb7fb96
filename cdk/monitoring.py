"""Alarms: each over a metric that something emits, with a period in which it can fire."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from cdk.machines import MachineName
from cdk.names import METRICS_NAMESPACE, SERVICE, resource
from cdk.settings import StageSettings

_HOUR = Duration.hours(1)
_ABOVE = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
_AT_LEAST = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
_BELOW = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD


class Monitoring(Construct):
    """The stage's alarms, in ``alarms``; all of them tell the stage's topic if it names one."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        stage: str,
        *,
        settings: StageSettings,
        machines: Mapping[MachineName, sfn.StateMachine],
        dead_letters: sqs.IQueue,
    ) -> None:
        super().__init__(scope, construct_id)
        self.alarms: list[cloudwatch.Alarm] = []
        self._stage = stage
        thresholds = settings.alarms
        self._topic = (
            sns.Topic.from_topic_arn(self, "Topic", thresholds.topic_arn) if thresholds.topic_arn is not None else None
        )
        # One count for each acquire that found the lease taken. A stopped execution's lease costs a few within its 20
        # minutes and heals; the same for two hours means runs that last longer than what starts them lets them.
        self._alarm(
            "LockContention",
            self._own("LockContentionCount", "Sum", _HOUR),
            thresholds.busy_locks_per_hour,
            _AT_LEAST,
            periods=2,
            what="Compactions keep finding the lock taken: runs last too long, or a run renews a lease for ever.",
        )
        # ListCollections says it at every run. Two listings in a row: the run in between did not keep up.
        listing = Duration.minutes(max(60, settings.triggers.compact_every_minutes))
        self._alarm(
            "DeltaBacklog",
            self._own("DeltaFileCount", "Maximum", listing),
            thresholds.pending_deltas,
            _ABOVE,
            periods=2,
            what="Pending deltas pile up: compaction fails, or does not keep up.",
        )
        self._alarm(
            "DeltasQuarantined",
            self._own("DeltasQuarantined", "Sum", _HOUR),
            1,
            _AT_LEAST,
            what="A delta can't be used and waits in quarantine/ with its reason.",
        )
        self._alarm(
            "CompactionFailed",
            machines["compaction"].metric_failed(period=_HOUR, statistic="Sum"),
            1,
            _AT_LEAST,
            what="A compaction failed for at least one collection.",
        )
        self._alarm(
            "EmbeddingFailed",
            machines["embedding"].metric_failed(period=_HOUR, statistic="Sum"),
            1,
            _AT_LEAST,
            what="An embedding batch failed for good.",
        )
        # A schedule that stopped emits nothing, and nothing else would notice.
        self._alarm(
            "CompactionSilent",
            machines["compaction"].metric_started(period=listing, statistic="Sum"),
            1,
            _BELOW,
            periods=3,
            missing=cloudwatch.TreatMissingData.BREACHING,
            what="No compaction was started for three periods: the schedule is off or not allowed to.",
        )
        self._alarm(
            "HintsDead",
            dead_letters.metric_approximate_number_of_messages_visible(period=Duration.minutes(5), statistic="Maximum"),
            1,
            _AT_LEAST,
            what="Hints could not start a compaction. Nothing is lost: the schedule finds the deltas.",
        )

    def _own(self, name: str, statistic: str, period: Duration) -> cloudwatch.Metric:
        """A metric as the functions emit it (EMF): exactly these dimensions, or the alarm sees nothing."""
        return cloudwatch.Metric(
            namespace=METRICS_NAMESPACE,
            metric_name=name,
            dimensions_map={"service": SERVICE, "stage": self._stage},
            statistic=statistic,
            period=period,
        )

    def _alarm(
        self,
        construct_id: str,
        metric: cloudwatch.Metric,
        threshold: float,
        comparison: cloudwatch.ComparisonOperator,
        *,
        what: str,
        periods: int = 1,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> None:
        alarm = metric.create_alarm(
            self,
            construct_id,
            alarm_name=f"{resource(self._stage, '')}{construct_id}",
            alarm_description=what,
            threshold=threshold,
            evaluation_periods=periods,
            comparison_operator=comparison,
            treat_missing_data=missing,
        )
        if self._topic is not None:
            alarm.add_alarm_action(actions.SnsAction(self._topic))  # pyright: ignore[reportArgumentType] - jsii's names
        self.alarms.append(alarm)
