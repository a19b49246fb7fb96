"""How a container image function runs without a container: a `provided.al2023` package of one file, ``bootstrap``.

It becomes `python -m awslambdaric {handler}`, the runtime client that the image has, too: real error class names,
warm processes and time limits. The code is the checkout's own, so nothing is copied.
"""

from __future__ import annotations

import hashlib
import io
import shlex
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from siltstone_local.paths import PROJECT

_CODE = ("functions", "core")  # what the image holds, relative to the project
_EXECUTABLE = 0o755 << 16
_ALWAYS_THE_SAME_DATE = (1980, 1, 1, 0, 0, 0)

# A Lambda environment has a disk of its own as long as it lives: so has each process here. Folders whose process is
# gone are removed by the next one of the same function. Nothing here listens to traces.
_BOOTSTRAP = """#!/bin/sh
# code: {fingerprint}
folder={scratch}/"$AWS_LAMBDA_FUNCTION_NAME"
for old in "$folder"/*; do
  kill -0 "${{old##*/}}" 2>/dev/null || rm -rf "$old"
done
export SCRATCH_DIR="$folder/$$" TMPDIR="$folder/$$"
mkdir -p "$SCRATCH_DIR" || exit 1
export PYTHONPATH={path} PYTHONUNBUFFERED=1 POWERTOOLS_TRACE_DISABLED=1
exec {python} -m awslambdaric "$_HANDLER"
"""


@dataclass(frozen=True)
class FunctionRuntime:
    """Which Python runs the functions of which checkout, and where their disks are."""

    scratch: Path
    project: Path = PROJECT
    python: Path = Path(sys.executable)

    def package(self) -> bytes:
        """The deployment package: the same bytes as long as neither the code nor this machine's paths change.

        The fingerprint of the code is part of it, so that deploying again after an edit replaces warm processes.
        """
        text = _BOOTSTRAP.format(
            fingerprint=_fingerprint(self.project),
            scratch=shlex.quote(str(self.scratch)),
            path=shlex.quote(f"{self.project}:{self.project / 'core'}"),
            python=shlex.quote(str(self.python)),
        )
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            entry = zipfile.ZipInfo("bootstrap", _ALWAYS_THE_SAME_DATE)
            entry.external_attr = _EXECUTABLE
            archive.writestr(entry, text)
        return buffer.getvalue()


def _fingerprint(project: Path) -> str:
    digest = hashlib.sha256()
    for folder in _CODE:
        for file in sorted((project / folder).rglob("*.py")):
            digest.update(str(file.relative_to(project)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
