"""Bring a version's files to the local disk: under a temporary name, verified, then renamed.

Chroma does not notice most damage: an index file cut in half opens, counts right and answers wrongly, and a flipped
block kills the process. So nothing opens a file before its size and SHA-256 are as the manifest says.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ulid import ULID

from siltstone import keys
from siltstone.compaction.documents import Manifest
from siltstone.compaction.manifests import read_manifest
from siltstone.errors import ManifestDamaged, ObjectNotFound, PreconditionFailed, SnapshotDamaged
from siltstone.parallel import in_parallel
from siltstone.snapshots.files import differences, local_path, room_for
from siltstone.stores.objects import ObjectStore


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: ``key`` in the bucket (of ``etag``, if known) becomes ``path``. ``size`` in bytes."""

    path: str
    key: str
    size: int
    sha256: str
    etag: str | None = None


def restore_version(snapshots: ObjectStore, manifest: Manifest, folder: Path) -> None:
    """Make ``folder`` hold exactly the version's files, verified.

    What is there already is used if every hash still matches, else it is fetched again: opening a directory changes it,
    so open ``folder`` only if you will not come back for it, else open a `copy_folder` of it.
    Raises `UnknownVersion`, `ManifestDamaged`, `SnapshotDamaged`, `DiskFull`, `StoreUnavailable`.
    """
    prefix = keys.version(manifest.collection, manifest.version)
    files = [RemoteFile(file.path, prefix + file.path, file.size, file.sha256) for file in manifest.files]
    try:
        restore_files(snapshots, files, folder)
    except SnapshotDamaged:
        # Retention may have removed the version meanwhile, manifest first: that is no damage but `UnknownVersion`.
        read_manifest(snapshots, manifest.collection, manifest.version)
        raise


def restore_files(store: ObjectStore, files: Sequence[RemoteFile], folder: Path) -> None:
    """Make ``folder`` hold exactly ``files``, fetched in parallel, or warm if every hash still matches.

    Raises `SnapshotDamaged` if an object is gone, changed or not as recorded, `ManifestDamaged` for paths that leave
    the folder or clash, `DiskFull`. Nothing is left on the disk then.
    """
    _check_paths(files)
    if folder.is_dir():
        if not differences(folder, files):
            return
        shutil.rmtree(folder)
    partial = folder.with_name(f"{folder.name}.{ULID()}.partial")
    with room_for(partial):
        partial.mkdir(parents=True)
        _fetch(store, files, partial)
        wrong = differences(partial, files)
        if wrong:
            raise SnapshotDamaged(
                f"{folder.name}: {'; '.join(wrong)[:400]}.",
                remedy="Roll back to another version, or bring back the object's earlier version in the bucket.",
            )
        partial.rename(folder)


def _fetch(store: ObjectStore, files: Sequence[RemoteFile], folder: Path) -> None:
    targets = [local_path(folder, file.path) for file in files]
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)

    def fetch(task: tuple[RemoteFile, Path]) -> None:
        file, target = task
        try:
            store.get_file(file.key, target, if_match=file.etag)
        except (ObjectNotFound, PreconditionFailed) as error:
            raise SnapshotDamaged(f"{file.key} is gone or changed.", remedy="Run `siltstone verify`.") from error

    in_parallel(fetch, zip(files, targets, strict=True))


def _check_paths(files: Sequence[RemoteFile]) -> None:
    paths = {file.path for file in files}
    parents = {parent.as_posix() for file in files for parent in Path(file.path).parents}
    if len(paths) < len(files) or paths & parents:
        raise ManifestDamaged("Two files of a list have one path.", remedy="Run `siltstone verify`.")
    for path in paths:
        local_path(Path(), path)
