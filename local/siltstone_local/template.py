"""The rewrite that lets the synthesized template run on the emulated AWS.

Everything that is not in this table is deployed as it was synthesized.

======================================  ===========================================  ==================================
what                                    becomes                                      why
======================================  ===========================================  ==================================
``Code: {ImageUri}``                    ``Code: {S3Bucket, S3Key}``: `runtime`       there is no Docker, and no image
``PackageType: Image``                  ``Zip``, ``Runtime: provided.al2023``        `awslambdaric` is its bootstrap
``ImageConfig`` (command, entry point)  ``Handler``: the command's last word         a zip has no command
``Environment``                         plus ``OPENAI_BASE_URL`` (if one is given)   the batch server of this machine
======================================  ===========================================  ==================================

Set by the bootstrap and the emulator, not by the template: ``SCRATCH_DIR`` and ``TMPDIR`` (of each process its own,
as in Lambda), ``PYTHONPATH``, ``POWERTOOLS_TRACE_DISABLED``, ``AWS_ENDPOINT_URL``, credentials and region.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from siltstone_local.errors import TemplateUnsupported

_HANDLER = re.compile(r"^\w+(\.\w+)+$")


@dataclass(frozen=True)
class Package:
    """Where the functions' deployment package was uploaded."""

    bucket: str
    key: str


def transform(template: Mapping[str, Any], package: Package, environment: Mapping[str, str]) -> dict[str, Any]:
    """A rewritten copy of ``template``; ``environment`` goes over that of every image function.

    Raises `TemplateUnsupported` for an image function whose command does not name a handler.
    """
    result = copy.deepcopy(dict(template))
    for logical_id, resource in result.get("Resources", {}).items():
        if _is_image_function(resource):
            _run_without_image(logical_id, resource["Properties"], package, environment)
    return result


def _is_image_function(resource: Mapping[str, Any]) -> bool:
    return (
        resource.get("Type") == "AWS::Lambda::Function" and resource.get("Properties", {}).get("PackageType") == "Image"
    )


def _run_without_image(
    logical_id: str, properties: dict[str, Any], package: Package, environment: Mapping[str, str]
) -> None:
    image = properties.pop("ImageConfig", {})
    command = image.get("Command") or image.get("EntryPoint") or []
    handler = command[-1] if command else None
    if not isinstance(handler, str) or not _HANDLER.match(handler):
        raise TemplateUnsupported(
            f"The image function {logical_id} has the command {command!r}, which names no handler.",
            remedy='Give it one in the CDK app: cmd=["functions.NAME.handler"].',
        )
    properties |= {
        "PackageType": "Zip",
        "Runtime": "provided.al2023",
        "Handler": handler,
        "Code": {"S3Bucket": package.bucket, "S3Key": package.key},
    }
    variables = properties.setdefault("Environment", {}).setdefault("Variables", {})
    variables.update(environment)
