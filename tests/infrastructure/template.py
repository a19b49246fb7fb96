"""A synthesized template, and the questions the tests ask of it."""

from __future__ import annotations

import fnmatch
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Resource = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Template:
    path: Path
    body: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def stage(self) -> str:
        return self.path.name.removeprefix("siltstone-").removesuffix(".template.json")

    def of_type(self, kind: str) -> dict[str, Resource]:
        """Properties by logical id."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.body["Resources"].items()
            if resource["Type"] == kind
        }

    def one(self, kind: str, containing: str) -> Resource:
        """The one resource of a type whose logical id contains a construct's name."""
        [found] = [value for name, value in self.of_type(kind).items() if containing in name]
        return found

    def output(self, name: str) -> Any:
        return self.body["Outputs"][name]["Value"]

    def functions(self) -> dict[str, Resource]:
        """Properties by the function's name without the stage, as in functions/."""
        prefix = f"siltstone-{self.stage}-"
        return {
            properties["FunctionName"].removeprefix(prefix).replace("-", "_"): properties
            for properties in self.of_type("AWS::Lambda::Function").values()
        }

    def statements(self, role_of: str) -> list[dict[str, Any]]:
        """IAM statements of the roles whose logical id contains ``role_of``, resources as text."""
        found: list[dict[str, Any]] = []
        for properties in self.of_type("AWS::IAM::Policy").values():
            if any(role_of in json.dumps(role) for role in properties["Roles"]):
                for statement in properties["PolicyDocument"]["Statement"]:
                    found.append(
                        {
                            "Effect": statement["Effect"],
                            "Action": _listed(statement["Action"]),
                            "Resource": [_text(resource) for resource in _listed(statement["Resource"])],
                        }
                    )
        return found

    def allows(self, role_of: str, action: str, resource: str) -> bool:
        """Whether IAM would allow it: some statement does and none denies. ``resource`` like ``<DeltaBucket>/key``."""
        matching = {
            statement["Effect"]
            for statement in self.statements(role_of)
            if any(fnmatch.fnmatchcase(action, pattern) for pattern in statement["Action"])
            and any(fnmatch.fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        }
        return matching == {"Allow"}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    """A resource as text, references as ``<Construct>``."""
    if isinstance(value, str):
        return value
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return separator.join(_text(part) for part in parts)
    reference = value["Fn::GetAtt"][0] if "Fn::GetAtt" in value else value["Ref"]
    names = ("DeltaBucket", "SnapshotBucket", "LockTable", "LedgerTable", "SourceTable", "OpenAiKey")
    known = [name for name in names if name in reference]
    return f"<{known[0]}>" if known else f"<{re.sub('[0-9A-F]{8}$', '', reference)}>"
