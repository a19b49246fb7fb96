"""``python -m siltstone_local.pinecone_server --folder STATE --port 5080``: the Pinecone server."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from pathlib import Path

import uvicorn

from siltstone_local.pinecone_server.handle import PineconeServer
from siltstone_local.pinecone_server.serving import ADDRESS_FILE, listen, server_config
from siltstone_local.pinecone_server.store import Store

_log = logging.getLogger("siltstone_local.pinecone_server")


def main() -> None:
    """Serve until told to stop. The address goes to ``FOLDER/server.json`` once requests are accepted."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    folder: Path = options.folder.resolve()
    if options.fill:
        seeded = PineconeServer(folder).fill(options.fill, vectors=options.vectors, dimension=options.dimension)
        _log.info("filled %s with %d vectors", options.fill, len(seeded))
    store = Store(folder)
    listener = listen(options.host, options.port)
    base_url = f"http://{options.host}:{listener.getsockname()[1]}"
    server = uvicorn.Server(server_config(store, may_die=True))
    address = folder / ADDRESS_FILE
    address.with_suffix(".part").write_text(json.dumps({"base_url": base_url, "pid": os.getpid()}))
    address.with_suffix(".part").replace(address)
    _log.info("listening on %s", base_url)
    # uvicorn ends, then raises the signal again: without a handler the process would be gone before it tidies up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.run(sockets=[listener])
    finally:
        address.unlink(missing_ok=True)
        store.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m siltstone_local.pinecone_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one; see server.json in the folder")
    parser.add_argument("--folder", type=Path, required=True, help="where indexes and vectors are kept")
    parser.add_argument("--fill", metavar="INDEX", help="first make this index anew, with seeded vectors")
    parser.add_argument("--vectors", type=int, default=20_000, help="how many, in three namespaces")
    parser.add_argument("--dimension", type=int, default=64)
    return parser.parse_args()


if __name__ == "__main__":
    main()
