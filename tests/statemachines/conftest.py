"""One emulator for each test module, and on it the machine that the module names as ``MACHINE``."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from siltstone_local.emulator import Emulator

from scripts.validate_asl import VALIDATORS, install
from tests.statemachines.stage import Stage


@pytest.fixture(scope="session")
def validators() -> None:
    """The npm packages that check the definitions. Those who use it are one xdist group: it installs once."""
    if not (VALIDATORS / "node_modules").is_dir():
        install()


@pytest.fixture(scope="module")
def staged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("emulator")
    environment = {}
    if mocks := getattr(request.module, "MOCKS", None):
        path = folder / "mocks.json"
        path.write_text(json.dumps(mocks))
        environment["SFN_MOCK_CONFIG"] = str(path)
    scripts = folder / "scripts"
    scripts.mkdir()
    with Emulator(folder / "state", wait_scale=0, environment=environment) as emulator:
        yield Stage(emulator, request.module.MACHINE, scripts)


@pytest.fixture
def stage(staged: Stage) -> Iterator[Stage]:
    """The machine, with a script in which all goes well; whatever a test sends through it is typed at the end."""
    staged.script({})
    yield staged
    staged.check_messages()
