"""The CDK app of one stage.

``python app.py -c stage=dev`` writes its template to cdk.out: no AWS account, no Docker, no CDK command line.
``cdk deploy -c stage=dev`` runs this same file.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cdk.settings import load_stage  # isort: skip - chooses the Node that aws_cdk starts
from aws_cdk import App
from siltstone.errors import SiltstoneError

from cdk.stack import SiltstoneStack

CONFIG = Path(__file__).resolve().parent / "cdk.json"


def build(stage: str | None, outdir: str | None = None, config: Path = CONFIG) -> App:
    """The app, not yet synthesized. Raises `BadSettings`. ``stage``: else the context's, else ``STAGE``."""
    app = App(outdir=outdir, analytics_reporting=False)
    chosen = stage or app.node.try_get_context("stage") or os.environ.get("STAGE")
    settings = load_stage(config, chosen)
    SiltstoneStack(app, str(chosen), settings)
    return app


def main(arguments: Sequence[str]) -> int:
    """Synthesize; a wrong setting is one line and exit code 2."""
    parser = argparse.ArgumentParser(description="Synthesize one stage of Siltstone.")
    parser.add_argument("-c", "--context", action="append", default=[], metavar="stage=NAME")
    parser.add_argument("-o", "--output", help="default: where the CDK command line says, else cdk.out")
    options = parser.parse_args(arguments)
    context = dict(pair.partition("=")[::2] for pair in options.context)
    unknown = sorted(context.keys() - {"stage"})
    if unknown:
        parser.error(f"unknown context {', '.join(unknown)}: only stage=NAME is known")
    try:
        outdir = options.output or os.environ.get("CDK_OUTDIR") or str(CONFIG.parent / "cdk.out")
        build(context.get("stage"), outdir).synth()
    except SiltstoneError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
