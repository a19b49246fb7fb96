"""A few of the bad days through the deployed machine, on the emulated AWS."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from siltstone.clock import SystemClock
from siltstone.sources.loading import delete_sources, load_sources
from siltstone.sources.text import Text, text_source_id
from siltstone.stores.provider_openai import OpenAIProvider
from siltstone_local.batch_server import BatchFaults, Faults, ReplyFault

from tests.faults.crashes.batches import Texts
from tests.faults.crashes.checks import ask
from tests.faults.crashes.house import House

pytestmark = pytest.mark.e2e

COLLECTION = "crash-bad-days"
DAYS = {
    "expires half done": Faults(batch=BatchFaults(end_half_done="expired"), batches=1),
    "rows dropped, garbled, zero and refused for now": Faults(
        batch=BatchFaults(drop_rows=1, garbled_rows=1, zero_rows=1, refused_rows=1), batches=1
    ),
    "its queue is full": Faults(batch=BatchFaults(token_limit_exceeded=True), batches=1),
    "the purchase has no reply and is listed late": Faults(
        replies=(ReplyFault(path="/v1/batches", method="POST", kind="lost"),), list_lag_seconds=0.3
    ),
    "nothing is answered at first": Faults(
        replies=tuple(
            ReplyFault(path=path, method=method, kind=kind, times=3)
            for path, method, kind in (
                ("/v1/files", "POST", "429"),
                ("/v1/batches/*", "GET", "500"),
                ("/v1/files/*", "GET", "503"),
            )
        )
    ),
    "validation fails": Faults(batch=BatchFaults(fail_validation=True), batches=1),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("bad-days")) as made:
        made.switch.clear()
        yield made


@pytest.fixture(scope="module")
def texts(house: House) -> Texts:
    return Texts(house, COLLECTION)


def load(house: House, texts: Texts, words: dict[str, str]) -> None:
    texts.texts |= words
    sources = [Text(collection=COLLECTION, id=name, text=each) for name, each in words.items()]
    load_sources(sources, house.stores, SystemClock())


def submitted(house: House) -> bool:
    return any(batch.status == "SUBMITTED" for batch in house.stores.ledger.list(open_only=True))


def check(house: House, texts: Texts) -> None:
    """Every source is a success, the ledger balances, and no attempt was run twice at the provider."""
    items = house.stores.sources.read_many([text_source_id(COLLECTION, name) for name in texts.texts])
    assert {item.collections[COLLECTION].status for item in items.values()} == {"SUCCESS"}
    for batch in house.stores.ledger.list():
        assert batch.counts.balanced and (batch.status, batch.counts.to_retry > 0) in {
            ("COMPLETE", False),
            ("FAILED", True),  # of a batch that failed as a whole the sources went into another
        }
    provider = OpenAIProvider(api_key="local", base_url=house.batch_server.base_url)
    ran = [info.metadata for info in provider.list_batches() if info.status != "failed"]
    bought = Counter((metadata["batch_id"], metadata["attempt"]) for metadata in ran)
    assert set(bought.values()) == {1}


@pytest.mark.parametrize("day", DAYS)
def test_what_readers_see_is_what_the_sources_are_whatever_the_day(house: House, texts: Texts, day: str) -> None:
    """One source is deleted and one is changed while their batch is open."""
    number = list(DAYS).index(day)
    names = [f"{number}-{place}" for place in range(6)]
    load(house, texts, {name: f"the text of {name}" for name in names})
    house.batch_server.set_faults(DAYS[day])
    before = house.executions("embedding")
    first = house.start("embedding", {})
    deadline = time.monotonic() + 60
    while not submitted(house):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    delete_sources([text_source_id(COLLECTION, names[0])], house.stores, SystemClock())
    del texts.texts[names[0]]
    load(house, texts, {names[1]: f"the new text of {names[1]}"})
    house.wait_for_all("embedding", first, before)
    house.batch_server.clear_faults()
    found = ask(house, COLLECTION)
    assert names[0] not in found
    assert found.get(names[1], ("", texts.texts[names[1]]))[1] == texts.texts[names[1]]
    for _ in range(3):
        house.let_time_pass()
        house.run("embedding", {})
    check(house, texts)
    assert {row: each[1] for row, each in ask(house, COLLECTION).items()} == texts.texts
