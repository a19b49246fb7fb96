"""What every check is made of: a stage to look at, and a line to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from siltstone.clock import Clock
from siltstone.compaction.documents import Manifest
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.messages import Message
from siltstone.compaction.pointer import read_pointer
from siltstone.errors import SiltstoneError
from siltstone.overview.collections import collection_names
from siltstone.parallel import in_parallel
from siltstone.stores import Stores
from siltstone.stores.account import Account, NotThere
from siltstone.stores.machines import Machine

Level = Literal["ok", "warning", "problem", "not checked"]


class Check(Message):
    """One line. ``remedy``: what to do, where something is to be done."""

    name: str
    level: Level
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Patient:
    """A stage. ``outputs``: of its ``stack``; ``here``: versions of the libraries of this process.

    ``lacking``: by a check's name why it means nothing here, as on an emulated AWS.
    """

    stack: str
    outputs: Mapping[str, str]
    account: Account
    stores: Stores
    machines: Mapping[str, Machine]
    clock: Clock
    here: Mapping[str, str]
    lacking: Mapping[str, str] = field(default_factory=dict[str, str])

    def output(self, name: str) -> str:
        """An output of the stack. Raises `NotThere`: an older release deployed it."""
        if name not in self.outputs:
            raise NotThere(f"The stack {self.stack} has no output {name}.", remedy="Deploy this release.")
        return self.outputs[name]


def verdict(level: Level, detail: str, remedy: str = "") -> Check:
    return Check(name="", level=level, detail=detail, remedy="" if level == "ok" else remedy)


def current_manifests(patient: Patient) -> list[Manifest]:
    """Of every current version that can be read; `siltstone verify` is about the others."""
    snapshots = patient.stores.snapshots

    def read(collection: str) -> Manifest | None:
        try:
            version = read_pointer(snapshots, collection).version
            return None if version is None else read_manifest(snapshots, collection, version)
        except SiltstoneError:
            return None

    return [found for found in in_parallel(read, collection_names(patient.stores)) if found is not None]
