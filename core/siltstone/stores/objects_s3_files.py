"""Files to and from S3, in parallel parts where they are large.

One PUT moves about 80 to 100 MB/s, several parts at once fill a Lambda's network. boto3's own transfer manager would
do as much, but for a file in parts S3 keeps only a hash of the parts' hashes, so nothing would compare the file with
the SHA-256 that the caller recorded. Here each part is read once: the same bytes go into the file's hash and into the
part's, which S3 checks. The upload is completed only if the file's hash is the recorded one.
"""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from siltstone.errors import InvalidInput, SnapshotTooLarge, StoreUnavailable
from siltstone.stores.aws import store_errors

if TYPE_CHECKING:
    from siltstone.stores.objects_s3 import S3Objects

A = TypeVar("A")

PART_BYTES = 16 * 2**20  # S3 takes parts from 5 MiB on; eight of these in flight are 128 MiB of memory
_PARALLEL = 8
_COPY_LIMIT = 5 * 2**30  # CopyObject takes no more, and every file here is copied once
_RANGE_ATTEMPTS = 3  # botocore retries requests, not bodies that break off half way


def put_file(store: S3Objects, key: str, path: Path, *, sha256: str, part_bytes: int) -> str:
    """Stream ``path`` up and return the ETag. Raises `InvalidInput` if it does not have the hex ``sha256``."""
    size = path.stat().st_size
    if size > _COPY_LIMIT:
        raise SnapshotTooLarge(f"{path.name} has {size} bytes; S3 copies at most {_COPY_LIMIT}.", remedy="Use shards.")
    if size <= part_bytes:
        body = path.read_bytes()
        _check(path, hashlib.sha256(body).hexdigest(), sha256)
        return store.put(key, body)
    upload = store.call("create_multipart_upload", key, ChecksumAlgorithm="SHA256")["UploadId"]
    try:
        parts = _put_parts(store, key, path, upload, sha256=sha256, part_bytes=part_bytes)
        reply = store.call("complete_multipart_upload", key, UploadId=upload, MultipartUpload={"Parts": parts})
        return str(reply["ETag"]).strip('"')
    except BaseException:
        with suppress(Exception):  # the bucket's lifecycle removes what is left of it
            store.call("abort_multipart_upload", key, UploadId=upload)
        raise


def get_file(store: S3Objects, key: str, path: Path, *, if_match: str | None, part_bytes: int) -> None:
    """Stream ``key`` into ``path``. All ranges carry ``If-Match``, so they are of one object."""
    condition = {} if if_match is None else {"IfMatch": f'"{if_match}"'}
    reply = store.call("get_object", key, **condition)
    size, etag = int(reply["ContentLength"]), str(reply["ETag"])
    with path.open("wb") as file:
        file.truncate(size)
    rest = range(part_bytes, size, part_bytes)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        ranges = [
            pool.submit(_get_range, store, key, path, etag, (start, min(start + part_bytes, size))) for start in rest
        ]
        try:
            first = min(part_bytes, size)
            try:
                with store_errors(f"Reading {store.bucket}/{key}"), reply["Body"] as body:
                    _write_at(path, 0, body, first)
            except StoreUnavailable:
                _get_range(store, key, path, etag, (0, first))
            for done in ranges:
                done.result()
        except BaseException:
            for waiting in ranges:
                waiting.cancel()
            raise


def stream(store: S3Objects, key: str, *, if_match: str | None, part_bytes: int) -> Iterator[bytes]:
    """The object's bytes, range by range; all ranges carry ``If-Match``, so they are of one object."""
    condition = {} if if_match is None else {"IfMatch": f'"{if_match}"'}
    found = store.call("head_object", key, **condition)
    size, etag = int(found["ContentLength"]), str(found["ETag"])
    for start in range(0, size, part_bytes):
        yield _read_range(store, key, etag, (start, min(start + part_bytes, size)))


def _put_parts(
    store: S3Objects, key: str, path: Path, upload: str, *, sha256: str, part_bytes: int
) -> list[dict[str, Any]]:
    whole = hashlib.sha256()
    parts: list[dict[str, Any]] = []
    in_flight: deque[Future[dict[str, Any]]] = deque()
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for number, body in enumerate(_chunks(path, part_bytes), start=1):
            whole.update(body)
            if len(in_flight) == _PARALLEL:  # bounds the memory
                parts.append(in_flight.popleft().result())
            in_flight.append(pool.submit(_put_part, store, key, upload, number, body))
        parts.extend(done.result() for done in in_flight)
    _check(path, whole.hexdigest(), sha256)
    return parts


def _put_part(store: S3Objects, key: str, upload: str, number: int, body: bytes) -> dict[str, Any]:
    checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
    reply = store.call("upload_part", key, UploadId=upload, PartNumber=number, Body=body, ChecksumSHA256=checksum)
    return {"PartNumber": number, "ETag": reply["ETag"], "ChecksumSHA256": checksum}


def _get_range(store: S3Objects, key: str, path: Path, etag: str, span: tuple[int, int]) -> None:
    def write(body: Any) -> None:
        _write_at(path, span[0], body, span[1] - span[0])

    _with_range(store, key, etag, span, write)


def _read_range(store: S3Objects, key: str, etag: str, span: tuple[int, int]) -> bytes:
    def read(body: Any) -> bytes:
        found: bytes = body.read()
        if len(found) != span[1] - span[0]:
            raise _ended_early(span[1] - span[0] - len(found))
        return found

    return _with_range(store, key, etag, span, read)


def _with_range(store: S3Objects, key: str, etag: str, span: tuple[int, int], use: Callable[[Any], A]) -> A:
    """``use`` on the body of a range, again if it breaks off."""
    for attempt in range(1, _RANGE_ATTEMPTS + 1):
        try:
            reply = store.call("get_object", key, IfMatch=etag, Range=f"bytes={span[0]}-{span[1] - 1}")
            with store_errors(f"Reading {store.bucket}/{key}"):
                return use(reply["Body"])
        except StoreUnavailable:
            if attempt == _RANGE_ATTEMPTS:
                raise
    raise AssertionError("the last attempt raises")


def _write_at(path: Path, start: int, body: Any, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        left = length
        while left > 0:
            chunk: bytes = body.read(min(left, 2**20))
            if not chunk:
                raise _ended_early(left)
            file.write(chunk)
            left -= len(chunk)


def _ended_early(missing: int) -> StoreUnavailable:
    return StoreUnavailable(f"A body ended {missing} bytes early.", remedy="Try the same state again.")


def _chunks(path: Path, part_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(part_bytes):
            yield chunk


def _check(path: Path, found: str, recorded: str) -> None:
    if found != recorded:
        raise InvalidInput(
            f"{path.name} has SHA-256 {found}, not {recorded}: it changed after it was hashed.",
            remedy="Nothing was written. Run the state again.",
        )
