"""Each stage is synthesized once for all tests, in process."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from app import CONFIG, build
from cdk.settings import stages
from tests.infrastructure.template import Template

Synthesize = Callable[[str], Template]


@pytest.fixture(scope="session")
def synthesize(tmp_path_factory: pytest.TempPathFactory) -> Synthesize:
    """``synthesize("dev")`` is the stage's template, and where its cloud assembly lies."""

    @lru_cache
    def synthesized(stage: str) -> Template:
        folder = tmp_path_factory.mktemp(stage)
        build(stage, str(folder)).synth()
        path: Path = folder / f"siltstone-{stage}.template.json"
        return Template(path, json.loads(path.read_text()))

    return synthesized


@pytest.fixture(params=sorted(stages(CONFIG)))
def template(request: pytest.FixtureRequest, synthesize: Synthesize) -> Template:
    """The template of each stage in turn."""
    return synthesize(request.param)
