"""A put is over before the settle margin is: a delta can't appear among those that a run has merged already."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from siltstone.clock import ManualClock
from siltstone.errors import StoreUnavailable
from siltstone.settings import CollectionBook
from siltstone.stores import sending
from siltstone.stores.aws import CLIENT_CONFIG
from siltstone.stores.objects_s3 import S3Objects
from siltstone.stores.sending import SEND_SECONDS, TimedBody
from siltstone_local.aws import CREDENTIALS, REGION

CONTINUE_SECONDS = 1.0  # botocore waits so long for S3 to ask for the body
STAGES = json.loads((Path(__file__).parents[3] / "cdk.json").read_text())["stages"]


def client(endpoint: str | None = None, **settings: Any) -> Any:
    config = CLIENT_CONFIG.merge(Config(**settings))
    return boto3.Session(region_name=REGION, **CREDENTIALS).client("s3", endpoint_url=endpoint, config=config)


class SlowLine:
    """A server behind a line of some 400 KB a second. ``whole``: how often all of a body arrived."""

    def __init__(self) -> None:
        self.whole = 0
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen()
        self.endpoint = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb", buffering=0) as stream:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += stream.read(1) or b"\r\n\r\n"
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            [length] = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
            while length > 0:
                length -= len(piece := stream.read(20_000))
                if not piece:
                    return
                time.sleep(0.05)
            self.whole += 1


@pytest.fixture
def line() -> Iterator[SlowLine]:
    made = SlowLine()
    yield made
    made.socket.close()


def test_the_longest_put_is_shorter_than_the_settle_margin() -> None:
    config = client().meta.config
    # The body is sent in time, but for a last piece that is stuck in the socket; or it is, and the reply is awaited.
    longest = CONTINUE_SECONDS + SEND_SECONDS + max(config.connect_timeout, config.read_timeout)
    assert longest == 101.0
    assert longest < CollectionBook().settle_seconds


@pytest.mark.parametrize("stage", sorted(STAGES.keys() - {"local"}))  # there, producer and store are on one machine
def test_no_stage_on_aws_settles_sooner(stage: str) -> None:
    assert STAGES[stage].get("settle_seconds", 120) >= CollectionBook().settle_seconds


@pytest.mark.parametrize("stage", sorted(STAGES.keys() - {"local"}))
def test_where_a_hint_starts_a_run_what_it_speaks_of_has_settled(stage: str) -> None:
    assert STAGES[stage].get("triggers", {}).get("hint_window_seconds", 300) > CollectionBook().settle_seconds


def test_a_body_that_takes_too_long_is_given_up_though_no_piece_of_it_does(line: SlowLine) -> None:
    store = S3Objects("bucket", client(line.endpoint, connect_timeout=1, read_timeout=1), send_seconds=0.5)
    with pytest.raises(StoreUnavailable, match=r"20,000,000 bytes could not be sent within 0\.5 s\. .*fewer rows"):
        store.put("key", b"x" * 20_000_000)
    assert line.whole == 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    clock = ManualClock()
    monkeypatch.setattr(sending, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_the_time_of_a_body_starts_with_its_first_piece(clock: ManualClock) -> None:
    body = TimedBody(b"abc", 40.0)
    clock.advance(1_000)  # a connection was waited for
    assert body.read(2) == b"ab"
    clock.advance(40)
    assert (body.read(2), body.read(2), body.late) == (b"c", b"", False)


def test_each_attempt_has_its_own_time_until_one_was_late(clock: ManualClock) -> None:
    body = TimedBody(b"abc", 40.0)
    for _ in range(3):
        assert body.read(2) == b"ab"
        clock.advance(39)
        body.seek(0)
    assert body.read(2) == b"ab"
    clock.advance(41)
    with pytest.raises(TimeoutError):
        body.read(2)
    body.seek(0)
    with pytest.raises(TimeoutError):  # the same line, the same end
        body.read(2)


def test_a_last_piece_that_was_stuck_is_late_too(clock: ManualClock) -> None:
    body = TimedBody(b"abc", 40.0)
    assert body.read() == b"abc"
    clock.advance(41)
    with pytest.raises(TimeoutError):
        body.read()
