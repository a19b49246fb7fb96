"""Files become a version: copied server-side under its prefix, each bound to its source and checked, manifest last.

Nobody sees them until the pointer moves. A run that dies here leaves a prefix without a manifest, which is no version.
"""

from __future__ import annotations

from collections.abc import Sequence

from siltstone import keys
from siltstone.compaction.documents import Manifest, StagedFile, VersionFile
from siltstone.compaction.messages import Ref
from siltstone.compaction.staging import write_document
from siltstone.errors import (
    CheckFailed,
    ManifestDamaged,
    ObjectNotFound,
    PreconditionFailed,
    SnapshotDamaged,
    SnapshotTooLarge,
)
from siltstone.parallel import in_parallel
from siltstone.stores.objects import ObjectStore

MAX_SNAPSHOT_BYTES = 4 * 2**30  # what one function can hold on its disk twice, and S3 copies in one request


def publish(snapshots: ObjectStore, manifest: Manifest, sources: Sequence[StagedFile]) -> Ref:
    """Copy ``sources`` to where ``manifest`` says, then write it. Run again with the same arguments, it is no error.

    Raises `SnapshotTooLarge` before anything is copied, `SnapshotDamaged` if a source is gone or is not what was
    recorded, `PreconditionFailed` if the version has another manifest.
    """
    if manifest.total_bytes > MAX_SNAPSHOT_BYTES:
        raise SnapshotTooLarge(
            f"{manifest.version} of {manifest.collection} has {manifest.total_bytes} bytes, over {MAX_SNAPSHOT_BYTES}.",
            remedy="Build the collection anew with more shards, then move its alias.",
        )
    prefix = keys.version(manifest.collection, manifest.version)

    def copy(source: StagedFile) -> None:
        try:
            copied = snapshots.copy(source.key, prefix + source.path, if_match=source.etag)
        except (ObjectNotFound, PreconditionFailed) as error:
            raise SnapshotDamaged(f"{source.key} is gone or changed.", remedy="Start a new run.") from error
        if copied.sha256 != source.sha256:
            raise SnapshotDamaged(f"The copy of {source.key} has another SHA-256.", remedy="Start a new run.")

    in_parallel(copy, sources)
    return write_document(snapshots, keys.manifest(manifest.collection, manifest.version), manifest)


def check_gate(snapshots: ObjectStore, manifest: Manifest) -> None:
    """What must hold before a version is promoted: every check passed, every file is there in its size.

    Raises `CheckFailed`, `SnapshotDamaged`.
    """
    failed = [check for check in manifest.checks if not check.passed]
    if failed or not manifest.checks:
        what = ", ".join(f"{check.name} ({check.detail})" for check in failed) or "no check was made"
        raise CheckFailed(f"{manifest.version} of {manifest.collection}: {what}.", remedy="Nothing was published.")
    prefix = keys.version(manifest.collection, manifest.version)
    sizes = {found.key: found.size for found in snapshots.list(prefix)}
    for file in manifest.files:
        if sizes.get(prefix + file.path) != file.size:
            raise SnapshotDamaged(
                f"{prefix}{file.path} has {sizes.get(prefix + file.path)} bytes, not {file.size}.",
                remedy="Nothing was published; start a new run.",
            )


def version_files(sources: Sequence[StagedFile]) -> list[VersionFile]:
    """What a manifest says of files. Raises `ManifestDamaged` where two have one path or one is called manifest."""
    files = [VersionFile(path=source.path, size=source.size, sha256=source.sha256) for source in sources]
    paths = {file.path for file in files}
    if len(paths) < len(files) or keys.MANIFEST_FILE in paths:
        raise ManifestDamaged("Two files have the same path, or one is called manifest.json.")
    return files
