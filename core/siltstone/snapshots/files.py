"""Files of a version or of staged work on the local disk: listed, hashed, compared, copied byte for byte."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from siltstone.errors import DiskFull, ManifestDamaged
from siltstone.parallel import in_parallel


class Named(Protocol):
    """What a manifest or plan says of a file: its path in the folder, its size in bytes, its SHA-256 in hex."""

    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def local_path(folder: Path, path: str) -> Path:
    """Where ``path`` of a document lies under ``folder``. Raises `ManifestDamaged` if it would lie elsewhere.

    The documents check their paths too; this holds whoever made the list.
    """
    pure = PurePosixPath(path)
    if str(pure) != path or path in {"", "."} or pure.is_absolute() or {"..", ""} & set(pure.parts) or "\\" in path:
        raise ManifestDamaged(f"The path {path[:80]!r} leaves its folder.", remedy="Run `siltstone verify`.")
    return folder / path


def files_in(folder: Path) -> list[str]:
    """Relative paths of everything in ``folder`` that is not a folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def folder_bytes(folder: Path) -> int:
    """Size of everything in ``folder``, bytes."""
    return sum((folder / path).stat().st_size for path in files_in(folder))


def differences(folder: Path, files: Sequence[Named]) -> list[str]:
    """What in ``folder`` is not as recorded: missing, of another size or hash, a link, or not recorded at all.

    A stranger counts: a left-over ``chroma.sqlite3-journal`` would be rolled back into the database at the next open.
    """
    found = dict.fromkeys(set(files_in(folder)) - {file.path for file in files}, "is not recorded")
    right_size: list[Named] = []
    for file in files:
        path = local_path(folder, file.path)
        if path.is_symlink() or not path.is_file():
            found[file.path] = "is missing"
        elif path.stat().st_size != file.size:
            found[file.path] = f"has {path.stat().st_size} bytes instead of {file.size}"
        else:
            right_size.append(file)
    hashes = in_parallel(sha256_of, [folder / file.path for file in right_size])
    for file, digest in zip(right_size, hashes, strict=True):
        if digest != file.sha256:
            found[file.path] = "has another SHA-256"
    return [f"{path} {what}" for path, what in sorted(found.items())]


def copy_folder(source: Path, target: Path) -> None:
    """Copy byte for byte into a new folder. Never links: Chroma writes into the files that it finds.

    Raises `DiskFull`; nothing is left of ``target`` then.
    """
    with room_for(target):
        shutil.copytree(source, target, copy_function=shutil.copyfile)


@contextmanager
def room_for(folder: Path) -> Generator[None]:
    """Turn a full disk into `DiskFull`, and remove ``folder`` after any failure: half of one is of no use."""
    try:
        yield
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if _disk_is_full(error):
            raise DiskFull(
                f"No room on the scratch disk for {folder.name}.",
                remedy="Give the function more ephemeral storage, or shard the collection.",
            ) from error
        raise


def _disk_is_full(error: BaseException) -> bool:
    if isinstance(error, shutil.Error):  # copytree gathers what it met as (source, target, text)
        return "No space left" in str(error) or "Disk quota" in str(error)
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
