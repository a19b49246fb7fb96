"""A CDK app of two stacks with one of each thing that the local stack has to cope with."""

from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_stepfunctions as sfn

HERE = Path(__file__).parent


class Storage(cdk.Stack):
    def __init__(self, scope: cdk.App) -> None:
        super().__init__(scope, "Storage")
        self.bucket = s3.Bucket(self, "Bucket", versioned=True)
        self.table = dynamodb.Table(
            self, "Table", partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING)
        )


class Machine(cdk.Stack):
    def __init__(self, scope: cdk.App, storage: Storage, handler: str, note: str) -> None:
        super().__init__(scope, "Machine")
        secret = secretsmanager.Secret(self, "Secret")
        probe = lambda_.DockerImageFunction(
            self,
            "Probe",
            code=lambda_.DockerImageCode.from_image_asset(str(HERE), cmd=[handler]),
            timeout=cdk.Duration.seconds(3),
            environment={
                "BUCKET": storage.bucket.bucket_name,
                "TABLE": storage.table.table_name,
                "SECRET": secret.secret_arn,
                "SCRATCH_DIR": "/tmp/siltstone",
                "NOTE": note,
            },
        )
        storage.bucket.grant_read_write(probe)
        storage.table.grant_read_write_data(probe)
        machine = sfn.StateMachine(
            self,
            "ProbeMachine",
            definition_body=sfn.DefinitionBody.from_file(str(HERE / "probe.asl.json")),
            definition_substitutions={"Probe": probe.function_arn},
        )
        probe.grant_invoke(machine)
        scheduler.Schedule(
            self,
            "Hourly",
            schedule=scheduler.ScheduleExpression.rate(cdk.Duration.hours(1)),
            target=targets.StepFunctionsStartExecution(machine, input=scheduler.ScheduleTargetInput.from_object({})),
        )
        machine.metric_failed().create_alarm(self, "Failed", threshold=1, evaluation_periods=1)
        cdk.CfnOutput(self, "BucketName", value=storage.bucket.bucket_name)


def synthesize(output: Path, *, handler: str = "functions.probe.handler", note: str = "first") -> Path:
    app = cdk.App(outdir=str(output), analytics_reporting=False)
    Machine(app, Storage(app), handler, note)
    app.synth()
    return output
