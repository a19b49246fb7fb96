"""A wrong setting is one clear line that names the setting and the stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from siltstone.errors import BadSettings
from siltstone.settings import CollectionBook

from app import CONFIG, build, main
from cdk.functions import ENVIRONMENT_LIMIT
from cdk.settings import load_stage, stages

ROOT = CONFIG.parent
STAGES = sorted(stages(CONFIG))


def written(folder: Path, settings: Any) -> Path:
    path = folder / "cdk.json"
    path.write_text(json.dumps({"stages": {"dev": settings}}))
    return path


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"retian": True}, "'retian'"),
        ({"retain": "yes"}, "'retain'"),
        ({"log_days": 8}, "'log_days'"),
        ({"architecture": "mips"}, "'architecture'"),
        ({"functions": {"merge": {"memory_mb": 100}}}, "'functions.merge.memory_mb'"),
        ({"functions": {"merge": {"timeout_seconds": 901}}}, "'functions.merge.timeout_seconds'"),
        ({"functions": {"marge": {}}}, "'functions.marge'"),
        ({"storage": {"batches_expire_days": 30}}, "'storage.batches_expire_days'"),
        ({"triggers": {"hint_window_seconds": 301}}, "'triggers.hint_window_seconds'"),
        ({"alarms": {"topic_arn": "my-topic"}}, "'alarms.topic_arn'"),
        ({"collections": {"lines": {"dimension": 0}}}, "'collections.lines.dimension'"),
        ({"collections": {"lines": {"modle": "x"}}}, "'collections.lines.modle'"),
        ({"collections": {"a/b": {}}}, "'collections'"),
        ({"account": "123"}, "'account'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_stage(tmp_path: Path, settings: Any, words: str) -> None:
    with pytest.raises(BadSettings) as raised:
        load_stage(written(tmp_path, settings), "dev")
    assert words in str(raised.value)
    assert "'dev'" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_alarm_that_can_never_fire_is_refused(tmp_path: Path) -> None:
    settings = {"triggers": {"compact_every_minutes": 60}, "alarms": {"busy_locks_per_hour": 14}}
    with pytest.raises(BadSettings, match="busy_locks_per_hour can never be reached: at most 13"):
        load_stage(written(tmp_path, settings), "dev")


@pytest.mark.parametrize("stage", ["produktion", None, ""])
def test_an_unknown_or_missing_stage_lists_those_that_exist(stage: str | None) -> None:
    with pytest.raises(BadSettings, match=", ".join(STAGES)):
        load_stage(CONFIG, stage)


@pytest.mark.parametrize("text", ["{", "[]", '{"stages": []}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cdk.json"
    path.write_text(text)
    with pytest.raises(BadSettings, match=r"cdk\.json"):
        load_stage(path, "dev")


@pytest.mark.parametrize("stage", STAGES)
def test_functions_read_exactly_the_collections_of_the_stage(stage: str) -> None:
    settings = load_stage(CONFIG, stage)
    book = CollectionBook.parse(settings.collections_json())
    assert book.collections == settings.collections
    assert set(book.collections) >= {"lines", "words", "texts"}
    assert " " not in settings.collections_json()


def test_collections_keep_what_differs_and_leave_out_defaults(tmp_path: Path) -> None:
    settings = load_stage(
        written(tmp_path, {"collections": {"merchant-*": {"shards": 2}}, "settle_seconds": 90}), "dev"
    )
    assert settings.collections_json() == '{"collections":{"merchant-*":{"shards":2}},"settle_seconds":90}'


def test_too_many_collections_are_refused_before_lambda_does(tmp_path: Path) -> None:
    many = {f"tenant-{number:04d}": {"dimension": 512} for number in range(100)}
    with pytest.raises(BadSettings, match=rf"'dev'.*'collections'.*{ENVIRONMENT_LIMIT}"):
        build("dev", str(tmp_path / "out"), written(tmp_path, {"collections": many}))


def test_the_command_line_prints_one_line_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "app.py", "-c", "stage=nowhere"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"BadSettings: Stage 'nowhere' is unknown. Use one of {', '.join(STAGES)}, or add it to cdk.json."
    ]


def test_the_stage_comes_from_the_environment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGE", "staging")
    assert main(["-o", str(tmp_path)]) == 0
    assert (tmp_path / "siltstone-staging.template.json").is_file()


def test_no_account_no_docker_and_no_cdk_command_are_needed(tmp_path: Path) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))}
    nothing = {"PATH": "/nowhere", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "app.py", "-c", "stage=dev", "-o", str(tmp_path / "out")],
        cwd=ROOT,
        env=bare | nothing,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "siltstone-dev.template.json").is_file()
