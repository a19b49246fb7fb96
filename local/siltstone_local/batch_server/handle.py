"""Starts and stops the batch server as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

import siltstone

from siltstone_local.batch_server.faults import Faults

ADDRESS_FILE = "server.json"
_SOURCES = [str(Path(siltstone.__file__).parents[1]), str(Path(__file__).parents[2])]


class BatchServer:
    """A batch server over ``folder``, as a context manager. Started again on the same folder, it knows all it knew.

    ``port`` 0: any free one. ``speed``: 60 makes a batch take three seconds. Raises `RuntimeError` with the end of the
    log if it does not come up.
    """

    def __init__(self, folder: Path, *, port: int = 0, speed: float = 60.0, seed: int = 0) -> None:
        self.folder = folder
        self.log_file = folder / "server.log"
        self.base_url = ""  # "http://127.0.0.1:PORT/v1", once started
        self._options = ["--folder", str(folder), "--port", str(port), "--speed", str(speed), "--seed", str(seed)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    def start(self, *, timeout: float = 30.0) -> BatchServer:
        """Start and wait until requests are answered."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ADDRESS_FILE).unlink(missing_ok=True)  # of a server that was killed
        command = [sys.executable, "-m", "siltstone_local.batch_server", *self._options]
        # One BLAS thread: two processes share the machine, and the answering one must stay quick.
        environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(_SOURCES)}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        deadline = time.monotonic() + timeout
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = self.log_file.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"The batch server did not start; {self.log_file} ends with:\n{tail}")
            time.sleep(0.02)
        return self

    def stop(self, *, timeout: float = 10.0) -> None:
        """Stop it gracefully, by force after ``timeout`` seconds. Stopping twice is no error."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def set_faults(self, faults: Faults) -> None:
        """Put ``faults`` in force instead of those before."""
        self._call("POST", "/_faults", faults.model_dump_json().encode())

    def clear_faults(self) -> None:
        """Be in good health again. Batches that were created with faults keep them."""
        self._call("DELETE", "/_faults")

    def faults(self) -> Faults:
        """What is still in force."""
        return Faults.model_validate_json(self._call("GET", "/_faults"))

    def __enter__(self) -> BatchServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _ready(self) -> bool:
        address = self.folder / ADDRESS_FILE
        if not address.exists():
            return False
        self.base_url = json.loads(address.read_text())["base_url"]
        try:
            self._call("GET", "/_ready")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        url = self.base_url.removesuffix("/v1") + path
        request = urllib.request.Request(url, body, {"content-type": "application/json"}, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=5.0) as reply:  # noqa: S310
            return reply.read()
