"""Killed and started again, at the same address: what was answered is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pinecone
import pytest
import siltstone
import siltstone_local
from pinecone.errors.exceptions import ApiError, PineconeConnectionError
from siltstone_local.pinecone_server import Faults, IndexSpec, PineconeServer, PineconeThread, ReplyFault

from tests.unit.pinecone_server.clients import impatient, same


def test_a_process_that_dies_in_the_middle_has_lost_nothing_that_it_answered(tmp_path: Path):
    with PineconeServer(tmp_path) as server:
        server.create_index(IndexSpec(name="kept", dimension=3))
        index = impatient(server.host("kept"))
        server.set_faults(Faults(replies=(ReplyFault(kind="die", path="/vectors/upsert", skip=5),)))
        answered = []
        with pytest.raises(PineconeConnectionError):
            for batch in range(20):
                ids = [f"v{batch:02}-{row}" for row in range(10)]
                index.upsert(vectors=[(id_, [1, 2, 3], {"batch": batch}) for id_ in ids])
                answered += ids
        assert len(answered) == 50
        address = server.base_url
        server.start()
        assert server.base_url == address
        assert server.faults() == Faults()
        assert [item.id for page in index.list() for item in page] == answered


def test_all_20_000_vectors_come_through_throttling_failures_cuts_and_kills(tmp_path: Path):
    server = PineconeServer(tmp_path).start()
    deaths = (
        ReplyFault(kind="die", path="/vectors/list", skip=30),
        ReplyFault(kind="die", path="/vectors/fetch", skip=9),
    )
    bad = Faults(throttle_every_nth=7, fail_every_nth=23, cut_every_nth=31, retry_after_seconds=0.0)
    failures: Counter[str] = Counter()

    def insist(call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except ApiError as error:
                failures[str(error.status_code)] += 1
            except PineconeConnectionError:
                failures["cut" if server.alive else "killed"] += 1
                if not server.alive:
                    server.start()
                    server.set_faults(bad)

    try:
        seeded = server.fill("receipts")
        index = impatient(server.host("receipts"))
        server.set_faults(bad.model_copy(update={"replies": deaths[:1]}))
        for namespace, kept in seeded.namespaces.items():
            ids, token = [], None
            while token is not None or not ids:
                page = insist(partial(index.list_paginated, namespace=namespace, pagination_token=token))
                ids += [item.id for item in page.vectors]
                token = page.pagination and page.pagination.next
            assert ids == sorted(kept)
            if namespace == "lines":
                server.set_faults(bad.model_copy(update={"replies": deaths[1:]}))
            for start in range(0, len(ids), 400):
                wanted = ids[start : start + 400]
                found = insist(partial(index.fetch, ids=wanted, namespace=namespace)).vectors
                assert all(same(found[id_], kept[id_]) for id_ in wanted)
        assert failures.keys() == {"429", "500", "cut", "killed"}
        assert failures["killed"] == 2
    finally:
        server.stop()


def test_it_is_started_from_a_shell_with_vectors(tmp_path: Path):
    command = [sys.executable, "-m", "siltstone_local.pinecone_server", "--folder", str(tmp_path)]
    command += ["--fill", "receipts", "--vectors", "100", "--dimension", "8"]
    paths = os.pathsep.join(str(Path(module.__file__ or "").parents[1]) for module in (siltstone, siltstone_local))
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.DEVNULL)
    try:
        address, deadline = tmp_path / "server.json", time.monotonic() + 60
        while not address.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        client = pinecone.Pinecone(api_key="any", host=json.loads(address.read_text())["base_url"])
        assert client.Index("receipts").describe_index_stats().total_vector_count == 100
    finally:
        process.terminate()
        process.wait(30)
    assert not address.exists()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_thread_ends_and_starts_again(tmp_path: Path, end: str):
    server = PineconeThread(tmp_path).start()
    server.fill("receipts", vectors=100, dimension=8)
    address = server.base_url
    index = impatient(server.host("receipts"))
    assert index.describe_index_stats().total_vector_count == 100
    finish: Callable[[], None] = getattr(server, end)
    finish()
    with pytest.raises(PineconeConnectionError):
        index.describe_index_stats()
    with server.start():
        assert server.base_url == address
        assert index.describe_index_stats().total_vector_count == 100


def test_many_at_once_get_whole_answers(tmp_path: Path):
    with PineconeThread(tmp_path) as server:
        seeded = server.fill("receipts", vectors=400, dimension=8)
        index = pinecone.Index(host=server.host("receipts"), api_key="any")
        index.upsert(vectors=[("counter", [1.0] * 8, {"start": True})], namespace="lines")
        failures: list[Exception] = []

        def work(number: int) -> None:
            try:
                for step in range(5):
                    found = index.fetch(ids=sorted(seeded.namespaces["words"]), namespace="words").vectors
                    assert len(found) == 240
                    index.update(id="counter", set_metadata={f"w{number}-{step}": True}, namespace="lines")
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(index.fetch(ids=["counter"], namespace="lines").vectors["counter"].metadata) == 31
