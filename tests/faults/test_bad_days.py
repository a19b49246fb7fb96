"""Bad days at the provider: each fault of the real batch server, alone and in pairs, and sources that change meanwhile.

Whatever happens: the ledger balances, no attempt is paid twice, and what readers see is what the sources are. Of each
kind some run with the ordinary tests, all with ``make faults``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, product
from pathlib import Path
from typing import Any

import openai
import pytest
from siltstone_local.batch_server import BatchFaults, BatchServer, Faults, ReplyFault

from tests.faults.bad_days import EVENTS, VICTIMS, Event, World, change, delete, nothing

IN_ORDER = {"order": "input"}
BATCH_FAULTS: dict[str, dict[str, object]] = {
    "validation fails": {"fail_validation": True},
    "its queue is full": {"token_limit_exceeded": True},
    "expires half done": {"end_half_done": "expired"},
    "cancelled half done": {"end_half_done": "cancelled"},
    "rows dropped": {"drop_rows": 2},
    "rows repeated": {"repeat_rows": 2},
    "rows in reverse": {"order": "reversed"},
    "unknown ids": {"unknown_rows": 2},
    "another dimension": {"other_dimension_rows": 2},
    "NaN": {"nan_rows": 2},
    "zeros": {"zero_rows": 2},
    "garbled rows": {"garbled_rows": 2},
    "rows refused for now": {"refused_rows": 2, "refused_status": 500},
    "rows refused for good": {"refused_rows": 2, "refused_status": 400},
}
PATHS = {
    "uploading": ("/v1/files", "POST"),
    "buying": ("/v1/batches", "POST"),
    "polling": ("/v1/batches/*", "GET"),
    "listing": ("/v1/batches", "GET"),
    "downloading": ("/v1/files/*", "GET"),
}
KINDS = ("429", "500", "503", "timeout", "lost")


def some_now(*columns: Iterable[Any], now: int) -> list[Any]:
    """All combinations; a diagonal of ``now`` of them is not marked, so that each value has its turn."""
    whole = list(product(*columns))
    lengths = [len(list(column)) for column in columns]
    diagonal = {tuple(list(c)[n % k] for c, k in zip(columns, lengths, strict=True)) for n in range(now)}
    return [pytest.param(*each, marks=() if each in diagonal else pytest.mark.faults, id=_name(each)) for each in whole]


def _name(values: tuple[Any, ...]) -> str:
    return ", ".join(getattr(value, "__name__", str(value)) for value in values)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer]:
    with BatchServer(tmp_path_factory.mktemp("bad-days"), speed=20_000) as server:
        yield server


@pytest.fixture
def world(
    request: pytest.FixtureRequest, running: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    # How often the client tries again is its own; only how long it sleeps in between is not worth waiting for.
    monkeypatch.setattr(openai.OpenAI, "_calculate_retry_timeout", lambda *_, **__: 0.001)
    patience = 1.0 if "timeout" in request.node.name else 30.0
    monkeypatch.setattr("siltstone.stores.provider_openai._UPLOAD_SECONDS", patience)
    yield World(running, tmp_path / "scratch", patience)
    running.clear_faults()


def a_day(world: World, faults: Faults, *, open_: Event = nothing, late: Event = nothing) -> None:
    """The faults are in force while the first batches are planned and executed."""
    world.server.set_faults(faults)
    for batch_id in world.plan():
        if world.house.stores.ledger.read(batch_id).collection == "texts":
            world.execute(batch_id, open_=open_, late=late)
        else:
            world.execute(batch_id)


def gone_or_new(world: World) -> None:
    """What was deleted is gone, and what was changed is not back in its old form, already now."""
    found = world.house.documents()
    for name in VICTIMS:
        wanted = world.wanted[f"text.texts.{name}"]
        assert wanted is not None or name not in found
        assert wanted is None or found.get(name, wanted.text) == wanted.text  # type: ignore[union-attr]


@pytest.mark.parametrize(("fault", "event"), some_now(BATCH_FAULTS, EVENTS, now=14))
def test_a_bad_batch_and_a_source_that_goes_its_own_way_meanwhile(world: World, fault: str, event: Event) -> None:
    bad = BatchFaults.model_validate({**IN_ORDER, **BATCH_FAULTS[fault]})
    a_day(world, Faults(batch=bad, batches=2), open_=event)
    gone_or_new(world)
    world.come_to_rest()
    world.check()
    if event is nothing:
        assert len(world.refused()) == (2 if fault == "rows refused for good" else 0)


@pytest.mark.parametrize(
    ("fault", "event"),
    some_now(["rows dropped", "rows repeated", "expires half done", "rows refused for good"], EVENTS[:0:-1], now=4),
)
def test_a_source_that_goes_its_own_way_once_its_delta_is_written(world: World, fault: str, event: Event) -> None:
    bad = BatchFaults.model_validate({**IN_ORDER, **BATCH_FAULTS[fault]})
    a_day(world, Faults(batch=bad, batches=2), late=event)
    if event is delete:
        gone_or_new(world)
    world.come_to_rest()
    world.check()


@pytest.mark.faults
@pytest.mark.parametrize("fault", BATCH_FAULTS)
def test_a_fault_that_stays_ends_and_is_mended_by_asking_again(world: World, fault: str) -> None:
    bad = BatchFaults.model_validate({**IN_ORDER, **BATCH_FAULTS[fault]})
    world.server.set_faults(Faults(batch=bad))
    world.come_to_rest()
    world.check_ledger()
    world.check_paid_once()
    world.server.clear_faults()
    world.come_to_rest(retry_failed=True)
    world.check()
    assert world.refused() == world.refused("lines") == set()


@pytest.mark.parametrize(("path", "kind", "times"), some_now(PATHS, KINDS, [1, 5], now=5))
def test_a_path_that_does_not_answer(world: World, path: str, kind: str, times: int) -> None:
    where, method = PATHS[path]
    replies = [ReplyFault(path=where, method=method, kind=kind, times=times)]  # type: ignore[arg-type]
    if path == "listing":  # nobody lists unless it is unknown whether a batch was bought
        replies.append(ReplyFault(path="/v1/batches", method="POST", kind="lost"))
    a_day(world, Faults(replies=tuple(replies)), open_=change)
    # Each purchase without an answer waits for the list for three minutes: after ten the execution gives up.
    assert world.died == [] or (path, times) == ("buying", 5)
    world.come_to_rest()
    world.check()


@pytest.mark.faults
@pytest.mark.parametrize("path", ["uploading", "polling", "downloading"])
def test_a_path_that_answers_nothing_for_long_ends_the_execution_and_another_goes_on(world: World, path: str) -> None:
    where, method = PATHS[path]
    a_day(world, Faults(replies=(ReplyFault(path=where, method=method, kind="500", times=10_000),)), open_=delete)
    assert world.died
    world.server.clear_faults()
    world.come_to_rest()
    world.check()


@pytest.mark.parametrize(("kind", "event"), some_now(["lost", "timeout", "500"], [nothing, delete, change], now=3))
def test_a_purchase_without_a_reply_that_the_list_shows_only_later(world: World, kind: str, event: Event) -> None:
    """A second at the server is as long as a hundred of the machine's waits."""
    replies = (ReplyFault(path="/v1/batches", method="POST", kind=kind),)  # type: ignore[arg-type]
    a_day(world, Faults(replies=replies, list_lag_seconds=1.0), open_=event)
    world.server.clear_faults()
    assert world.died == []
    world.come_to_rest()
    world.check()
    texts = [batch for batch in world.house.stores.ledger.list() if batch.collection == "texts"]
    assert min(batch.submission for batch in texts) == 1 if kind == "lost" else True


