"""Starts and stops the Pinecone server, as a process of its own or as a thread of this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

import siltstone
import uvicorn

from siltstone_local.pinecone_server import seed as seeds
from siltstone_local.pinecone_server.faults import Faults
from siltstone_local.pinecone_server.gate import DATA_PLANE
from siltstone_local.pinecone_server.indexes import IndexSpec, Metric
from siltstone_local.pinecone_server.seed import Seeded
from siltstone_local.pinecone_server.serving import ADDRESS_FILE, listen, server_config
from siltstone_local.pinecone_server.store import Store

_SOURCES = [str(Path(siltstone.__file__).parents[1]), str(Path(__file__).parents[2])]


class _Handle(ABC):
    """What both have. ``port`` 0: any free one, which is kept when the server is started again."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.folder = folder
        self.port = port
        self.base_url = ""  # "http://127.0.0.1:PORT", once started: the control plane

    @abstractmethod
    def start(self, *, timeout: float = 30.0) -> Self:
        """Start and wait until requests are answered. Raises `RuntimeError` if it does not come up."""

    @abstractmethod
    def stop(self, *, timeout: float = 10.0) -> None:
        """Let running requests end, then stop. Stopping twice is no error."""

    @abstractmethod
    def kill(self) -> None:
        """Stop at once. What was answered is on disk."""

    def host(self, index: str) -> str:
        """Where the data plane of ``index`` is, as `describe_index` tells it: for ``client.Index(host=...)``."""
        return f"{self.base_url}{DATA_PLANE}{index}"

    def create_index(self, spec: IndexSpec) -> None:
        """Make an index, or give an existing one another description. Whether the server runs or not."""
        store = Store(self.folder)
        store.put_index(spec)
        store.close()

    def fill(
        self,
        index: str = "receipts",
        *,
        vectors: int = 20_000,
        dimension: int = 64,
        metric: Metric = "cosine",
        pod_based: bool = False,
        old_metadata: bool = False,
        seed: int = 7,
    ) -> Seeded:
        """Make ``index`` anew with vectors in the namespaces `words`, `lines` and "", and say which.

        It is written past the API, whether the server runs or not: 20,000 take about a second. ``old_metadata``:
        also what Pinecone refuses today and old indexes may hold (null, nested, lists of mixed type).
        """
        store = Store(self.folder)
        try:
            return seeds.fill(
                store,
                index,
                vectors=vectors,
                dimension=dimension,
                metric=metric,
                pod_based=pod_based,
                old_metadata=old_metadata,
                seed=seed,
            )
        finally:
            store.close()

    def set_faults(self, faults: Faults) -> None:
        """Put ``faults`` in force instead of those before. A restart clears them."""
        self._call("POST", "/_faults", faults.model_dump_json().encode())

    def clear_faults(self) -> None:
        """Be in good health again."""
        self._call("DELETE", "/_faults")

    def faults(self) -> Faults:
        """What is still in force."""
        return Faults.model_validate_json(self._call("GET", "/_faults"))

    def requests(self) -> dict[str, int]:
        """How many requests had which answer since the start, as ``{"GET /vectors/list 200": 7}``; 0: it was cut."""
        return json.loads(self._call("GET", "/_requests"))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            self._call("GET", "/_ready")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.base_url + path, body, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=5.0) as reply:  # noqa: S310
            return reply.read()


class PineconeServer(_Handle):
    """The server over ``folder`` as a process: it can be killed. Started again, it knows all it knew."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        super().__init__(folder, port=port)
        self.log_file = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id; None before it was started and after it was stopped."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether the process runs. A fault may have killed it."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, timeout: float = 30.0) -> Self:
        self.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        address = self.folder / ADDRESS_FILE
        address.unlink(missing_ok=True)  # of a server that was killed
        command = [sys.executable, "-m", "siltstone_local.pinecone_server"]
        command += ["--folder", str(self.folder), "--port", str(self.port)]
        environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(_SOURCES)}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        deadline = time.monotonic() + timeout
        while not (address.exists() and self._answers_at(address)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = self.log_file.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"The Pinecone server did not start; {self.log_file} ends with:\n{tail}")
            time.sleep(0.02)
        return self

    def stop(self, *, timeout: float = 10.0) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _answers_at(self, address: Path) -> bool:
        self.base_url = json.loads(address.read_text())["base_url"]
        self.port = int(self.base_url.rpartition(":")[2])
        return self._answers()


class PineconeThread(_Handle):
    """The server over ``folder`` as a thread of this process: quick to start, and it can't be told to die."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        super().__init__(folder, port=port)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, *, timeout: float = 30.0) -> Self:
        self.stop()
        listener = listen("127.0.0.1", self.port)
        self.port = listener.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"
        store = Store(self.folder)
        self._server = uvicorn.Server(server_config(store, may_die=False))

        def serve(server: uvicorn.Server) -> None:
            try:
                server.run(sockets=[listener])
            finally:
                store.close()

        self._thread = threading.Thread(target=serve, args=(self._server,), name="pinecone-server", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + timeout
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("The Pinecone server did not start in this process.")
            time.sleep(0.005)
        return self

    def stop(self, *, timeout: float = 10.0) -> None:
        self._end(timeout, at_once=False)

    def kill(self) -> None:
        self._end(10.0, at_once=True)

    def _end(self, timeout: float, *, at_once: bool) -> None:
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is None or thread is None:
            return
        server.should_exit, server.force_exit = True, at_once
        thread.join(timeout)
