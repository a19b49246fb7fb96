"""The two state machines: the ASL files as they are, with the functions' ARNs put in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct
from siltstone.errors import BadSettings

from cdk.functions import ROOT, Functions
from cdk.lifetime import log_group
from cdk.names import camel, resource
from cdk.settings import FunctionName, StageSettings

MachineName = Literal["compaction", "embedding"]

STATES: dict[MachineName, tuple[FunctionName, ...]] = {
    "compaction": (
        "list_collections",
        "acquire_lock",
        "renew_lock",
        "download",
        "merge",
        "upload",
        "promote_pointer",
        "retire",
        "release_lock",
    ),
    "embedding": ("plan_batches", "submit_batch", "poll_batch", "create_delta", "record_outcome"),
}


class Machine(Construct):
    """One state machine, allowed to call its own functions and to start itself."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        stage: str,
        *,
        name: MachineName,
        settings: StageSettings,
        functions: Functions,
        definitions: Path = ROOT / "statemachines",
    ) -> None:
        super().__init__(scope, construct_id)
        states = STATES[name]
        path = definitions / f"{name}.asl.json"
        check_placeholders(path, {camel(state) for state in states})
        machine_name = resource(stage, name)
        self.machine = sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=machine_name,
            definition_body=sfn.DefinitionBody.from_file(str(path)),
            definition_substitutions={camel(state): functions[state].function_arn for state in states},
            tracing_enabled=True,
            logs=sfn.LogOptions(
                destination=log_group(self, "Logs", f"/aws/vendedlogs/states/{machine_name}", settings),
                level=sfn.LogLevel.ERROR,
                include_execution_data=False,
            ),
        )
        for state in states:
            # The function itself, not its versions and aliases: there are none.
            self.machine.add_to_role_policy(
                iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[functions[state].function_arn])
            )
        # By its fixed name: the machine's own ARN in its role's policy would be a circle.
        own_arn = Stack.of(self).format_arn(
            service="states",
            resource="stateMachine",
            resource_name=machine_name,
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        self.machine.add_to_role_policy(iam.PolicyStatement(actions=["states:StartExecution"], resources=[own_arn]))


def check_placeholders(path: Path, names: set[str]) -> None:
    """Raise `BadSettings` unless the ``${Name}`` in ``path`` are exactly ``names``: a leftover fails only when run."""
    try:
        found = set(re.findall(r"\$\{(\w+)\}", path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadSettings(f"{path.name} can't be read: {error}.", remedy="Restore the file.") from error
    if found != names:
        raise BadSettings(
            f"{path.name}: placeholders without a function: {sorted(found - names) or 'none'}; "
            f"functions without a placeholder: {sorted(names - found) or 'none'}.",
            remedy="Make the states of cdk/machines.py and of the file agree.",
        )
