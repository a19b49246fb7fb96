"""``siltstone migrate chroma``: a directory of this machine or of a bucket, plan and question, and what is refused."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto import mock_aws
from siltstone.migration import takeover
from siltstone.migration.takeover_reader import prepare_here
from siltstone.snapshots.chroma import open_chroma, persistent_client
from siltstone.stores.objects_s3 import S3Objects

from tests.unit.cli.conftest import Run
from tests.unit.scrub.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A collection without a version."""
    return House(tmp_path / "house", open_store=open_chroma)


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the process of its own that opens a foreign directory."""
    monkeypatch.setattr(takeover, "prepare", prepare_here)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    with closing(persistent_client(tmp_path / "old")) as client:
        made = client.create_collection("receipt_lines", configuration={"hnsw": {"space": "cosine"}})
        made.upsert(["a", "b"], np.eye(2, 4, dtype=np.float32))
    return tmp_path / "old"


def test_a_directory_is_taken_over_once_it_was_agreed_to(run: Run, house: House, directory: Path) -> None:
    refused = run("migrate", "chroma", str(directory), "-c", "lines", input="n\n")
    assert (refused.exit_code, house.current) == (1, None)
    assert f"{directory} becomes the first version of lines" in refused.stdout.replace("\n", "")
    done = run("migrate", "chroma", str(directory), "-c", "lines", input="y\n")
    assert done.exit_code == 0, done.output
    assert f"lines is at {house.current}, 2 rows" in done.stdout.replace("\n", "")
    again = run("migrate", "chroma", str(directory), "-c", "lines", "--yes", "--json")
    assert json.loads(again.stdout)["already"] is True
    assert "taken over" in run("versions", "lines").stdout


def test_a_prefix_of_a_bucket_is_taken_over(
    run: Run, house: House, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="chromadb-snapshots")
        for path in directory.rglob("*"):
            if path.is_file():
                key = f"snapshots/20240803_130000/{path.relative_to(directory).as_posix()}"
                s3.put_object(Bucket="chromadb-snapshots", Key=key, Body=path.read_bytes())
        pointer = b"snapshots/20240803_130000/"
        s3.put_object(Bucket="chromadb-snapshots", Key="snapshots/latest/pointer.txt", Body=pointer)

        monkeypatch.setattr("siltstone_cli.migrate_chroma.S3Objects", lambda bucket, _: S3Objects(bucket, s3))
        done = run("migrate", "chroma", "s3://chromadb-snapshots/snapshots/", "-c", "lines", "--yes", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["version"] == house.current


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere", "-c", "lines", "--yes"], 2, "nowhere is no Chroma directory"),
        (["nowhere", "-c", "nobodys", "--yes"], 2, "No setting or pattern matches the collection 'nobodys'"),
        (["http://x/y", "-c", "lines", "--yes"], 2, "Give a folder, or s3://bucket/prefix"),
        (["nowhere", "-c", "lines", "--json"], 2, "Add --yes"),
        (["nowhere"], 2, "--collection"),
    ],
)
def test_what_is_wrong_is_a_sentence(run: Run, arguments: list[str], code: int, words: str) -> None:
    result = run("migrate", "chroma", *arguments)
    assert result.exit_code == code
    assert words in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output


def test_a_collection_that_has_a_version_is_refused(run: Run, house: House, directory: Path) -> None:
    house.write("a")
    version = house.compact()
    result = run("migrate", "chroma", str(directory), "-c", "lines", "--yes")
    assert (result.exit_code, house.current) == (2, version)
    assert f"lines has a version already: {version}" in " ".join(result.output.split())
