"""Where the checkout's parts are. The local stack runs the functions from the checkout itself, nothing is copied."""

from __future__ import annotations

import socket
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
EMULATOR_VENV = PROJECT / ".venv-ministack"
STATE = PROJECT / ".siltstone"  # of `make up`; tests and the demo use folders of their own
LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def port_is_taken(port: int) -> bool:
    """Whether something listens on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0
