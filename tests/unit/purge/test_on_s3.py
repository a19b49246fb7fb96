"""The same over S3's own histories: real version ids, delete markers and bulk deletions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from siltstone.errors import BadSettings
from siltstone.stores.aws import CLIENT_CONFIG
from siltstone.stores.objects_s3 import S3Objects

from tests.unit.embedding.house import text
from tests.unit.purge.test_purge_source import SECRET, A, held, purge, traces
from tests.unit.sources.stage import Stage


@pytest.fixture
def client() -> Iterator[Any]:
    account = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    with mock.patch.dict("os.environ", account), mock_aws():
        client = boto3.client("s3", config=CLIENT_CONFIG)
        for name in ("deltas", "snapshots"):
            client.create_bucket(Bucket=name)
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        yield client


class Denied:
    """S3 says so key by key, in an answer with status 200."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def delete_objects(self, *, Delete: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: N803
        refused = [found for found in Delete["Objects"] if "VersionId" in found]
        if not refused:
            return self._client.delete_objects(Delete=Delete, **more)
        return {"Errors": [{**found, "Code": "AccessDenied", "Message": "no"} for found in refused]}


def stage_on(client: Any, workspace: Path) -> Stage:
    stage = Stage(workspace)
    stores = {"deltas": S3Objects("deltas", client), "snapshots": S3Objects("snapshots", client)}
    stage.stores = stage.with_stores(**stores).stores
    return stage


def test_what_is_ours_and_the_providers_goes_at_once_and_the_waiting_delta_is_held(client: Any, tmp_path: Path) -> None:
    stage = stage_on(client, tmp_path)
    stage.load(text("a", f"my {SECRET}"), text("b", "harmless"))
    stage.run("p")
    first = purge(stage)
    assert first.removed["body"] >= 1
    assert {"batch", "provider"} <= first.removed.keys()
    assert {"delta"} <= held(first).keys()
    left = {key.split("/")[0] for key in traces(stage, SECRET)}
    assert left == {"deltas"}
    assert list(stage.stores.deltas.list_versions("sources/text/text.texts.a")) == []


def test_a_missing_right_is_named(client: Any, tmp_path: Path) -> None:
    stage = stage_on(client, tmp_path)
    stage.load(text("a", SECRET))
    stage.run("p")
    denied = stage_on(Denied(client), tmp_path)
    denied.stores = stage.with_stores(deltas=S3Objects("deltas", Denied(client))).stores
    with pytest.raises(BadSettings, match="AccessDenied") as caught:
        purge(denied, A)
    assert isinstance(caught.value.__cause__, ClientError)  # the command ends with 3: not permitted
