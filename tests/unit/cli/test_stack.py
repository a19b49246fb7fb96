"""``up``, ``down``, ``logs`` and ``doctor`` where nothing runs or nobody may ask; completion; ``--version``.

(With a stack that runs: tests/e2e/test_cli.py.)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import siltstone
import typer
from siltstone_cli.completion import complete_collections
from siltstone_cli.main import app
from siltstone_cli.target import Target
from typer.testing import CliRunner


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No stage is named, no stack runs, nobody is logged in."""
    for name in ("SILTSTONE_STAGE", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SILTSTONE_LOCAL", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_REGION", "eu-central-1")


def test_the_release_is_told() -> None:
    assert run("--version").stdout == f"siltstone {siltstone.__version__}\n"


def test_stopping_what_does_not_run_is_no_error() -> None:
    assert (run("down").exit_code, run("down").stdout) == (0, "Nothing was running.\n")
    assert json.loads(run("down", "--json").stdout)["stopped"] is False


@pytest.mark.parametrize("embeddings", ["openai", "elsewhere"])
def test_up_with_embeddings_that_cant_be_used_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embeddings: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = run("up", "--embeddings", embeddings)
    assert done.exit_code == 2
    assert "OPENAI_API_KEY" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_logs_of_a_stack_that_does_not_run_and_since_a_time_that_is_none() -> None:
    done = run("logs")
    assert done.exit_code == 3
    assert "siltstone up" in done.stderr
    assert run("logs", "--since", "yesterday").exit_code == 2


def test_the_doctor_says_what_keeps_it_from_the_stage_and_ends_with_1() -> None:
    done = run("doctor", "--local")
    assert done.exit_code == 1
    assert "siltstone up" in done.stdout
    done = run("doctor", "--stage", "dev", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["healthy"] is False
    (check,) = found["checks"]
    assert (check["name"], check["level"]) == ("reach", "problem")
    assert "Unable to locate credentials. Set AWS_PROFILE or log in" in check["detail"]


def test_the_doctor_is_not_asked_for_two_places() -> None:
    assert run("doctor", "--local", "--stage", "dev").exit_code == 2


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "NoCredentialsError: Unable to locate credentials. Set AWS_PROFILE or log in"),
        ({"AWS_PROFILE": "nobody"}, "ProfileNotFound: The config profile (nobody) could not be found. `aws configure"),
    ],
    ids=["no credentials", "no such profile"],
)
def test_aws_own_errors_say_what_to_do(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], told: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = run("status", "--stage", "dev")
    assert done.exit_code == 3
    assert done.stderr.startswith(told)
    assert len(done.stderr.splitlines()) == 1


def test_no_region_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    done = run("status", "--stage", "dev")
    assert done.exit_code == 3
    assert "Set AWS_REGION" in done.stderr


# completion ---------------------------------------------------------------------------------------
class _Context:
    params: dict[str, Any] = {}  # noqa: RUF012


def test_the_shell_completes_the_collections_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    book = '{"collections": {"lines": {}, "letters": {}, "words": {}, "merchant-*": {}}}'
    target = Target("dev", {"Collections": book}, lambda _: None)
    monkeypatch.setattr("siltstone_cli.completion.find_target", lambda *_: target)
    context: Any = _Context()
    assert complete_collections(context, "l") == ["letters", "lines"]
    assert complete_collections(context, "m") == []


def test_a_stage_that_cant_be_asked_completes_nothing_and_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    root: Any = typer.main.get_command(app)
    context: Any = root.make_context("siltstone", ["--local"], resilient_parsing=True)
    assert complete_collections(context, "") == []
    assert capsys.readouterr() == ("", "")


def test_the_shell_completes_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_WORDS", "siltstone compact ")
    monkeypatch.setenv("COMP_CWORD", "2")
    done = CliRunner().invoke(app, [], prog_name="siltstone", env={"_SILTSTONE_COMPLETE": "complete_bash"})
    assert {"start", "status", "pause", "resume"} <= set(done.stdout.split())
