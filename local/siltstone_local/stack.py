"""The local stack: the emulated AWS, the batch server, and the stage ``local`` deployed on them.

``python -m siltstone_local.stack up`` leaves it running with its state on disk; ``down`` stops it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from siltstone.errors import BadSettings, SiltstoneError

from siltstone_local.batch_server import BatchServer
from siltstone_local.batch_server.handle import ADDRESS_FILE
from siltstone_local.deploy import deploy
from siltstone_local.deployment import Deployment, describe
from siltstone_local.emulator import Emulator
from siltstone_local.errors import EmulatorNotStarted
from siltstone_local.paths import PROJECT, STATE
from siltstone_local.synth import synthesize

STAGE = "local"
Progress = Callable[[str], None]
_WAIT_SCALE = 0.05  # the machines' waits are made for batches that take hours
_BATCH_SPEED = 60.0
_STOP_WITHIN = 20.0  # seconds


@dataclass(frozen=True)
class Embeddings:
    """Who embeds. ``local``: the built-in lexical embedder behind the batch server; ``openai``: the real service."""

    kind: str = "local"
    api_key: str = "local"

    @staticmethod
    def chosen(kind: str) -> Embeddings:
        """Raises `BadSettings` for another word, or for ``openai`` without a key."""
        if kind == "local":
            return Embeddings()
        key = os.environ.get("OPENAI_API_KEY", "")
        if kind != "openai" or not key:
            raise BadSettings(
                f"EMBEDDINGS={kind} can't be used." if kind != "openai" else "OPENAI_API_KEY is not set.",
                remedy="EMBEDDINGS is `local`, or `openai` with a key in OPENAI_API_KEY.",
            )
        return Embeddings("openai", key)


class LocalStack:
    """Everything on this machine, in one folder. Started again on the same folder, it knows all that it knew."""

    def __init__(self, state: Path, embeddings: Embeddings | None = None) -> None:
        self.state = state.resolve()
        self.embeddings = embeddings or Embeddings()
        real = self.embeddings.kind == "openai"
        self.emulator = Emulator(self.state / "aws", persist=True, wait_scale=1.0 if real else _WAIT_SCALE)
        self.batch_server = None if real else BatchServer(self.state / "provider", speed=_BATCH_SPEED)

    def start(self, on_progress: Progress = lambda _: None) -> Deployment:
        """Synthesize, start both servers, deploy. Raises what its parts raise; whatever was started is stopped then."""
        self.state.mkdir(parents=True, exist_ok=True)
        self.state.chmod(0o700)  # it holds the provider's key and everybody's receipts
        on_progress("synthesizing the template")
        assembly = synthesize(self.state / "cdk.out", context={"stage": STAGE})
        try:
            on_progress("starting the emulated AWS")
            self.emulator.start()
            environment: dict[str, str] = {}
            if self.batch_server is not None:
                on_progress("starting the batch server")
                environment["OPENAI_BASE_URL"] = self._start_batch_server(self.batch_server)
            deployment = deploy(assembly, self.emulator, environment=environment, on_progress=on_progress)
            for secret in deployment.physical_ids("AWS::SecretsManager::Secret").values():
                deployment.client("secretsmanager").put_secret_value(
                    SecretId=secret, SecretString=self.embeddings.api_key
                )
        except BaseException:
            self.stop()
            raise
        return deployment

    @staticmethod
    def _start_batch_server(server: BatchServer) -> str:
        try:
            return server.start().base_url
        except RuntimeError as error:
            raise EmulatorNotStarted(str(error), remedy=f"Its log is {server.log_file}.") from error

    def stop(self) -> None:
        """Stop what was started; the state stays on disk. Stopping twice is no error."""
        self.emulator.stop()
        if self.batch_server is not None:
            self.batch_server.stop()


def running(state: Path) -> Deployment | None:
    """What another process deployed on ``state``, if all of it runs: also the batch server, where there is one."""
    emulator = Emulator.attach(state / "aws")
    address = state / "provider" / ADDRESS_FILE
    if emulator is None or (address.exists() and _server_pid(address) is None):
        return None
    return describe(emulator.endpoint, [f"siltstone-{STAGE}"])


def stop_running(state: Path) -> bool:
    """Stop a stack that another process started on ``state``; ``False`` if none runs."""
    emulator = Emulator.attach(state / "aws")
    if emulator is not None and not emulator.stop():
        sys.stderr.write("The emulated AWS was killed, since it did not stop: what it held since its start is lost.\n")
    address = state / "provider" / ADDRESS_FILE
    server = _server_pid(address)
    if server is not None:
        os.kill(server, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_WITHIN
        while address.exists() and time.monotonic() < deadline:  # it removes the file at its end
            time.sleep(0.05)
    return emulator is not None or server is not None


def _server_pid(address: Path) -> int | None:
    """The batch server's process, if it answers: a number alone may be somebody else's by now."""
    try:
        found = json.loads(address.read_text())
        with urllib.request.urlopen(found["base_url"].removesuffix("/v1") + "/_ready", timeout=5.0):  # noqa: S310
            return int(found["pid"])
    except (OSError, ValueError, KeyError):
        return None


def main() -> int:
    """The verbs ``up`` and ``down``."""
    parser = argparse.ArgumentParser(prog="python -m siltstone_local.stack", description=__doc__)
    parser.add_argument("verb", choices=["up", "down"])
    parser.add_argument("--state", type=Path, default=STATE / "stack", help="the stack's folder")
    parser.add_argument("--embeddings", default=os.environ.get("EMBEDDINGS", "local"), help="local or openai")
    options = parser.parse_args()
    try:
        if options.verb == "down":
            sys.stdout.write("stopped\n" if stop_running(options.state) else "nothing was running\n")
            return 0
        if Emulator.attach(options.state / "aws") is not None:
            sys.stdout.write("already running; `make down`, then `make up` deploys what changed\n")
            return 0
        stack = LocalStack(options.state, Embeddings.chosen(options.embeddings))
        deployment = stack.start(lambda text: sys.stderr.write(f"{text}\n"))
    except SiltstoneError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    shown = options.state.resolve()
    shown = shown.relative_to(PROJECT) if shown.is_relative_to(PROJECT) else shown
    sys.stdout.write(f"running, state in {shown}\n  AWS_ENDPOINT_URL={deployment.endpoint}\n")
    for name, value in sorted(deployment.outputs.items()):
        sys.stdout.write(f"  {name}={value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
