"""The function ``query`` over S3: invoked directly it raises errors by name, over HTTP they become statuses."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws
from siltstone import keys
from siltstone.errors import (
    BacklogTooLarge,
    BadEvent,
    BadQuery,
    BadSettings,
    SnapshotDamaged,
    StoreUnavailable,
    UnknownCollection,
)

from tests.unit.query.house import CHROMA, House, names, vector

BUCKETS = {"DELTA_BUCKET": "the-deltas", "SNAPSHOT_BUCKET": "the-snapshots"}


@dataclass
class Context:
    aws_request_id: str = "request-1"
    function_name: str = "query"
    memory_limit_in_mb: int = 128
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:query"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """20 rows merged, one pending."""
    made = House(tmp_path_factory.mktemp("house"), CHROMA)
    made.upsert(*names(20), seed=1)
    made.compact()
    made.upsert("new", seed=2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def function(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    variables = {
        **BUCKETS,
        "SILTSTONE_STAGE": "test",
        "LOCK_TABLE": "locks",
        "LEDGER_TABLE": "ledger",
        "SOURCE_TABLE": "sources",
        "DELTA_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/deltas",
        "SILTSTONE_COLLECTIONS": house.book.model_dump_json(),
        "SCRATCH_DIR": str(tmp_path_factory.mktemp("scratch")),
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "POWERTOOLS_TRACE_DISABLED": "1",
        "POWERTOOLS_SERVICE_NAME": "siltstone",
        "POWERTOOLS_METRICS_NAMESPACE": "ChromaDB/Compaction",
    }
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in variables.items():
            patch.setenv(name, value)
        s3 = boto3.client("s3")
        for bucket, store in ((BUCKETS["DELTA_BUCKET"], house.deltas), (BUCKETS["SNAPSHOT_BUCKET"], house.snapshots)):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            for found in list(store.list("")):
                s3.put_object(Bucket=bucket, Key=found.key, Body=store.get(found.key).body)
        from functions import query as module
        from functions._environment import environment
        from functions._stores import stores

        made = [environment, stores, module._readers]
        for cached in made:
            cached.cache_clear()
        patch.setattr(module, "provider", lambda: house.provider)
        yield module
        module._readers().snapshots.close()
        for cached in made:
            cached.cache_clear()


def over_http(function: ModuleType, body: object, *, encoded: bool = False) -> tuple[int, dict[str, Any]]:
    text = body if isinstance(body, str) else json.dumps(body)
    event = {
        "version": "2.0",
        "rawPath": "/",
        "requestContext": {"http": {"method": "POST"}},
        "body": base64.b64encode(text.encode()).decode() if encoded else text,
        "isBase64Encoded": encoded,
    }
    reply = function.handler(event, Context())
    assert reply["headers"] == {"content-type": "application/json"}
    return reply["statusCode"], json.loads(reply["body"])


def test_it_answers_a_direct_invocation(function: ModuleType, house: House) -> None:
    asked = {"collection_name": "texts", "query_text": "x", "n_results": 3, "metadata_filter": {"seed": 1}}
    answer = function.handler(asked, Context())
    assert json.loads(json.dumps(answer)) == answer
    expected = house.ask(query_text="x", n_results=3, metadata_filter={"seed": 1}).results
    assert expected is not None
    assert answer["results"]["ids"] == expected.ids
    assert answer["results"]["distances"] == pytest.approx(expected.distances)
    assert answer["version"] and answer["version_age_seconds"] >= 0 and answer["pending_deltas"] is None
    strong = function.handler({**asked, "metadata_filter": {"seed": 2}, "consistency": "strong"}, Context())
    assert (strong["results"]["ids"], strong["pending_deltas"]) == (["new"], 1)


@pytest.mark.parametrize("encoded", [False, True])
def test_it_answers_over_http(function: ModuleType, encoded: bool) -> None:
    status, answer = over_http(
        function, {"collection_name": "texts", "operation": "get", "ids": ["r0003", "é"]}, encoded=encoded
    )
    assert (status, answer["results"]["ids"], answer["results"]["documents"]) == (200, ["r0003"], ["text 1 of r0003"])
    status, answer = over_http(function, {"collection_name": "texts", "operation": "count"}, encoded=encoded)
    assert (status, answer["count"]) == (200, 20)


@pytest.mark.parametrize(
    ("body", "status", "error", "named"),
    [
        ({"collection_name": "texts", "operation": "get", "limit": 0}, 400, "BadEvent", "limit"),
        ({"collection_name": "texts"}, 400, "BadEvent", "query_text"),
        ({"collection_name": "texts", "query_embedding": [1.0]}, 400, "BadQuery", "query_embedding"),
        ('{"collection_name": "texts", "query_embedding": [' + "NaN," * 31 + "1]}", 400, "BadQuery", "query_embedding"),
        (
            {"collection_name": "texts", "operation": "count", "metadata_filter": {"a": {"$exists": 1}}},
            400,
            "BadQuery",
            "metadata_filter.a.$exists",
        ),
        (
            {"collection_name": "texts", "operation": "count", "where_document": {"$regex": "("}},
            400,
            "BadQuery",
            "where_document.$regex",
        ),
        ("", 400, "BadEvent", "query_text"),
        ("not json", 400, "BadEvent", "not JSON"),
        ("[1, 2]", 400, "BadEvent", "the event"),
        ("[" * 100_000, 400, "BadEvent", "not JSON"),
        ('{"n_results": 1' + "0" * 5_000 + "}", 400, "BadEvent", "not JSON"),
        ({"collection_name": "others", "operation": "count"}, 404, "UnknownCollection", "others"),
        (
            {"collection_name": "texts", "operation": "count", "version": "20260131_235959_00000042"},
            404,
            "UnknownVersion",
            "20260131_235959_00000042",
        ),
    ],
)
def test_what_the_caller_got_wrong_is_said_by_status_name_and_field(
    function: ModuleType, body: object, status: int, error: str, named: str
) -> None:
    found, answer = over_http(function, body)
    assert (found, answer["error"]) == (status, error)
    assert named in answer["message"]


def test_a_body_that_is_not_base64_is_refused(function: ModuleType) -> None:
    event = {"requestContext": {}, "body": "%%%", "isBase64Encoded": True}
    assert function.handler(event, Context())["statusCode"] == 400


def test_a_body_that_is_no_text_is_refused(function: ModuleType) -> None:
    assert function.handler({"requestContext": {}, "body": {"n_results": 1}}, Context())["statusCode"] == 400


def test_a_right_that_the_function_lacks_is_no_bad_request(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise BadSettings("Reading the-snapshots: AccessDenied.")

    monkeypatch.setattr(function, "query", refused)
    status, answer = over_http(function, {"query_text": "x"})
    assert (status, answer["error"]) == (503, "BadSettings")


@pytest.mark.parametrize("name", ["\ud800abc", "a" * 100_000, ["a"] * 50_000])
def test_a_name_that_is_none_costs_no_log_line_and_fills_none(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch, name: object
) -> None:
    from functions._entry import logger

    written = io.BytesIO()
    stream = io.TextIOWrapper(written, "utf-8", write_through=True)  # as Lambda's standard output
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    status, answer = over_http(function, {"collection_name": name, "operation": "count"})
    assert (status, answer["error"]) == (400, "BadEvent")
    assert json.loads(written.getvalue())["error"] == "BadEvent"
    assert len(written.getvalue()) < 5_000


def test_directly_the_same_errors_are_raised_by_name(function: ModuleType) -> None:
    for error, asked in [
        (BadEvent, {"collection_name": "texts", "limit": 0}),
        (BadEvent, [1, 2]),
        (BadEvent, None),
        (BadEvent, 3),
        (BadEvent, "requestContext"),
        (BadQuery, {"collection_name": "texts", "query_embedding": [1.0]}),
        (UnknownCollection, {"collection_name": "others", "operation": "count"}),
    ]:
        with pytest.raises(error):
            function.handler(asked, Context())


@pytest.mark.parametrize("error", [StoreUnavailable("S3 answered 503."), BacklogTooLarge("Too much is pending.")])
def test_what_may_pass_by_itself_is_503(
    function: ModuleType, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(function, "query", fail)
    status, answer = over_http(function, {"query_text": "x"})
    assert (status, answer["error"]) == (503, type(error).__name__)


def test_damage_and_our_own_mistakes_are_errors_of_the_function_and_no_bad_request(
    function: ModuleType, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"collection_name": "texts", "operation": "count"}
    version = house.ask("count").version or ""
    key = keys.version("texts", version) + "chroma.sqlite3"
    s3 = boto3.client("s3")
    s3.put_object(Bucket=BUCKETS["SNAPSHOT_BUCKET"], Key=key, Body=b"damaged")
    function._readers().snapshots.close()
    function._readers.cache_clear()
    with pytest.raises(SnapshotDamaged):
        over_http(function, asked)
    s3.put_object(Bucket=BUCKETS["SNAPSHOT_BUCKET"], Key=key, Body=house.snapshots.get(key).body)
    assert over_http(function, asked)[0] == 200

    def slip(*_: object) -> None:
        raise ValueError("shapes (3,) and (4,) not aligned")

    monkeypatch.setattr(function, "query", slip)
    with pytest.raises(ValueError, match="aligned"):
        over_http(function, asked)


def test_an_answer_that_lambda_would_cut_off_is_refused(function: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function, "_LARGEST_REPLY", 2_000)
    asked = {"collection_name": "texts", "query_embedding": vector(1), "include": ["embeddings"], "n_results": 20}
    status, answer = over_http(function, asked)
    assert (status, answer["error"]) == (400, "AnswerTooLarge")
    assert "embeddings" in answer["message"]
    with pytest.raises(BadQuery, match="at most 2,000"):
        function.handler(asked, Context())
    assert over_http(function, {**asked, "include": []})[0] == 200


def test_it_keeps_its_version_open_between_calls(function: ModuleType) -> None:
    asked = {"collection_name": "texts", "operation": "count"}
    function.handler(asked, Context())
    with function._readers().snapshots.reading("texts") as first:
        function.handler(asked, Context())
        with function._readers().snapshots.reading("texts") as second:
            assert first.index is second.index
