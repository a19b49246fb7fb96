"""The image holds siltstone, functions and their locked packages, and nothing else of this repository."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from app import CONFIG
from tests.infrastructure.conftest import Synthesize

ROOT = CONFIG.parent
LOCK = (ROOT / "functions" / "requirements.txt").read_text()
WANTED = [line for line in (ROOT / "functions" / "requirements.in").read_text().splitlines() if "==" in line]


@pytest.fixture
def asset(synthesize: Synthesize) -> Path:
    """The build context as the CDK stages it."""
    template = synthesize("dev")
    images = json.loads((template.folder / "siltstone-dev.assets.json").read_text())["dockerImages"]
    [image] = images.values()
    return template.folder / image["source"]["directory"]


def test_the_build_context_holds_nothing_but_the_two_packages(asset: Path) -> None:
    files = {path.relative_to(asset) for path in asset.rglob("*") if path.is_file()}
    assert {path.parts[0] for path in files} == {"Dockerfile", ".dockerignore", "core", "functions"}
    assert {path.parts[1] for path in files if path.parts[0] == "core"} == {"siltstone"}
    assert {path.suffix for path in files if len(path.parts) > 1} <= {".py", ".txt", ".typed"}
    assert Path("functions/requirements.txt") in files
    assert Path("core/siltstone/errors.py") in files


def test_what_the_image_installs_is_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {*project["dependencies"], *project["optional-dependencies"]["functions"]}
    runtime_client = {one for one in WANTED if one.startswith("awslambdaric==")}
    assert len(runtime_client) == 1
    assert set(WANTED) - runtime_client == declared


def test_every_locked_package_is_pinned_with_hashes() -> None:
    packages = [block for block in re.split(r"\n(?=[a-z0-9])", LOCK) if re.match(r"[a-z0-9]", block)]
    assert len(packages) > 50
    for package in packages:
        assert re.match(r"[a-z0-9][a-z0-9._-]*==\S+", package), package[:60]
        assert "--hash=sha256:" in package, package[:60]


def test_the_lock_is_of_what_was_wanted() -> None:
    for wanted in WANTED:
        without_extra = re.sub(r"\[.*\]", "", wanted)
        assert f"\n{without_extra} \\" in LOCK, wanted


def test_the_lock_names_no_host_and_nothing_of_the_cdk() -> None:
    assert not re.search(r"https?://|--find-links|--index-url|--trusted-host", LOCK)
    assert not re.search(r"^(aws-cdk|constructs|jsii)", LOCK, re.MULTILINE)


def test_the_image_has_the_python_that_runs_the_tests() -> None:
    [base] = re.findall(r"^ARG BASE_IMAGE=\S+/python:(\d+\.\d+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert base == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"with Python {base}" in LOCK
