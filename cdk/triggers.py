"""What starts the machines: the delta queue, and the clock."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from cdk.functions import Functions, size_of
from cdk.machines import MachineName
from cdk.names import resource
from cdk.settings import StageSettings

_MAX_RECEIVES = 5


class DeltaQueue(Construct):
    """The queue of hints that a delta was written, and where hints go that could not start a run."""

    def __init__(self, scope: Construct, construct_id: str, settings: StageSettings) -> None:
        super().__init__(scope, construct_id)
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        # AWS's advice: six times the function's timeout, plus the window in which a batch is gathered.
        hidden = 6 * size_of("start_compaction", settings).timeout_seconds + settings.triggers.hint_window_seconds
        self.queue = sqs.Queue(
            self,
            "Queue",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            visibility_timeout=Duration.seconds(hidden),
            retention_period=Duration.days(4),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letters, max_receive_count=_MAX_RECEIVES),
        )


class Triggers(Construct):
    """The event source of ``start_compaction`` and the two schedules."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        stage: str,
        *,
        settings: StageSettings,
        functions: Functions,
        queue: sqs.IQueue,
        machines: Mapping[MachineName, sfn.StateMachine],
    ) -> None:
        super().__init__(scope, construct_id)
        triggers = settings.triggers
        starter = functions["start_compaction"]
        starter.add_environment("COMPACTION_MACHINE_ARN", machines["compaction"].state_machine_arn)
        machines["compaction"].grant_start_execution(starter)
        # Not SqsEventSource: it puts the stack's name into the logical id, and stages would differ.
        queue.grant_consume_messages(starter)
        lambda_.EventSourceMapping(
            self,
            "HintsSource",
            target=starter,  # pyright: ignore[reportArgumentType] - jsii's names
            event_source_arn=queue.queue_arn,
            batch_size=1_000,  # as many as come in the window: one run for all of them
            max_batching_window=Duration.seconds(max(1, triggers.hint_window_seconds)),
            max_concurrency=2,
            report_batch_item_failures=True,
        )
        self._schedule(
            "CompactOnSchedule",
            resource(stage, "compact"),
            triggers.compact_every_minutes,
            machines["compaction"],
            {"operation": "compact"},
        )
        # Always there, so that every stage has the same shape; disabled where the stage plans by hand.
        self._schedule(
            "PlanOnSchedule", resource(stage, "plan"), triggers.plan_every_minutes, machines["embedding"], {}
        )

    def _schedule(
        self, construct_id: str, name: str, minutes: int | None, machine: sfn.StateMachine, event: dict[str, str]
    ) -> None:
        scheduler.Schedule(
            self,
            construct_id,
            schedule_name=name,
            schedule=scheduler.ScheduleExpression.rate(Duration.minutes(minutes or 60)),
            enabled=minutes is not None,
            target=targets.StepFunctionsStartExecution(  # pyright: ignore[reportArgumentType] - jsii's names
                machine,
                input=scheduler.ScheduleTargetInput.from_object(event),
                retry_attempts=3,
                max_event_age=Duration.minutes(15),  # the next one comes soon: an old start is worth nothing
            ),
        )
