"""Running the CDK app without the CDK command line."""

import json
import os

import pytest
from siltstone_local.errors import SynthFailed
from siltstone_local.synth import synthesize

APP = """
import json, os, pathlib
out = pathlib.Path(os.environ["CDK_OUTDIR"])
out.mkdir(exist_ok=True)
(out / "manifest.json").write_text(json.dumps({"context": json.loads(os.environ["CDK_CONTEXT_JSON"])}))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("JSII_NODE", "PATH"):  # synthesize sets them for itself and its children
        monkeypatch.setenv(name, os.environ.get(name, ""))
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "cdk.json").write_text(json.dumps({"app": "python app.py", "context": {"a": 1, "stage": "prod"}}))
    return tmp_path


def test_the_app_gets_the_settings_context_and_over_it_the_callers(project):
    output = synthesize(project / "out", project=project, context={"stage": "dev"})
    assert json.loads((output / "manifest.json").read_text()) == {"context": {"a": 1, "stage": "dev"}}


def test_an_app_that_raises_is_told_with_its_own_words(project):
    (project / "app.py").write_text("raise SystemExit('Setting stages.dev.log_days: not a number')")
    with pytest.raises(SynthFailed, match=r"ended with 1: Setting stages\.dev\.log_days: not a number"):
        synthesize(project / "out", project=project)


def test_an_app_that_writes_nothing_is_no_success(project):
    (project / "app.py").write_text("")
    with pytest.raises(SynthFailed, match="ended with 0"):
        synthesize(project / "out", project=project)


def test_what_an_earlier_synthesis_left_is_no_success_either(project):
    output = synthesize(project / "out", project=project)
    (project / "app.py").write_text("")
    with pytest.raises(SynthFailed):
        synthesize(output, project=project)


def test_a_missing_cdk_json_is_named(project):
    (project / "cdk.json").unlink()
    with pytest.raises(SynthFailed, match=r"cdk\.json"):
        synthesize(project / "out", project=project)
