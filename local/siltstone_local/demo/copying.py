"""Copies of the promoted snapshots, as any S3 client would make them; plain Chroma opens them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from siltstone.compaction.manifests import read_manifest
from siltstone.snapshots.restore import restore_version
from siltstone.stores import Stores

from siltstone_local.demo.phases import Say


@dataclass(frozen=True)
class Copy:
    """A folder that holds one version's files. ``vectors``: how many rows it has."""

    folder: Path
    vectors: int


def copy_snapshots(stores: Stores, versions: dict[str, str | None], target: Path, say: Say) -> dict[str, Copy]:
    """Fetch and verify each version into ``target/{collection}/{version}``."""
    copies: dict[str, Copy] = {}
    for collection, version in versions.items():
        if version is None:
            continue
        say(f"{collection} {version}")
        manifest = read_manifest(stores.snapshots, collection, version)
        folder = target / collection / version
        folder.parent.mkdir(parents=True, exist_ok=True)
        restore_version(stores.snapshots, manifest, folder)
        copies[collection] = Copy(folder, manifest.counts.after)
    return copies
