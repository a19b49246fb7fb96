"""A merge's working files between its turns: brought to the disk from the base or from staging, and staged again.

::

    files/store/...      the Chroma directory that the parts are applied to
    files/rebuild/...    its replacement, while a rebuild is under way
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from ulid import ULID

from siltstone import keys
from siltstone.compaction.documents import Check, Plan, RowCounts, StagedFile, Work
from siltstone.compaction.manifests import read_manifest
from siltstone.compaction.messages import MergeInput, Ref, Run
from siltstone.compaction.staging import read_document, write_document
from siltstone.errors import ManifestDamaged, SettingsMismatch
from siltstone.parallel import in_parallel
from siltstone.snapshots.files import copy_folder, files_in, sha256_of
from siltstone.snapshots.restore import RemoteFile, restore_files, restore_version
from siltstone.snapshots.scratch import Scratch
from siltstone.stores.objects import ObjectStore

STATE = "Merge"
FILES = "files"
STORE = "store"
REBUILD = "rebuild"


@dataclass
class Progress:
    """How far a merge came. ``dead_slots``: of the index in ``files/store``."""

    parts_done: int
    counts: RowCounts
    dead_slots: int


def bring(request: MergeInput, plan: Plan, snapshots: ObjectStore, scratch: Scratch, files: Path) -> Progress:
    """Fill ``files`` with the work of the turn before, or a copy of the base, or nothing where there is no base.

    Raises `SnapshotDamaged` before anything damaged is opened, `ManifestDamaged`, `SettingsMismatch`, `DiskFull`.
    """
    if request.work is not None:
        return _bring_work(request.work, plan, snapshots, scratch, files)
    files.mkdir()
    if plan.base.version is None:
        return Progress(0, RowCounts(), 0)
    return _bring_base(plan.base.version, plan, snapshots, scratch, files)


def stage(snapshots: ObjectStore, run: Run, folder: Path, progress: Progress, checks: tuple[Check, ...] = ()) -> Ref:
    """Upload the files of ``folder``, closed, under a prefix of this attempt alone, and name them in one document."""
    prefix = keys.staging(run.collection, run.run_id, STATE, str(ULID()))

    def upload(path: str) -> StagedFile:
        local = folder / path
        digest = sha256_of(local)
        etag = snapshots.put_file(prefix + path, local, sha256=digest)
        return StagedFile(path=path, key=prefix + path, etag=etag, size=local.stat().st_size, sha256=digest)

    files = in_parallel(upload, files_in(folder))
    work = Work(
        parts_done=progress.parts_done,
        counts=progress.counts,
        dead_slots=progress.dead_slots,
        files=files,
        checks=checks,
    )
    return write_document(snapshots, f"{prefix}work.json", work)


def keep_warm(scratch: Scratch, work: Ref, files: Path) -> None:
    """Leave staged files where the next turn, should it run on this machine, finds them."""
    with scratch.kept(_warm_name(work)) as entry:
        files.rename(entry / FILES)


def _bring_work(ref: Ref, plan: Plan, snapshots: ObjectStore, scratch: Scratch, files: Path) -> Progress:
    work = read_document(snapshots, ref, Work)
    if work.checks or work.parts_done > len(plan.parts):
        raise ManifestDamaged(f"{ref.key} is not work to continue.", remedy="Start a new run.")
    staged = [RemoteFile(file.path, file.key, file.size, file.sha256, file.etag) for file in work.files]
    with scratch.kept(_warm_name(ref)) as entry:
        _remove_partials(entry)
        scratch.make_room(sum(file.size for file in staged))
        restore_files(snapshots, staged, entry / FILES)
        (entry / FILES).rename(files)
        entry.rmdir()
    return Progress(work.parts_done, work.counts, work.dead_slots)


def _bring_base(version: str, plan: Plan, snapshots: ObjectStore, scratch: Scratch, files: Path) -> Progress:
    manifest = read_manifest(snapshots, plan.collection, version)
    if manifest.settings != plan.settings:
        raise SettingsMismatch(
            f"{version} of {plan.collection} has other settings than this run's plan.",
            remedy="The manifest wins: correct the stage's settings, or build a new collection and move an alias.",
        )
    # A collection's name may be longer than a file's may.
    name = hashlib.sha256(plan.collection.encode()).hexdigest()[:16]
    with scratch.kept(f"base-{name}-{version}") as entry:
        _remove_partials(entry)
        scratch.make_room(2 * manifest.total_bytes)
        restore_version(snapshots, manifest, entry / FILES)
        copy_folder(entry / FILES, files / STORE)
    counts = RowCounts(before=manifest.counts.after, after=manifest.counts.after)
    return Progress(0, counts, manifest.dead_slots)


def _warm_name(work: Ref) -> str:
    return f"work-{work.sha256}"


def _remove_partials(entry: Path) -> None:
    """A download that was killed. The entry is locked, so none is under way."""
    for partial in entry.glob("*.partial"):
        shutil.rmtree(partial)
