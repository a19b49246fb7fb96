"""Listening and answering: what a process and a thread do alike."""

from __future__ import annotations

import secrets
import socket
import time

import uvicorn

from siltstone_local.pinecone_server.app import make_app
from siltstone_local.pinecone_server.store import Store

ADDRESS_FILE = "server.json"
_PORTS = range(15_000, 32_000)  # below those that the system gives away: nobody takes one while its server is down


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ``port`` 0: any free one. Raises `OSError` if the port stays in use."""
    deadline = time.monotonic() + 10.0
    while True:
        try:
            return socket.create_server((host, port or secrets.choice(_PORTS)), backlog=256)
        except OSError:  # in use: another one, or the same once the server that has just died is gone
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def server_config(store: Store, *, may_die: bool) -> uvicorn.Config:
    """httptools: h11 refuses the URLs that a fetch of 1,000 ids needs. What a fault provokes is not logged."""
    app = make_app(store, may_die=may_die)
    return uvicorn.Config(app, http="httptools", lifespan="off", log_level="critical", timeout_graceful_shutdown=2)
