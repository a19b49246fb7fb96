"""Synthesizes the CDK app without the CDK command line: what `cdk synth` does, from ``cdk.json`` on."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from siltstone.errors import SiltstoneError

from siltstone_local.errors import SynthFailed
from siltstone_local.node import use_node
from siltstone_local.paths import PROJECT

_TAIL = 3000  # characters of the app's output in an error


def synthesize(output: Path, *, project: Path = PROJECT, context: dict[str, Any] | None = None) -> Path:
    """Run the app that ``cdk.json`` names and return the cloud assembly's folder (``output``).

    ``context`` goes over ``cdk.json``'s own, as ``--context`` does. Raises `SynthFailed`, `NodeMissing`.
    """
    use_node()
    (output / "manifest.json").unlink(missing_ok=True)  # what an earlier one left must not pass for this one's
    settings = _read_settings(project / "cdk.json")
    command = shlex.split(settings["app"])
    if command[0] in {"python", "python3"}:
        command[0] = sys.executable  # the one that has aws_cdk, whatever PATH says
    environment = {
        **os.environ,
        "CDK_OUTDIR": str(output.resolve()),
        "CDK_CONTEXT_JSON": json.dumps({**settings.get("context", {}), **(context or {})}),
        "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
    }
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not (output / "manifest.json").is_file():
        raise SynthFailed(
            f"{shlex.join(command)} ended with {done.returncode}: {(done.stdout + done.stderr)[-_TAIL:]}",
            remedy="Correct the CDK app.",
        )
    return output


def main() -> int:
    """``python -m siltstone_local.synth --stage dev``; an app that refuses its settings is told in its own words."""
    parser = argparse.ArgumentParser(prog="python -m siltstone_local.synth", description=__doc__)
    parser.add_argument("--stage", required=True, help="one of those in cdk.json")
    parser.add_argument("--output", type=Path, default=PROJECT / "cdk.out", help="the cloud assembly's folder")
    options = parser.parse_args()
    try:
        output = synthesize(options.output, context={"stage": options.stage})
    except SiltstoneError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    for template in sorted(output.glob("*.template.json")):
        sys.stdout.write(f"{template}\n")
    return 0


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SynthFailed(f"{path} can't be read: {error}.", remedy="Run it in a checkout of the project.") from error


if __name__ == "__main__":
    sys.exit(main())
