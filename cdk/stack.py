"""One stage of Siltstone: the constructs, wired, and the names that the command line and the local stack need."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import CfnOutput, Environment, Stack, Tags
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct
from siltstone import __version__

from cdk.functions import ROOT, Functions
from cdk.machines import STATES, Machine, MachineName
from cdk.monitoring import Monitoring
from cdk.names import SERVICE, camel
from cdk.settings import StageSettings
from cdk.storage import Storage
from cdk.triggers import DeltaQueue, Triggers


class SiltstoneStack(Stack):
    """Everything of one stage. Another stage has the same resources under the same logical ids."""

    def __init__(
        self, scope: Construct, stage: str, settings: StageSettings, definitions: Path = ROOT / "statemachines"
    ) -> None:
        super().__init__(
            scope,
            f"{SERVICE}-{stage}",
            description=f"Siltstone, stage {stage}: texts in, a searchable vector store out",
            env=Environment(account=settings.account, region=settings.region),
            termination_protection=settings.retain,
        )
        Tags.of(self).add("service", SERVICE)
        Tags.of(self).add("stage", stage)
        storage = Storage(self, "Storage", settings)
        hints = DeltaQueue(self, "Hints", settings)
        functions = Functions(self, "Functions", stage, settings=settings, storage=storage, queue=hints.queue)
        machines: dict[MachineName, sfn.StateMachine] = {
            name: Machine(
                self, camel(name), stage, name=name, settings=settings, functions=functions, definitions=definitions
            ).machine
            for name in STATES
        }
        Triggers(self, "Triggers", stage, settings=settings, functions=functions, queue=hints.queue, machines=machines)
        monitoring = Monitoring(
            self, "Monitoring", stage, settings=settings, machines=machines, dead_letters=hints.dead_letters
        )
        outputs = {
            "DeltaBucketName": storage.delta_bucket.bucket_name,
            "SnapshotBucketName": storage.snapshot_bucket.bucket_name,
            "LockTableName": storage.lock_table.table_name,
            "LedgerTableName": storage.ledger_table.table_name,
            "SourceTableName": storage.source_table.table_name,
            "DeltaQueueUrl": hints.queue.queue_url,
            "DeadLetterQueueUrl": hints.dead_letters.queue_url,
            "CompactionMachineArn": machines["compaction"].state_machine_arn,
            "EmbeddingMachineArn": machines["embedding"].state_machine_arn,
            "QueryUrl": functions.query_url.url,
            "OpenAiSecretArn": functions.secret.secret_arn,
            "Collections": settings.collections_json(),
            "Release": __version__,
            "AlarmNames": ",".join(alarm.alarm_name for alarm in monitoring.alarms),
            **{f"{camel(name)}Function": function.function_name for name, function in functions.by_name.items()},
        }
        for name, value in outputs.items():
            CfnOutput(self, name, value=value)
