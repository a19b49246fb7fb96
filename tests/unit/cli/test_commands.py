"""Each command: what it shows, what its JSON holds, how it ends."""

from __future__ import annotations

import json

import pytest
from siltstone import keys
from siltstone.compaction import lock
from siltstone.compaction.retention import pin
from siltstone.deltas.writer import write_delta
from siltstone.settings import CollectionSettings
from siltstone.stores.ledger import Attempt, BatchItem, Counts

from tests.unit.cli.conftest import Lambda, Run
from tests.unit.scrub.house import COLLECTION, DIMENSION, House, upserts
from tests.unit.scrub.test_damage import versions


# verify -------------------------------------------------------------------------------------------
def test_verify_says_what_it_looked_at_and_ends_with_0(run: Run, house: House) -> None:
    done = run("verify")
    assert done.exit_code == 0, done.output
    assert "✓ lines" in done.stdout
    assert "2 checked: 4 files" in done.stdout
    assert "2 of 2 retired deltas accounted for" in done.stdout


def test_verify_ends_with_1_and_names_what_is_damaged_and_what_to_do(run: Run, house: House) -> None:
    key = house.file_key(versions(house)[0])
    house.snapshots.put(key, b"")
    done = run("verify", "lines")
    assert done.exit_code == 1
    assert "damaged lines" in done.stdout
    assert key in done.stdout
    assert "file-damaged" in done.stdout
    assert "→ Bring back" in done.stdout


