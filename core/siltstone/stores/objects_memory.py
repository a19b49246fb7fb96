"""The object store in memory, as unkind as S3: the tests that pass here must mean something there.

It keeps every version and delete marker, cuts times to whole seconds, lets a create-only write succeed over a
delete marker, writes a delete marker even for a key that never existed, and lists page by page over the live
state, objects and histories alike: what is written between two pages shows up or not, depending on its key.
"""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from siltstone.clock import Clock
from siltstone.errors import InvalidInput, ObjectNotFound, PreconditionFailed
from siltstone.stores.objects import (
    CopyResult,
    ObjectInfo,
    ObjectStore,
    ObjectVersion,
    Page,
    StoredObject,
    read_all_pages,
)


@dataclass(frozen=True)
class _Entry:
    """One version of a key; ``body`` is ``None`` for a delete marker."""

    version_id: str
    body: bytes | None
    etag: str
    last_modified: int


class MemoryObjects:
    """`siltstone.stores.objects.ObjectStore` in a dictionary. Safe for threads; ``clock`` is the store's clock."""

    def __init__(self, clock: Clock, *, page_size: int = 1_000) -> None:
        self._clock = clock
        self._page_size = page_size
        self._history: dict[str, list[_Entry]] = {}  # oldest first
        self._keys: list[str] = []  # of the history, sorted
        self._written = 0
        self._lock = threading.RLock()

    def get(self, key: str, *, if_match: str | None = None) -> StoredObject:
        with self._lock:
            entry = self._current(key)
            if entry is None or entry.body is None:
                raise ObjectNotFound(f"There is no object {key}.")
            if if_match is not None and entry.etag != if_match:
                raise PreconditionFailed(f"{key} has ETag {entry.etag}, not {if_match}.")
            return StoredObject(_info(key, entry), entry.body)

    def get_version(self, key: str, version_id: str) -> StoredObject:
        with self._lock:
            for entry in self._history.get(key, []):
                if entry.version_id == version_id and entry.body is not None:
                    return StoredObject(_info(key, entry), entry.body)
            raise ObjectNotFound(f"There is no version {version_id} of {key}.")

    def stream(self, key: str, *, if_match: str | None = None) -> Iterator[bytes]:
        yield self.get(key, if_match=if_match).body

    def get_if_changed(self, key: str, etag: str | None) -> StoredObject | None:
        found = self.get(key)
        return None if found.info.etag == etag else found

    def head(self, key: str) -> ObjectInfo | None:
        with self._lock:
            entry = self._current(key)
            return None if entry is None else _info(key, entry)

    def put(self, key: str, body: bytes, *, create_only: bool = False, if_match: str | None = None) -> str:
        with self._lock:
            entry = self._current(key)
            if create_only and entry is not None:
                raise PreconditionFailed(f"{key} exists already.")
            if if_match is not None and (entry is None or entry.etag != if_match):
                raise PreconditionFailed(f"{key} is gone or no longer has ETag {if_match}.")
            return self._append(key, bytes(body)).etag

    def put_file(self, key: str, path: Path, *, sha256: str) -> str:
        body = path.read_bytes()
        if hashlib.sha256(body).hexdigest() != sha256:
            raise InvalidInput(f"{path.name} does not have the SHA-256 {sha256}.", remedy="Nothing was written.")
        return self.put(key, body)

    def get_file(self, key: str, path: Path, *, if_match: str | None = None) -> None:
        path.write_bytes(self.get(key, if_match=if_match).body)

    def copy(self, source_key: str, key: str, *, if_match: str, source: ObjectStore | None = None) -> CopyResult:
        body = (source or self).get(source_key, if_match=if_match).body
        return CopyResult(etag=self.put(key, body), sha256=hashlib.sha256(body).hexdigest())

    def delete(self, key: str, *, if_match: str | None = None) -> None:
        with self._lock:
            entry = self._current(key)
            if if_match is not None:
                if entry is None:
                    return
                if entry.etag != if_match:
                    raise PreconditionFailed(f"{key} has ETag {entry.etag}, not {if_match}.")
            self._append(key, None)

    def delete_many(self, keys: list[str]) -> None:
        for key in keys:
            self.delete(key)

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        with self._lock:
            found: list[ObjectInfo] = []
            for key in self._keys_from(prefix, prefix, token):
                entry = self._current(key)
                if entry is not None:
                    found.append(_info(key, entry))
                    if len(found) > self._page_size:
                        break
            page = tuple(found[: self._page_size])
            return Page(page, int(self._clock.now()), page[-1].key if len(found) > len(page) else None)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for page in read_all_pages(self, prefix):
            yield from page.objects

    def list_prefixes(self, prefix: str) -> Iterator[str]:
        last = ""
        for info in self.list(prefix):
            name, slash, _ = info.key[len(prefix) :].partition("/")
            if slash and name != last:
                last = name
                yield f"{prefix}{name}/"

    def list_versions(self, prefix: str, *, first: str = "", last: str | None = None) -> Iterator[ObjectVersion]:
        token: str | None = None
        while True:
            page, token = self.list_versions_page(prefix, token, first=first, last=last)
            yield from page
            if token is None:
                return

    def list_versions_page(
        self, prefix: str, token: str | None = None, *, first: str = "", last: str | None = None
    ) -> tuple[list[ObjectVersion], str | None]:
        """One page, of whole keys, and where the next one goes on."""
        with self._lock:
            keys = list(islice(self._keys_from(prefix, max(prefix, first), token, last), self._page_size + 1))
            found = [
                ObjectVersion(
                    key,
                    entry.version_id,
                    is_delete_marker=entry.body is None,
                    is_latest=place == 0,
                    last_modified=entry.last_modified,
                    etag=entry.etag,
                    size=len(entry.body or b""),
                )
                for key in keys[: self._page_size]
                for place, entry in enumerate(reversed(self._history[key]))
            ]
            return found, keys[self._page_size - 1] if len(keys) > self._page_size else None

    def delete_versions(self, entries: Sequence[ObjectVersion]) -> None:
        with self._lock:
            for entry in entries:
                kept = [each for each in self._history.get(entry.key, []) if each.version_id != entry.version_id]
                if kept:
                    self._history[entry.key] = kept
                elif self._history.pop(entry.key, None) is not None:
                    del self._keys[bisect_left(self._keys, entry.key)]

    def restore(self, key: str, version_id: str) -> None:
        """Delete everything newer than ``version_id``: how an operator undoes a delete in a versioned bucket."""
        with self._lock:
            entries = self._history.get(key, [])
            places = [place for place, entry in enumerate(entries) if entry.version_id == version_id]
            if not places:
                raise ObjectNotFound(f"There is no version {version_id} of {key}.")
            del entries[places[0] + 1 :]

    def _keys_from(self, prefix: str, first: str, after: str | None, last: str | None = None) -> Iterator[str]:
        """Keys under ``prefix``, deleted ones too: from ``first`` or behind ``after``, up to ``last``."""
        place = bisect_left(self._keys, first) if after is None else bisect_right(self._keys, after)
        for key in islice(self._keys, place, None):
            if not key.startswith(prefix) or (last is not None and key > last):
                return
            yield key

    def _current(self, key: str) -> _Entry | None:
        entries = self._history.get(key)
        return entries[-1] if entries and entries[-1].body is not None else None

    def _append(self, key: str, body: bytes | None) -> _Entry:
        self._written += 1
        etag = "" if body is None else hashlib.md5(body, usedforsecurity=False).hexdigest()
        entry = _Entry(f"v{self._written:08d}", body, etag, int(self._clock.now()))
        if key not in self._history:
            insort(self._keys, key)
        self._history.setdefault(key, []).append(entry)
        return entry


def _info(key: str, entry: _Entry) -> ObjectInfo:
    return ObjectInfo(key, entry.etag, len(entry.body or b""), entry.last_modified)
