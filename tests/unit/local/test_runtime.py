"""The functions' deployment package, unpacked and run as Lambda would run it."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from siltstone_local.runtime import FunctionRuntime


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "a project's folder"  # the space and the quote have to survive the shell
    for name in ("functions", "core/siltstone"):
        (root / name).mkdir(parents=True)
        (root / name / "__init__.py").write_text("")
    return root


def run_bootstrap(runtime: FunctionRuntime, folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run the bootstrap with a Python that prints instead of becoming the runtime client."""
    python = folder / "python of test"
    python.write_text(f"#!{sys.executable}\nimport json, os, sys\n{program}\n")
    python.chmod(0o755)
    package = FunctionRuntime(runtime.scratch, runtime.project, python).package()
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        entry = archive.getinfo("bootstrap")
        assert entry.external_attr >> 16 == 0o755
        bootstrap = folder / "bootstrap"
        bootstrap.write_bytes(archive.read(entry))
        bootstrap.chmod(0o755)
    environment = {
        "PATH": os.environ["PATH"],
        "_HANDLER": "functions.merge.handler",
        "AWS_LAMBDA_FUNCTION_NAME": "dev-merge",
    }
    return subprocess.run([str(bootstrap)], env=environment, capture_output=True, text=True, check=True)


def test_the_bootstrap_becomes_the_runtime_client_for_the_handler(project, tmp_path):
    done = run_bootstrap(FunctionRuntime(tmp_path / "scratch", project), tmp_path, "print(sys.argv[1:])")
    assert done.stdout.strip() == "['-m', 'awslambdaric', 'functions.merge.handler']"


def test_the_code_is_found_where_it_is(project, tmp_path):
    done = run_bootstrap(FunctionRuntime(tmp_path / "scratch", project), tmp_path, "print(os.environ['PYTHONPATH'])")
    assert done.stdout.strip() == f"{project}:{project / 'core'}"


def test_each_process_has_a_disk_of_its_own_named_by_its_id(project, tmp_path):
    runtime = FunctionRuntime(tmp_path / "scr atch", project)
    done = run_bootstrap(
        runtime, tmp_path, "print(os.getpid(), os.environ['SCRATCH_DIR'], os.path.isdir(os.environ['TMPDIR']))"
    )
    pid, rest = done.stdout.strip().split(" ", 1)
    assert rest == f"{runtime.scratch}/dev-merge/{pid} True"


def test_the_disk_of_a_dead_process_is_removed_and_that_of_a_living_one_kept(project, tmp_path):
    runtime = FunctionRuntime(tmp_path / "scratch", project)
    first = run_bootstrap(runtime, tmp_path, "print(os.environ['SCRATCH_DIR'])").stdout.strip()
    living = runtime.scratch / "dev-merge" / str(os.getpid())
    living.mkdir()
    run_bootstrap(runtime, tmp_path, "")
    assert not Path(first).exists()
    assert living.is_dir()


def test_the_same_code_gives_the_same_package(project, tmp_path):
    runtime = FunctionRuntime(tmp_path, project)
    assert runtime.package() == runtime.package()


@pytest.mark.parametrize("file", ["functions/merge.py", "core/siltstone/deep/new.py"])
def test_other_code_gives_another_package_so_that_warm_processes_are_replaced(project, tmp_path, file):
    runtime = FunctionRuntime(tmp_path, project)
    before = runtime.package()
    path = project / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("changed = True\n")
    assert runtime.package() != before