def test_verify_as_json(run: Run, house: House) -> None:
    house.deltas.delete(house.write("lost"))
    done = run("verify", "lines", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["damaged"] is True
    (report,) = found["reports"]
    assert report["collection"] == "lines"
    assert [(each["severity"], each["code"]) for each in report["findings"]] == [("error", "delta-lost")]
    assert report["figures"]["versions"] == 2


def test_warnings_are_shown_and_are_no_failure(run: Run, house: House) -> None:
    house.deltas.put(keys.deltas(COLLECTION) + "notes.txt", b"")
    done = run("verify")
    assert done.exit_code == 0
    assert "warning key-strange" in done.stdout


def test_verify_one_version(run: Run, house: House) -> None:
    first, second = versions(house)
    house.snapshots.put(house.file_key(first), b"")
    assert run("verify", "lines", "--version", second).exit_code == 0
    assert run("verify", "lines", "--version", first).exit_code == 1
    missing = run("verify", "lines", "--version", "20300101_000000_00000099")
    assert missing.exit_code == 2
    assert "siltstone versions" in missing.stderr
    assert run("verify", "--version", first).exit_code == 2


def test_every_collection_that_is_stored_is_verified_also_one_without_a_setting(run: Run, house: House) -> None:
    house.deltas.put(keys.delta("forgotten", "d1"), b"")
    house.deltas.put(keys.quarantine("aside", "d1") + "embeddings.parquet", b"")
    done = run("verify", "--json")
    reports = {report["collection"]: report for report in json.loads(done.stdout)["reports"]}
    assert sorted(reports) == ["aside", "forgotten", "lines"]
    assert [each["code"] for each in reports["forgotten"]["findings"]] == ["collection-unknown"]


def test_a_sharded_collection_is_verified_shard_by_shard_and_a_version_is_of_one_shard(run: Run, house: House) -> None:
    house.stores.settings.collections["words"] = CollectionSettings(dimension=DIMENSION, shards=2)
    rows = upserts([f"w{number}" for number in range(20)])
    write_delta(rows, collection="words", stores=house.stores, clock=house.clock)
    reports = json.loads(run("verify", "words", "--json").stdout)["reports"]
    assert [report["collection"] for report in reports] == ["words.s00", "words.s01"]
    assert [report["figures"]["deltas_pending"] for report in reports] == [1, 1]
    version = versions(house)[0]
    for arguments in (["verify", "words", "--version", version], ["versions", "words"]):
        done = run(*arguments)
        assert done.exit_code == 2
        assert "words.s00 to words.s01" in done.stderr
    assert run("rollback", "words", "--to", version, "--yes").exit_code == 2


# versions -----------------------------------------------------------------------------------------
def test_versions_lists_the_newest_first_and_marks_the_current_and_the_pinned(run: Run, house: House) -> None:
    first, second = versions(house)
    pin(house.snapshots, COLLECTION, first)
    house.rollback(first)
    shown = run("versions", "lines").stdout
    assert shown.index(second) < shown.rindex(first)
    assert f"rollback to {first}" in shown
    found = json.loads(run("versions", "lines", "--json").stdout)["versions"]
    assert [each["version"] for each in found] == versions(house)[::-1]
    assert [each["current"] for each in found] == [True, False, False]
    assert [each["pinned"] for each in found] == [False, False, True]
    assert [each["rows"] for each in found] == [2, 3, 2]
    assert (found[1]["inserted"], found[1]["updated"], found[1]["deltas"]) == (1, 1, 1)


def test_versions_of_a_damaged_collection_are_listed_all_the_same(run: Run, house: House) -> None:
    first, second = versions(house)
    house.snapshots.put(keys.manifest(COLLECTION, second), b"{")
    house.snapshots.delete(keys.pointer(COLLECTION))
    found = json.loads(run("versions", "lines", "--json").stdout)["versions"]
    assert [each["version"] for each in found] == [second, first]
    assert found[0]["fault"]
    assert run("versions", "lines").exit_code == 0


def test_versions_of_nothing(run: Run) -> None:
    done = run("versions", "words")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "no version" in done.stderr


# status and lock ----------------------------------------------------------------------------------
def test_status_shows_one_screen(run: Run, house: House) -> None:
    house.deltas.put(keys.delta(COLLECTION, "bad"), b"no parquet")
    house.clock.advance(1)
    house.compact()
    house.write("e")
    house.clock.advance(7_200)
    house.acquire()
    done = run("status")
    assert done.exit_code == 0
    for expected in (versions(house)[-1], "held by run4-0", "2 h", "ledger: no batch yet"):
        assert expected in done.stdout
    assert len(done.stdout.splitlines()) < 12
    (line,) = json.loads(run("status", "--json").stdout)["collections"]
    assert (line["pending_deltas"], line["quarantined"], line["rows"]) == (1, 1, 4)
    assert line["oldest_age_seconds"] > 7_200
    assert line["lock"]["state"] == "held"
    assert line["problem"] is None


def test_status_counts_as_pending_only_what_no_version_contains(run: Run, house: House) -> None:
    house.compact(and_retire=False)
    (line,) = json.loads(run("status", "--json").stdout)["collections"]
    assert line["pending_deltas"] == 0


def test_status_names_the_problem_of_a_collection_and_shows_the_others(run: Run, house: House) -> None:
    house.deltas.put(keys.delta("forgotten", "d1"), b"")
    house.deltas.put(keys.DELTAS + "stray.txt", b"")
    house.snapshots.delete(keys.pointer(COLLECTION))
    shown = run("status").stdout
    assert "PointerMissing" in shown
    assert "forgotten No setting" in shown
    assert "stray.txt" in shown


def test_status_sums_up_the_ledger(run: Run, house: House) -> None:
    counts = Counts(submitted=10, embedded=8, to_retry=1, rejected=1)
    first = Attempt(attempt=1, counts=counts, tokens=50, cost_usd=0.25)
    second = Attempt(attempt=2, counts=Counts(submitted=1, embedded=1), tokens=5, cost_usd=0.01)
    batch = BatchItem(batch_id="b1", collection="lines", plan="p", model="m", records=10, status="COMPLETE")
    ledger = house.stores.ledger
    ledger.create(batch.model_copy(update={"attempts": (first, second)}), now=0)
    ledger.note_quarantine("b1", delta_key="deltas/lines/x/embeddings.parquet", records=3)
    ledger.create(batch.model_copy(update={"batch_id": "b2", "status": "PLANNED"}), now=0)
    found = json.loads(run("status", "--json").stdout)["ledger"]
    assert found["batches"] == {"COMPLETE": 1, "PLANNED": 1}
    assert (found["submitted"], found["embedded"], found["to_retry"], found["rejected"]) == (20, 9, 10, 1)
    assert (found["quarantined"], found["tokens"], found["cost_usd"], found["unbalanced"]) == (3, 55, 0.26, [])
    assert "20 records submitted = 9 embedded + 10 to retry + 1 rejected" in run("status").stdout
    ledger.create(batch.model_copy(update={"batch_id": "b3", "attempts": (first,)}), now=0)
    assert "unbalanced b3" in run("status").stdout


def test_lock_show(run: Run, house: House) -> None:
    house.acquire()
    assert "held" in run("lock", "show").stdout
    house.clock.advance(lock.LEASE_SECONDS + 1)
    (found,) = json.loads(run("lock", "show", "lines", "--json").stdout)["locks"]
    assert (found["state"], found["owner"], found["token"]) == ("expired", "run3-0", 3)
    assert run("lock", "show", "nobody").exit_code == 2


# rollback -----------------------------------------------------------------------------------------
def test_rollback_says_what_it_will_do_and_asks(run: Run, house: House) -> None:
    first, second = versions(house)
    refused = run("rollback", "lines", "--to", first, input="n\n")
    assert refused.exit_code == 1
    assert f"lines goes from {second} (3 rows) back to the content of {first} (2 rows" in refused.stdout
    assert house.current == second
    done = run("rollback", "lines", "--to", first, input="y\n")
    assert done.exit_code == 0
    assert house.manifest(house.current or "").restored_from == first


def test_rollback_without_a_terminal_needs_yes(run: Run, house: House) -> None:
    first, second = versions(house)
    assert run("rollback", "lines", "--to", first, input="").exit_code == 1
    assert run("rollback", "lines", "--to", first, "--json").exit_code == 2
    assert house.current == second
    found = json.loads(run("rollback", "lines", "--to", first, "--yes", "--json").stdout)
    assert (found["restored_from"], found["previous"], found["version"]) == (first, second, house.current)


@pytest.mark.parametrize("to", ["20300101_000000_00000099", "yesterday"])
def test_rollback_to_what_is_no_older_version(run: Run, house: House, to: str) -> None:
    before = house.current
    done = run("rollback", "lines", "--to", to, "--yes")
    assert done.exit_code == 2
    assert house.current == before


def test_a_rollback_that_finds_the_lock_busy_fails_with_a_sentence(run: Run, house: House) -> None:
    house.acquire()
    done = run("rollback", "lines", "--to", versions(house)[0], "--yes")
    assert done.exit_code == 1
    assert done.stderr.startswith("LockBusy: compaction#lines is held by run3-0")
    assert "Traceback" not in done.output
    assert len(done.stderr.splitlines()) == 1


# query --------------------------------------------------------------------------------------------
ANSWER = {
    "version": "20260131_235959_00000042",
    "version_age_seconds": 7_300.0,
    "pending_deltas": 2,
    "stale": None,
    "results": {"ids": ["IMAGE#1"], "distances": [0.25], "documents": ["TOTAL [b]9.00[/b]"]},
}


def test_query_asks_the_deployed_function(run: Run, functions: Lambda) -> None:
    functions.answer = ANSWER
    done = run("query", "lines", "total", "amount", "-n", "3", "--where", '{"merchant_name": "Lidl"}', "--strong")
    assert done.exit_code == 0
    assert "TOTAL [b]9.00[/b]" in done.stdout
    assert "2 h old; 2 pending deltas" in done.stdout
    assert functions.asked == [
        (
            "siltstone-dev-query",
            {
                "collection_name": "lines",
                "query_text": "total amount",
                "n_results": 3,
                "consistency": "strong",
                "metadata_filter": {"merchant_name": "Lidl"},
            },
        )
    ]
    assert json.loads(run("query", "lines", "x", "--json").stdout) == ANSWER


@pytest.mark.parametrize("where", ["{", "[1]", "text"])
def test_a_filter_that_is_no_json_object(run: Run, where: str) -> None:
    done = run("query", "lines", "x", "--where", where)
    assert done.exit_code == 2
    assert "--where" in done.stderr


@pytest.mark.parametrize(
    ("kind", "code"), [("UnknownCollection", 2), ("BadQuery", 2), ("StoreUnavailable", 3), ("SnapshotDamaged", 1)]
)
def test_what_the_function_raises_ends_like_the_same_error_here(
    run: Run, functions: Lambda, kind: str, code: int
) -> None:
    functions.failed, functions.answer = True, {"errorType": kind, "errorMessage": "Its own words."}
    done = run("query", "lines", "x")
    assert done.exit_code == code
    assert done.stderr == f"{kind}: Its own words.\n"


def test_a_function_that_died_is_said_to_have(run: Run, functions: Lambda) -> None:
    functions.failed, functions.answer = True, {"errorType": "Runtime.ExitError", "errorMessage": "exited"}
    done = run("query", "lines", "x")
    assert done.exit_code == 1
    assert "Runtime.ExitError" in done.stderr
