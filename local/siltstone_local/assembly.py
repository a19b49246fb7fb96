"""Reads a cloud assembly (what `cdk synth` writes): its stacks in the order of deployment, with their assets."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from siltstone_local.aws import ACCOUNT, REGION
from siltstone_local.errors import TemplateUnsupported

_PLACEHOLDERS = {"${AWS::AccountId}": ACCOUNT, "${AWS::Region}": REGION, "${AWS::Partition}": "aws"}


@dataclass(frozen=True)
class FileAsset:
    """A file (or a folder, to be zipped) and the bucket and key that the template expects it under."""

    path: Path
    is_folder: bool
    bucket: str
    key: str

    def read(self) -> bytes:
        """The bytes to upload."""
        if not self.is_folder:
            return self.path.read_bytes()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(self.path.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(self.path))
        return buffer.getvalue()


@dataclass(frozen=True)
class Stack:
    """One synthesized stack."""

    name: str
    template: dict[str, Any]
    assets: list[FileAsset]
    tags: dict[str, str] = field(default_factory=dict)


def read_assembly(folder: Path) -> list[Stack]:
    """All stacks, those of stages too, each after those it depends on. Raises `TemplateUnsupported`."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise TemplateUnsupported(f"{folder} is not a cloud assembly (no manifest.json).", remedy="Run `make synth`.")
    artifacts: dict[str, Any] = json.loads(path.read_text()).get("artifacts", {})
    order = TopologicalSorter({name: each.get("dependencies", []) for name, each in artifacts.items()})
    stacks: list[Stack] = []
    for name in order.static_order():
        artifact = artifacts.get(name, {})
        properties = artifact.get("properties", {})
        if artifact.get("type") == "cdk:cloud-assembly":
            stacks += read_assembly(folder / properties["directoryName"])
        elif artifact.get("type") == "aws:cloudformation:stack":
            manifests = [artifacts[other] for other in artifact.get("dependencies", []) if other in artifacts]
            stacks.append(
                Stack(
                    name=properties.get("stackName", name),
                    template=json.loads((folder / properties["templateFile"]).read_text()),
                    assets=[
                        asset
                        for manifest in manifests
                        if manifest.get("type") == "cdk:asset-manifest"
                        for asset in _read_assets(folder, manifest["properties"]["file"], properties["templateFile"])
                    ],
                    tags=properties.get("tags", {}),
                )
            )
    if not stacks:
        raise TemplateUnsupported(f"The cloud assembly {folder} has no stack.", remedy="Add one to the CDK app.")
    return stacks


def _read_assets(folder: Path, manifest: str, template_file: str) -> list[FileAsset]:
    files: dict[str, Any] = json.loads((folder / manifest).read_text()).get("files", {})
    assets: list[FileAsset] = []
    for asset in files.values():
        source = asset["source"]
        if source.get("path") == template_file:
            continue  # the template itself: uploaded after its rewrite
        if "path" not in source:
            raise TemplateUnsupported(
                f"An asset of {manifest} is made by a command: {source}.", remedy="Use a file or a folder."
            )
        assets += [
            FileAsset(
                path=folder / source["path"],
                is_folder=source.get("packaging") == "zip",
                bucket=_fill_in(destination["bucketName"]),
                key=_fill_in(destination["objectKey"]),
            )
            for destination in asset["destinations"].values()
        ]
    return assets


def _fill_in(text: str) -> str:
    for placeholder, value in _PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return text
