"""``siltstone sources`` over a stage in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from siltstone.purge.purge_source import purge_source
from siltstone.stores.vectors_memory import open_memory
from siltstone_cli import sources
from siltstone_cli.main import app
from siltstone_cli.target import Target
from typer.testing import CliRunner

from tests.unit.embedding.house import receipt, text
from tests.unit.sources.stage import Stage

Run = Callable[..., Any]
A = "text.texts.a"
RECEIPT = receipt(1, ["one two"]).source_id


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A receipt and two texts, in the current versions."""
    stage = Stage(tmp_path / "stage")
    stage.load(receipt(1, ["one two"]), text("a"), text("b"))
    stage.run("p")
    for name in ("lines", "words", "texts"):
        stage.compact(name)
    return stage


@pytest.fixture
def run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Run:
    target = Target("dev", {}, lambda _: None, stage.clock)
    target.__dict__["stores"] = stage.stores
    monkeypatch.setattr(sources, "find_target", lambda *_: target)
    monkeypatch.setattr(sources, "stage_provider", lambda _: stage.provider)
    monkeypatch.setattr(sources, "purge_source", partial(purge_source, open_store=open_memory))

    def invoke(*arguments: str, input: str | None = None) -> Any:  # noqa: A002
        return CliRunner().invoke(app, ["sources", *arguments], input=input)

    return invoke


def test_status_counts_by_collection(run: Run, stage: Stage) -> None:
    stage.load(text("c"))
    shown = run("status").stdout
    assert "3 sources" not in shown
    assert "4 sources; 0 deleted ones" in shown
    assert "text.texts.c" in shown
    found = json.loads(run("status", "--json").stdout)
    counted = {each["collection"]: (each["success"], each["none"], each["records"]) for each in found["collections"]}
    assert counted == {"lines": (1, 0, 1), "words": (1, 0, 2), "texts": (2, 1, 2)}


def test_status_of_single_sources(run: Run) -> None:
    done = run("status", RECEIPT, A)
    assert done.exit_code == 0
    assert RECEIPT in done.stdout
    assert "SUCCESS" in done.stdout
    (found,) = json.loads(run("status", A, "--json").stdout)["sources"]
    assert [(each["collection"], each["settled"]) for each in found["collections"]] == [("texts", 1)]
    missing = run("status", "nobody")
    assert missing.exit_code == 2
    assert "There is no source 'nobody'" in missing.stderr


def test_failures_are_listed_with_their_reason_up_to_a_number(run: Run, stage: Stage) -> None:
    stage.load(text("c"), text("d"))
    for turn in range(3):
        (planned,) = stage.plan(f"f{turn}").batches
        stage.record(planned.batch_id, failed="[no] money left")
    shown = run("status", "--failed", "1").stdout
    assert shown.count("[no] money left") == 1
    assert "1 more failed" in shown


def test_delete_says_what_it_will_do_and_asks(run: Run, stage: Stage) -> None:
    refused = run("delete", A, RECEIPT, input="n\n")
    assert refused.exit_code == 1
    assert "2 sources and their 4 records (1 in lines, 1 in texts, 2 in words)" in refused.stdout
    assert "Nothing was done" in refused.stderr
    assert stage.documents("texts") == {}
    done = run("delete", A, RECEIPT, input="y\n")
    assert done.exit_code == 0
    assert "Deleted 2 sources, 4 records" in done.stdout
    assert "siltstone compact start lines texts words" in done.stdout
    again = run("delete", A, RECEIPT, "--yes")
    assert again.exit_code == 0
    assert "Deleted 0 sources, 0 records; 2 had been deleted before" in again.stdout
    stage.clock.advance(1)
    stage.compact("texts")
    assert stage.rows("texts") == ["b"]


def test_delete_names_the_open_batch(run: Run, stage: Stage) -> None:
    stage.load(text("c"))
    (planned,) = stage.plan("q").batches
    shown = run("delete", "text.texts.c", input="n\n").stdout
    assert planned.batch_id in shown
    assert "paid for and left out" in shown


def test_delete_from_a_file(run: Run, tmp_path: Path) -> None:
    names = tmp_path / "ids.txt"
    names.write_text(f"{A}\n\n  {RECEIPT}  \n{A}\n")
    found = json.loads(run("delete", "--from-file", str(names), "--yes", "--json").stdout)
    assert (found["sources"], found["deleted"]) == (2, 2)
    assert found["records"] == {"lines": 1, "texts": 1, "words": 2}


def test_wrong_arguments_are_a_sentence(run: Run, tmp_path: Path, stage: Stage) -> None:
    for arguments in (
        ["delete", "--yes"],
        ["delete", A, "--json"],
        ["delete", "--from-file", str(tmp_path / "nowhere"), "--yes"],
        ["delete", A, "nobody", "--yes"],
    ):
        done = run(*arguments)
        assert done.exit_code == 2, done.output
        assert "Traceback" not in done.output
    assert stage.state(A).status == "SUCCESS"
    item = stage.stores.sources.read(A)
    assert item is not None
    assert item.deleted_at is None


def test_purge_says_what_it_will_do_and_asks(run: Run, stage: Stage) -> None:
    refused = run("purge", A, input="n\n")
    assert refused.exit_code == 1
    assert "Nothing brings any of it back" in refused.stdout
    assert stage.state(A).status == "SUCCESS"
    assert run("purge", A, "--json").exit_code == 2
    assert run("purge", "nobody", "--yes").exit_code == 2
    assert run("purge", "--yes").exit_code == 2


def test_purge_goes_on_until_nothing_is_held(run: Run, stage: Stage) -> None:
    first = run("purge", A, input="y\n")
    assert first.exit_code == 1
    assert "its content" in first.stdout
    assert "still held snapshot versions: snapshots/texts/" in first.stdout
    assert "siltstone compact start texts" in first.stdout
    stage.compact("texts")
    stage.clock.advance(86_400)
    second = run("purge", A, "--yes")
    assert "still held until 2023-12-" in second.stdout
    assert "30 days" in second.stdout
    stage.clock.advance(31 * 86_400)
    last = run("purge", A, "--yes")
    assert last.exit_code == 0, last.stdout
    assert "Nothing of text.texts.a is left" in last.stdout


def test_purge_as_json(run: Run) -> None:
    done = run("purge", A, "--yes", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["done"], found["removed"]["body"], found["source_id"]) == (False, 1, A)
    assert {"kind", "what", "why", "remedy", "until"} == found["held"][0].keys()


def test_purge_without_the_right_to_the_providers_key_does_the_rest(
    run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetSecretValue")

    monkeypatch.setattr(sources, "stage_provider", denied)
    done = run("purge", A, "--yes")
    assert done.exit_code == 1
    assert "AccessDenied" in done.stderr
    assert "the provider's files: files of 01" in done.stdout
    assert stage.provider.files != {}
