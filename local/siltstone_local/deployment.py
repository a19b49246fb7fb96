"""What is deployed: the stacks' outputs and resources, by the names that the CDK app and the code use."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from siltstone_local.aws import aws_client
from siltstone_local.errors import UnknownName


@dataclass(frozen=True)
class Resource:
    """One resource of a stack. ``physical_id``: a name, an ARN or a URL, as CloudFormation has it for the type."""

    stack: str
    logical_id: str
    type: str
    physical_id: str


@dataclass(frozen=True)
class Function:
    """A deployed function. ``handler``: ``functions.promote_pointer.handler``."""

    name: str
    arn: str
    handler: str
    environment: dict[str, str]
    log_group: str

    @property
    def state(self) -> str:
        """The file's name: ``promote_pointer``."""
        return self.handler.split(".")[-2] if "." in self.handler else self.handler


@dataclass(frozen=True)
class Deployment:
    """Every stack of one app on one emulator. ``outputs``: of all stacks, by output key."""

    endpoint: str
    stacks: tuple[str, ...]
    outputs: dict[str, str]
    resources: tuple[Resource, ...]
    _clients: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def client(self, service: str) -> Any:
        """A (cached) boto3 client of the emulated AWS."""
        if service not in self._clients:
            self._clients[service] = aws_client(service, self.endpoint)
        return self._clients[service]

    def physical_ids(self, kind: str) -> dict[str, str]:
        """Logical id to physical id of one type (``AWS::S3::Bucket``)."""
        return {each.logical_id: each.physical_id for each in self.resources if each.type == kind}

    @property
    def buckets(self) -> dict[str, str]:
        """Logical id to bucket name."""
        return self.physical_ids("AWS::S3::Bucket")

    @property
    def tables(self) -> dict[str, str]:
        """Logical id to table name."""
        return self.physical_ids("AWS::DynamoDB::Table")

    @property
    def queues(self) -> dict[str, str]:
        """Logical id to queue URL."""
        return self.physical_ids("AWS::SQS::Queue")

    @property
    def machines(self) -> dict[str, str]:
        """Logical id to state machine ARN."""
        return self.physical_ids("AWS::StepFunctions::StateMachine")

    @cached_property
    def functions(self) -> dict[str, Function]:
        """The project's functions by their file's name (``promote_pointer``)."""
        found: dict[str, Function] = {}
        for name in self.physical_ids("AWS::Lambda::Function").values():
            settings = self.client("lambda").get_function_configuration(FunctionName=name)
            if settings.get("Runtime") != "provided.al2023":
                continue  # a custom resource of CDK's own
            function = Function(
                name=name,
                arn=settings["FunctionArn"],
                handler=settings["Handler"],
                environment=settings.get("Environment", {}).get("Variables", {}),
                log_group=settings.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{name}"),
            )
            found[function.state] = function
        return found

    @property
    def environment(self) -> dict[str, str]:
        """All functions' environment variables together: what a `Stores` for this stage is made from."""
        return {name: value for each in self.functions.values() for name, value in each.environment.items()}

    def function(self, name: str) -> Function:
        """By its file's name (``promote_pointer``) or its deployed name. Raises `UnknownName`."""
        for state, function in self.functions.items():
            if name in {state, function.name}:
                return function
        raise UnknownName(
            f"No function {name!r} is deployed.", remedy=f"There are: {', '.join(sorted(self.functions)) or 'none'}."
        )

    def machine(self, name: str) -> str:
        """A state machine's ARN: by ARN, name, logical id, or a part that only one has. Raises `UnknownName`."""
        arns = self.machines
        exact = [arn for logical, arn in arns.items() if name in {arn, arn.rpartition(":")[2], logical}]
        part = name.lower()
        similar = [
            arn for logical, arn in arns.items() if part in logical.lower() or part in arn.rpartition(":")[2].lower()
        ]
        for found in (exact, similar):
            if len(found) == 1:
                return found[0]
        raise UnknownName(
            f"{'Several machines match' if similar else 'There is no machine'} {name!r}.",
            remedy=f"There are: {', '.join(sorted(arns)) or 'none'}.",
        )

    def output(self, name: str) -> str:
        """A stack's output. Raises `UnknownName`."""
        if name not in self.outputs:
            raise UnknownName(
                f"No stack has the output {name!r}.", remedy=f"There are: {', '.join(sorted(self.outputs)) or 'none'}."
            )
        return self.outputs[name]


def describe(endpoint: str, stacks: list[str] | None = None) -> Deployment:
    """Read the named stacks (default: all), as deployed, from the emulator at ``endpoint``."""
    cloudformation = aws_client("cloudformation", endpoint)
    if stacks is None:
        pages = cloudformation.get_paginator("describe_stacks").paginate()
        stacks = [each["StackName"] for page in pages for each in page["Stacks"]]
    outputs: dict[str, str] = {}
    resources: list[Resource] = []
    for stack in stacks:
        described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        outputs |= {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", [])}
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
        resources += [
            Resource(stack, each["LogicalResourceId"], each["ResourceType"], each.get("PhysicalResourceId", ""))
            for page in pages
            for each in page["StackResourceSummaries"]
        ]
    return Deployment(endpoint, tuple(stacks), outputs, tuple(resources))