@pytest.mark.faults
@pytest.mark.parametrize(("one", "other"), list(combinations(BATCH_FAULTS, 2)), ids=" and ".join)
def test_two_faults_at_once(world: World, one: str, other: str) -> None:
    for event in (nothing, delete, change):
        both = BatchFaults.model_validate({**IN_ORDER, **BATCH_FAULTS[one], **BATCH_FAULTS[other]})
        a_day(world, Faults(batch=both, batches=2), open_=event)
        gone_or_new(world)
        world.come_to_rest()
        world.check()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("fault", "path", "kind"),
    [
        (fault, path, KINDS[(number + place) % len(KINDS)])
        for number, fault in enumerate(BATCH_FAULTS)
        for place, path in enumerate(PATHS)
    ],
)
def test_a_bad_batch_behind_a_path_that_does_not_answer(world: World, fault: str, path: str, kind: str) -> None:
    where, method = PATHS[path]
    replies = (
        ReplyFault(path=where, method=method, kind=kind, times=2),  # type: ignore[arg-type]
        ReplyFault(path="/v1/batches", method="POST", kind="lost"),
    )
    bad = BatchFaults.model_validate({**IN_ORDER, **BATCH_FAULTS[fault]})
    a_day(world, Faults(batch=bad, batches=2, replies=replies, list_lag_seconds=0.5), open_=change)
    gone_or_new(world)
    world.server.clear_faults()
    world.come_to_rest()
    world.check()
