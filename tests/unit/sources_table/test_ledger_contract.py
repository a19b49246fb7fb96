"""What the ledger promises, in memory and on DynamoDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from siltstone.errors import IllegalTransition, LedgerChanged, UnknownBatch
from siltstone.stores.ledger import Attempt, BatchItem, Counts, Ledger
from siltstone.stores.ledger_dynamo import DynamoLedger

from tests.unit.sources_table.conftest import Unkind


def batch(batch_id: str = "01B", **more: object) -> BatchItem:
    return BatchItem.model_validate(
        {"batch_id": batch_id, "collection": "lines", "plan": "plan-1", "model": "m", "records": 3, **more}
    )


ATTEMPT = Attempt(
    attempt=1,
    openai_batch_id="batch_1",
    counts=Counts(submitted=3, embedded=1, to_retry=1, rejected=1),
    tokens=12,
    cost_usd=1.2e-07,
    delta_keys=("deltas/lines/01B-1/embeddings.parquet",),
    recorded_at=1_700_000_000.125,
)


def test_an_item_comes_back_exactly_as_it_was_saved(ledger: Ledger) -> None:
    stored = ledger.create(batch(), now=1.5)
    assert ledger.read("01B") == stored
    moved = stored.moved("SUBMITTED", attempts=(ATTEMPT,), submitting_at=1.25, openai_batch_id="batch_1")
    saved = ledger.save(moved, now=2.5)
    assert ledger.read("01B") == saved
    assert (saved.version, saved.created_at, saved.updated_at, saved.seen_at) == (2, 1.5, 2.5, 2.5)
    assert ledger.read_many(["01B", "none"]) == {"01B": saved}


def test_a_value_that_is_taken_away_is_gone(ledger: Ledger) -> None:
    stored = ledger.create(batch(openai_batch_id="batch_1", status="SUBMITTED"), now=1.0)
    ledger.save(stored.moved("SUBMITTING", openai_batch_id=None), now=2.0)
    assert ledger.read("01B").openai_batch_id is None


def test_an_unknown_batch_is_named(ledger: Ledger) -> None:
    with pytest.raises(UnknownBatch, match="nope"):
        ledger.read("nope")


def test_a_batch_is_made_once(ledger: Ledger) -> None:
    stored = ledger.create(batch(), now=1.0)
    with pytest.raises(LedgerChanged):
        ledger.create(batch(records=4), now=2.0)
    assert ledger.read("01B") == stored


def test_two_executions_that_want_the_very_same_do_not_both_get_it(ledger: Ledger) -> None:
    stored = ledger.create(batch(), now=1.0)
    ledger.save(stored.moved("SUBMITTING", submission=1, submitting_at=2.0), now=2.0)
    with pytest.raises(LedgerChanged):
        ledger.save(stored.moved("SUBMITTING", submission=1, submitting_at=2.0), now=2.0)


def test_a_save_on_an_older_version_is_refused(ledger: Ledger) -> None:
    stored = ledger.create(batch(), now=1.0)
    ledger.save(stored.moved("SUBMITTING", submission=1), now=2.0)
    with pytest.raises(LedgerChanged):
        ledger.save(stored.moved("SUBMITTED", openai_batch_id="other"), now=3.0)


def test_one_of_many_racing_submissions_wins(ledger: Ledger) -> None:
    stored = ledger.create(batch(), now=1.0)

    def race(number: int) -> bool:
        try:
            ledger.save(stored.moved("SUBMITTING", submitting_at=float(number)), now=2.0)
        except LedgerChanged:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(16))) == 1


def test_a_sign_of_life_does_not_disturb_a_save(ledger: Ledger) -> None:
    stored = ledger.create(batch(), now=1.0)
    ledger.touch("01B", now=9.0)
    assert ledger.read("01B").seen_at == 9.0
    ledger.touch("none", now=9.0)
    ledger.save(stored.moved("SUBMITTING"), now=10.0)
    with pytest.raises(UnknownBatch):
        ledger.read("none")


def test_quarantined_deltas_are_named_and_counted_whatever_else_is_written(ledger: Ledger) -> None:
    stored = ledger.create(batch(), now=1.0)
    key = "deltas/lines/01B-1/embeddings.parquet"
    for _ in range(2):
        assert ledger.note_quarantine("01B", delta_key=key, records=3)
    saved = ledger.save(stored.moved("SUBMITTING"), now=2.0)
    assert ledger.read("01B").quarantined == {key: 3}
    ledger.save(saved.moved("FAILED"), now=3.0)
    assert ledger.read("01B").quarantined == {key: 3}
    assert not ledger.note_quarantine("none", delta_key=key, records=3)


def test_a_request_to_cancel_disturbs_no_save_and_is_lost_by_none(ledger: Ledger) -> None:
    stored = ledger.create(batch(), now=1.0)
    assert ledger.request_cancel("01B", now=7.5)
    saved = ledger.save(stored.moved("SUBMITTING"), now=8.0)
    assert ledger.read("01B").cancel_requested_at == 7.5
    ledger.save(saved.moved("CANCELLED"), now=9.0)
    assert ledger.read("01B").cancel_requested_at == 7.5
    assert list(ledger.list(open_only=True)) == []
    assert not ledger.request_cancel("none", now=9.0)


def test_open_batches_are_listed(ledger: Ledger) -> None:
    for name, status in (("01A", "PLANNED"), ("01B", "COMPLETE"), ("01C", "FAILED"), ("01D", "EMBEDDED")):
        ledger.create(batch(name, status=status), now=1.0)
    assert sorted(one.batch_id for one in ledger.list(open_only=True)) == ["01A", "01D"]
    assert len(list(ledger.list())) == 4


@pytest.mark.parametrize(
    ("status", "to"),
    [
        ("PLANNED", "EMBEDDED"),
        ("PLANNED", "COMPLETE"),
        ("SUBMITTING", "PLANNED"),
        ("SUBMITTED", "COMPLETE"),
        ("EMBEDDED", "SUBMITTED"),
        ("COMPLETE", "SUBMITTING"),
        ("COMPLETE", "FAILED"),
        ("FAILED", "PLANNED"),
        ("COMPLETE", "CANCELLED"),
        ("CANCELLED", "SUBMITTING"),
    ],
)
def test_a_move_that_the_machine_does_not_have_is_refused(status: str, to: str) -> None:
    with pytest.raises(IllegalTransition, match=f"{status} and can't become {to}"):
        batch(status=status).moved(to)  # type: ignore[arg-type]


def test_records_that_were_sent_again_count_once() -> None:
    second = Attempt(attempt=2, counts=Counts(submitted=1, embedded=1), tokens=4, cost_usd=4e-08)
    item = batch(attempt=2, attempts=(ATTEMPT, second))
    assert item.counts == Counts(submitted=3, embedded=2, rejected=1)
    assert item.counts.balanced
    assert item.tokens == 16
    assert item.cost_usd == pytest.approx(1.6e-07)
    unknown = Attempt(attempt=3, cost_usd=None)
    assert item.model_copy(update={"attempts": (ATTEMPT, unknown)}).cost_usd is None


def test_a_write_whose_reply_was_lost_is_no_conflict(client: Unkind) -> None:
    ledger = DynamoLedger("ledger", client)
    client.lose_reply = True
    stored = ledger.create(batch(), now=1.0)
    client.lose_reply = True
    saved = ledger.save(stored.moved("SUBMITTING", submission=1), now=2.0)
    assert ledger.read("01B") == saved
