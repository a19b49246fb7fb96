"""The emulated AWS: MiniStack as a subprocess with a folder, a port and an environment of its own."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from siltstone.errors import BadSettings

from siltstone_local.aws import REGION, aws_client
from siltstone_local.errors import EmulatorNotInstalled, EmulatorNotStarted
from siltstone_local.paths import EMULATOR_VENV, LOOPBACK, free_port, port_is_taken
from siltstone_local.processes import FunctionProcess, end_group, function_processes, kill_processes

_READY_WITHIN = 60.0  # seconds; 0.3 on an idle machine
_STOP_WITHIN = 60.0  # seconds: a graceful stop writes what is kept; 0.3 where nothing is
_LOG_TAIL = 2000  # characters of the log in an error
_RECORD = "emulator.json"  # of the last start
_LOCK = "emulator.lock"  # held by the emulator as long as it lives: a process id alone may be somebody else's
_WAIT_SCALE = "stepfunctions._SFN_WAIT_SCALE"


class Emulator:
    """One MiniStack process.

    ``state``: its folder (log, temporary files, the functions' scratch; with ``persist`` everything stored, too).
    ``port``: 0 takes a free one, or with ``persist`` the last one, since queue addresses hold it.
    ``wait_scale``: multiplies the waits and retry sleeps of state machines; 0 skips them.
    ``persist``: what is stored survives a graceful stop (a kill loses all but S3's bodies).
    """

    def __init__(
        self,
        state: Path,
        *,
        port: int = 0,
        wait_scale: float = 1.0,
        persist: bool = False,
        venv: Path = EMULATOR_VENV,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.state = state.resolve()
        self.persist = persist
        self.log = self.state / "ministack.log"
        self.scratch = self.state / "scratch"
        self._asked_port = port
        self._wait_scale = wait_scale
        self._venv = venv
        self._environment = environment or {}
        self._clients: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None  # of whoever started it
        self.port = 0
        self.pid = 0

    @classmethod
    def attach(cls, state: Path) -> Emulator | None:
        """The emulator that another process started on this folder, or ``None`` if it does not run."""
        emulator = cls(state)
        record = emulator._read_record()
        if not record or not emulator._is_locked():
            return None
        emulator.pid, emulator.port, emulator.persist = record["pid"], record["port"], record["persist"]
        return emulator

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:{port}``."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._is_locked() if self._process is None else self._process.poll() is None

    def start(self) -> Self:
        """Start it and wait until it is ready. Raises `EmulatorNotInstalled`, `EmulatorNotStarted`."""
        python = self._venv / "bin" / "python"
        if not python.exists() or not any(self._venv.glob("lib/python*/site-packages/ministack/__main__.py")):
            raise EmulatorNotInstalled(f"There is no MiniStack in {self._venv}.", remedy="Run `make setup`.")
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / _LOCK).open("w") as lock, self.log.open("ab") as log:
            self._take(lock)
            self.port = self._choose_port()
            self._empty_folders()
            log.truncate(0)
            # A session of its own: the functions stay in its process group, and a Ctrl-C in the caller's terminal
            # does not end it before the caller has stopped what depends on it. It inherits the lock and holds it
            # until it ends, however it ends.
            self._process = subprocess.Popen(
                [str(python), "-m", "ministack"],
                env=self._process_environment(),
                cwd=self.state,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )
        self.pid = self._process.pid
        try:
            self._wait_until_ready()
            (self.state / _RECORD).write_text(json.dumps({"pid": self.pid, "port": self.port, "persist": self.persist}))
        except BaseException:
            self.stop(seconds=1.0)
            raise
        return self

    def stop(self, seconds: float = _STOP_WITHIN) -> bool:
        """Stop it and every function process with it. Stopping twice is no error.

        ``False``: it did not end gracefully within ``seconds`` and was killed, which loses what ``persist`` would keep.
        """
        if not self.pid:
            return True  # never started: the folder may be a running one's
        graceful = end_group(self.pid, lambda: not self.running, seconds)
        self.pid, self._process = 0, None
        self._clients.clear()
        self._empty_folders()
        return graceful

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def client(self, service: str) -> Any:
        """A (cached) boto3 client."""
        if service not in self._clients:
            self._clients[service] = aws_client(service, self.endpoint)
        return self._clients[service]

    def set_wait_scale(self, scale: float) -> None:
        """Change the factor of waits and retry sleeps while it runs."""
        _, reply = self._ask("POST", "/_ministack/config", json.dumps({_WAIT_SCALE: scale}))
        applied = json.loads(reply)["applied"]
        if applied.get(_WAIT_SCALE) != scale:  # an unknown key or value is answered with 200 as well
            raise BadSettings(f"The wait scale {scale!r} was not taken.", remedy="Use a number of at least 0.")

    def function_processes(self, function: str | None = None) -> list[FunctionProcess]:
        """The warm processes, of one deployed function (by its name) or of all."""
        found = function_processes(self.scratch, self.pid)
        return [each for each in found if function is None or each.function == function]

    def kill_function_processes(self, function: str | None = None) -> list[FunctionProcess]:
        """Kill them as a crash would (SIGKILL). Returns those that were there; the next call starts afresh."""
        found = self.function_processes(function)
        kill_processes(found, self.pid)
        return found

    def log_tail(self) -> str:
        """The end of the emulator's own log."""
        try:
            return self.log.read_text(errors="replace")[-_LOG_TAIL:]
        except FileNotFoundError:
            return ""

    def _take(self, lock: TextIO) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmulatorNotStarted(
                f"An emulator already runs on {self.state}.", remedy="Stop it: `make down`."
            ) from None

    def _is_locked(self) -> bool:
        try:
            with (self.state / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _empty_folders(self) -> None:
        for folder in (self.state / "tmp", self.scratch):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)

    def _choose_port(self) -> int:
        record = self._read_record()
        port = self._asked_port or (record["port"] if record and self.persist else 0)
        if not port:
            return free_port()
        if port_is_taken(port):
            raise EmulatorNotStarted(
                f"Port {port} of {LOOPBACK} is taken by another program.", remedy="End it, or choose another port."
            )
        return port

    def _process_environment(self) -> dict[str, str]:
        # The functions inherit this. Nothing of the caller's comes in: no profile, no proxy, no PYTHONPATH.
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.state / "tmp"),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.state / "tmp"),
            "NO_PROXY": "*",
            "BIND_HOST": LOOPBACK,  # its default is every interface, without authentication
            "MINISTACK_HOST": LOOPBACK,
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,  # it goes over what a function's own environment says
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LAMBDA_EXECUTOR": "local",
            "SFN_WAIT_SCALE": str(self._wait_scale),
            "LOG_LEVEL": "INFO",
        }
        if self.persist:
            environment |= {
                "PERSIST_STATE": "1",
                "S3_PERSIST": "1",
                "STATE_DIR": str(self.state / "aws"),
                "S3_DATA_DIR": str(self.state / "s3"),
            }
        return environment | self._environment

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        while time.monotonic() < deadline:
            if not self.running:
                raise EmulatorNotStarted(
                    f"MiniStack ended before it was ready: {self.log_tail()}",
                    remedy=f"Its log is {self.log}.",
                )
            if self._answers():
                return
            time.sleep(0.05)
        raise EmulatorNotStarted(
            f"MiniStack was not ready after {_READY_WITHIN:.0f} s: {self.log_tail()}", remedy=f"Its log is {self.log}."
        )

    def _answers(self) -> bool:
        try:
            return self._ask("GET", "/_ministack/ready")[0] == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        try:
            connection.request(method, path, body)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def _read_record(self) -> dict[str, Any] | None:
        try:
            return json.loads((self.state / _RECORD).read_text())
        except (FileNotFoundError, ValueError):
            return None
