"""Which ids may differ between the two sides: a mark is written before a write, and removed once both have it.

A mark holds ids, not vectors: what is right is read from the side that was written first when it is healed. So a mark
that is healed late, twice or for nothing does no harm, and a process that dies anywhere leaves its mark.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError
from ulid import ULID

from siltstone.compaction.messages import Message
from siltstone.dual.phases import Side
from siltstone.errors import ManifestDamaged, StoreUnavailable
from siltstone.stores.objects import ObjectStore

_numbers = itertools.count()  # of this process: two marks of one microsecond keep their order


class Mark(Message):
    """``right``: the side that was written first. ``ids``: ``None`` is every id of the namespace (a write by filter).

    ``time``: epoch seconds, by the writer's clock; ``name`` grows with it.
    """

    name: str
    time: float
    namespace: str
    right: Side
    ids: list[str] | None
    call: str

    @staticmethod
    def new(time: float, namespace: str, right: Side, ids: list[str] | None, call: str) -> Mark:
        name = f"{int(time * 1_000_000):017d}-{next(_numbers):08d}-{ULID()}"
        return Mark(name=name, time=time, namespace=namespace, right=right, ids=ids, call=call)


class Journal(Protocol):
    """Marks that outlive the process. Every method raises `StoreUnavailable` where it can't be reached."""

    def add(self, mark: Mark) -> None:
        """Durable when it returns."""
        ...

    def remove(self, mark: Mark) -> None:
        """One that is gone is no error."""
        ...

    def marks(self) -> list[Mark]:
        """The oldest first. Raises `ManifestDamaged` for what is no mark."""
        ...


class FolderJournal:
    """A file for each mark in a folder of a disk that outlives the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, mark: Mark) -> None:
        partial = self._folder / f"{mark.name}.partial"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with partial.open("w") as file:
                file.write(mark.model_dump_json())
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self._path(mark))
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # the name, too
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unavailable(error) from error

    def remove(self, mark: Mark) -> None:
        try:
            self._path(mark).unlink(missing_ok=True)
        except OSError as error:
            raise _unavailable(error) from error

    def marks(self) -> list[Mark]:
        found: list[Mark] = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append(_parse(path.read_bytes(), str(path)))
            except FileNotFoundError:
                continue  # removed meanwhile
            except OSError as error:
                raise _unavailable(error) from error
        return found

    def _path(self, mark: Mark) -> Path:
        return self._folder / f"{mark.name}.json"


class BucketJournal:
    """An object for each mark under ``prefix``: for processes without a disk, and for several."""

    def __init__(self, store: ObjectStore, prefix: str = "migration/marks/") -> None:
        self._store = store
        self._prefix = prefix

    def add(self, mark: Mark) -> None:
        self._store.put(self._key(mark), mark.model_dump_json().encode(), create_only=True)

    def remove(self, mark: Mark) -> None:
        self._store.delete(self._key(mark))

    def marks(self) -> list[Mark]:
        bodies = [(each.key, self._store.get_if_changed(each.key, None)) for each in self._store.list(self._prefix)]
        return sorted((_parse(found.body, key) for key, found in bodies if found), key=lambda mark: mark.name)

    def _key(self, mark: Mark) -> str:
        return f"{self._prefix}{mark.name}.json"


def _parse(body: bytes, where: str) -> Mark:
    try:
        return Mark.model_validate_json(body)
    except ValidationError as error:
        raise ManifestDamaged(f"{where} is no mark of a write.", remedy="Look at it, and verify both sides.") from error


def _unavailable(error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"The journal of writes can't be reached: {error}.", remedy="Free the disk, or mount it.")
