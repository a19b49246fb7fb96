"""``python -m siltstone_local.batch_server --port 0 --folder STATE``: the OpenAI-compatible batch server."""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from siltstone_local.batch_server.app import make_app
from siltstone_local.batch_server.handle import ADDRESS_FILE
from siltstone_local.batch_server.state import State
from siltstone_local.batch_server.work import Pace, work_forever

_log = logging.getLogger("siltstone_local.batch_server")


def main() -> None:
    """Serve until told to stop. The address goes to ``FOLDER/server.json`` once requests are accepted."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    folder: Path = options.folder.resolve()
    state = State(folder)
    for abandoned in (folder / "work").glob("upload-*"):  # by a server that was killed
        abandoned.unlink()
    listener = socket.create_server((options.host, options.port))
    base_url = f"http://{options.host}:{listener.getsockname()[1]}/v1"

    @contextmanager
    def worker() -> Generator[None]:
        context = multiprocessing.get_context("spawn")
        arguments = (folder, Pace.of(options.speed), options.seed, os.getpid())
        process = context.Process(target=work_forever, args=arguments, daemon=True)
        process.start()
        address = folder / ADDRESS_FILE
        address.with_suffix(".part").write_text(json.dumps({"base_url": base_url, "pid": os.getpid()}))
        address.with_suffix(".part").replace(address)
        _log.info("listening on %s", base_url)
        try:
            yield
        finally:
            address.unlink(missing_ok=True)
            process.terminate()
            process.join(10.0)

    config = uvicorn.Config(make_app(state, worker), log_level="warning", timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[listener])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m siltstone_local.batch_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one; see server.json in the folder")
    parser.add_argument("--folder", type=Path, required=True, help="where files and batches are kept")
    parser.add_argument("--speed", type=float, default=60.0, help="1: a batch takes three minutes; 60: three seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the output rows")
    return parser.parse_args()


if __name__ == "__main__":
    main()
