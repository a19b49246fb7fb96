"""The object store on S3.

**A lost reply of a conditional write looks like a lost race.** When S3 took a put but its reply was lost, botocore
sends the put again, and the second one is refused with 412 because of the first. So `PreconditionFailed` from `put`
means "the key is not as you asked, perhaps by your own hand": the caller reads the key and compares. Bodies are
unique to their writer for that reason (a pointer names the writer's version, a document the writer's run).

Large files travel in parts (:mod:`siltstone.stores.objects_s3_files`).
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast

from botocore.exceptions import ClientError

from siltstone.errors import ObjectNotFound, PreconditionFailed, StoreUnavailable
from siltstone.parallel import chunks
from siltstone.stores import objects_s3_files
from siltstone.stores.aws import code_of, status_of, store_errors
from siltstone.stores.objects import (
    CopyResult,
    ObjectInfo,
    ObjectStore,
    ObjectVersion,
    Page,
    StoredObject,
    read_all_pages,
)
from siltstone.stores.objects_s3_files import PART_BYTES
from siltstone.stores.sending import SEND_SECONDS, TimedBody

_CONFLICT_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)  # seconds, after an HTTP 409
_DELETE_BATCH = 1_000  # keys a DeleteObjects request takes


class S3Objects:
    """`siltstone.stores.objects.ObjectStore` over one bucket.

    ``client``: a boto3 S3 client, made with `siltstone.stores.aws.CLIENT_CONFIG`. Safe for threads, as the client is.
    """

    def __init__(
        self, bucket: str, client: Any, *, part_bytes: int = PART_BYTES, send_seconds: float = SEND_SECONDS
    ) -> None:
        self.bucket = bucket
        self._client = client
        self._part_bytes = part_bytes
        self._send_seconds = send_seconds

    def get(self, key: str, *, if_match: str | None = None) -> StoredObject:
        reply = self.call("get_object", key, **_if_match(if_match))
        with store_errors(f"Reading {self.bucket}/{key}"):
            return StoredObject(_info(key, reply), reply["Body"].read())

    def get_version(self, key: str, version_id: str) -> StoredObject:
        try:
            reply = self.call("get_object", key, VersionId=version_id)
        except ClientError as error:
            if status_of(error) not in {400, 405}:  # no version id of this bucket; a delete marker
                raise
            raise ObjectNotFound(f"There is no version {version_id} of {self.bucket}/{key}.") from error
        with store_errors(f"Reading {self.bucket}/{key}"):
            return StoredObject(_info(key, reply), reply["Body"].read())

    def stream(self, key: str, *, if_match: str | None = None) -> Iterator[bytes]:
        return objects_s3_files.stream(self, key, if_match=if_match, part_bytes=self._part_bytes)

    def get_if_changed(self, key: str, etag: str | None) -> StoredObject | None:
        if etag is None:
            return self.get(key)
        try:
            reply = self.call("get_object", key, IfNoneMatch=_quoted(etag))
        except ClientError as error:
            if status_of(error) == 304:
                return None
            raise
        with store_errors(f"Reading {self.bucket}/{key}"):
            return StoredObject(_info(key, reply), reply["Body"].read())

    def head(self, key: str) -> ObjectInfo | None:
        try:
            return _info(key, self.call("head_object", key))
        except ObjectNotFound:
            return None

    def put(self, key: str, body: bytes, *, create_only: bool = False, if_match: str | None = None) -> str:
        conditions = _if_match(if_match)
        if create_only:
            conditions["IfNoneMatch"] = "*"
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        timed = TimedBody(body, self._send_seconds)
        try:
            with timed.named(f"{self.bucket}/{key}"):
                reply = self.call("put_object", key, Body=timed, ChecksumSHA256=checksum, **conditions)
        except ObjectNotFound as error:  # S3's answer to If-Match on a key that has no current object
            raise PreconditionFailed(f"{key} is gone; it had ETag {if_match}.") from error
        return _unquoted(reply["ETag"])

    def put_file(self, key: str, path: Path, *, sha256: str) -> str:
        return objects_s3_files.put_file(self, key, path, sha256=sha256, part_bytes=self._part_bytes)

    def get_file(self, key: str, path: Path, *, if_match: str | None = None) -> None:
        objects_s3_files.get_file(self, key, path, if_match=if_match, part_bytes=self._part_bytes)

    def copy(self, source_key: str, key: str, *, if_match: str, source: ObjectStore | None = None) -> CopyResult:
        origin = self if source is None else cast("S3Objects", source)
        reply = self.call(
            "copy_object",
            key,
            CopySource={"Bucket": origin.bucket, "Key": source_key},
            CopySourceIfMatch=_quoted(if_match),
            ChecksumAlgorithm="SHA256",
        )["CopyObjectResult"]
        etag, checksum = _unquoted(reply["ETag"]), reply.get("ChecksumSHA256")
        if checksum is None or "-" in checksum:
            # S3 hashes the whole copy, also of an object that came in parts. An emulator may not: read it then.
            return CopyResult(etag, self._hash_by_reading(key, etag))
        return CopyResult(etag, base64.b64decode(checksum).hex())

    def delete(self, key: str, *, if_match: str | None = None) -> None:
        try:
            self.call("delete_object", key, **_if_match(if_match))
        except ObjectNotFound:
            return

    def delete_many(self, keys: list[str]) -> None:
        self._delete_objects([{"Key": key} for key in keys])

    def delete_versions(self, entries: Sequence[ObjectVersion]) -> None:
        self._delete_objects([{"Key": entry.key, "VersionId": entry.version_id} for entry in entries])

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        following = {} if token is None else {"ContinuationToken": token}
        with store_errors(f"Listing {self.bucket}/{prefix}"):
            reply = self._client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, **following)
        objects = tuple(_info(found["Key"], found) for found in reply.get("Contents", []))
        date = reply["ResponseMetadata"]["HTTPHeaders"].get("date")
        if date is None:  # which deltas are settled is told by this clock and no other
            raise StoreUnavailable(f"Listing {self.bucket}/{prefix}: the reply has no Date.")
        return Page(objects, int(parsedate_to_datetime(date).timestamp()), reply.get("NextContinuationToken"))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for page in read_all_pages(self, prefix):
            yield from page.objects

    def list_prefixes(self, prefix: str) -> Iterator[str]:
        for reply in self._pages("list_objects_v2", prefix, Delimiter="/"):
            for found in reply.get("CommonPrefixes", []):
                yield found["Prefix"]

    def list_versions(self, prefix: str, *, first: str = "", last: str | None = None) -> Iterator[ObjectVersion]:
        """As the protocol says. Of two entries of one key and second, only the latest is known to be the newer."""
        # S3 starts after the marker: the marker is a string just before ``first``.
        marker = {"KeyMarker": f"{first[:-1]}{chr(ord(first[-1]) - 1)}~"} if first > prefix else {}
        for reply in self._pages("list_object_versions", prefix, **marker):
            entries = [(found, False) for found in reply.get("Versions", [])]
            entries += [(found, True) for found in reply.get("DeleteMarkers", [])]
            page = [
                ObjectVersion(
                    found["Key"],
                    found["VersionId"],
                    is_delete_marker=gone,
                    is_latest=found["IsLatest"],
                    last_modified=_seconds(found),
                    etag=_unquoted(found.get("ETag", "")),
                    size=int(found.get("Size", 0)),
                )
                for found, gone in entries
            ]
            for entry in sorted(page, key=lambda found: (found.key, not found.is_latest, -found.last_modified)):
                if last is not None and entry.key > last:
                    return
                if entry.key >= first:
                    yield entry

    def call(self, operation: str, key: str, **request: Any) -> dict[str, Any]:
        """One request for ``key``, with S3's refusals turned into the family's errors; a conflict is tried again."""
        for pause in (*_CONFLICT_PAUSES, None):
            try:
                with store_errors(f"{operation} {self.bucket}/{key}"):
                    return getattr(self._client, operation)(Bucket=self.bucket, Key=key, **request)
            except ClientError as error:
                status = status_of(error)
                if status == 409:  # two conditional requests at once: S3 asks to send ours again
                    if pause is not None:
                        time.sleep(pause)
                        if isinstance(body := request.get("Body"), TimedBody):
                            body.seek(0)
                        continue
                    raise StoreUnavailable(f"{operation} {self.bucket}/{key}: {code_of(error)}.") from error
                if status == 412:
                    raise PreconditionFailed(f"{self.bucket}/{key} is not as {operation} asked for it.") from error
                if status == 404:
                    raise ObjectNotFound(f"There is no object {self.bucket}/{key}.") from error
                raise
        raise AssertionError("the last pause is None")

    def _delete_objects(self, objects: list[dict[str, str]]) -> None:
        for batch in chunks(objects, _DELETE_BATCH):
            with store_errors(f"Deleting {len(batch)} objects of {self.bucket}"):
                reply = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})
                for refused in reply.get("Errors", []):
                    if refused["Code"] == "AccessDenied":  # told key by key, in an answer that says OK
                        raise ClientError({"Error": refused}, "DeleteObjects")
                    raise StoreUnavailable(
                        f"{self.bucket}/{refused['Key']} was not deleted: {refused['Code']}.",
                        remedy="Try the same state again.",
                    )

    def _pages(self, operation: str, prefix: str, **request: Any) -> Iterator[dict[str, Any]]:
        replies = iter(self._client.get_paginator(operation).paginate(Bucket=self.bucket, Prefix=prefix, **request))
        while True:
            with store_errors(f"Listing {self.bucket}/{prefix}"):
                reply = next(replies, None)
            if reply is None:
                return
            yield reply

    def _hash_by_reading(self, key: str, etag: str) -> str:
        reply = self.call("get_object", key, IfMatch=_quoted(etag))
        digest = hashlib.sha256()
        with store_errors(f"Reading {self.bucket}/{key}"):
            for chunk in reply["Body"].iter_chunks(2**20):
                digest.update(chunk)
        return digest.hexdigest()


def _quoted(etag: str) -> str:
    return f'"{etag}"'


def _unquoted(etag: str) -> str:
    return etag.strip('"')


def _if_match(etag: str | None) -> dict[str, str]:
    return {} if etag is None else {"IfMatch": _quoted(etag)}


def _seconds(reply: dict[str, Any]) -> int:
    """S3's times are whole seconds; an emulator's may not be, and order must not rest on the difference."""
    return int(reply["LastModified"].timestamp())


def _info(key: str, reply: dict[str, Any]) -> ObjectInfo:
    size = reply["Size"] if "Size" in reply else reply["ContentLength"]
    return ObjectInfo(key, _unquoted(reply["ETag"]), int(size), _seconds(reply))
