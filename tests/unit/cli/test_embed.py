"""``siltstone embed`` over a stage in memory, whose machine is walked by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from siltstone.embedding.embed_now import MAX_RECORDS, EmbedNowInput, embed_now
from siltstone.embedding.messages import PlanBatchesInput
from siltstone.embedding.plan_batches import plan_batches
from siltstone.errors import ProviderUnavailable, SiltstoneError
from siltstone.sources.loading import load_sources
from siltstone.stores.machines import Execution, MemoryMachine
from siltstone.stores.provider_memory import answered
from siltstone_cli import embed, embed_batches
from siltstone_cli.main import app
from siltstone_cli.target import Target
from typer.testing import CliRunner

from tests.unit.embedding.house import House, receipt, text

Run = Callable[..., Any]


class Functions:
    """Lambda with the one function that is asked, run in process."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.asked: list[dict[str, Any]] = []

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        assert FunctionName == "embed-now"
        self.asked.append(json.loads(Payload))
        request = EmbedNowInput.model_validate(self.asked[-1])
        try:
            done = embed_now(request, self.house.stores, self.house.clock, self.house.provider)
        except SiltstoneError as error:
            body = {"errorType": type(error).__name__, "errorMessage": str(error)}
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(body).encode())}
        return {"Payload": io.BytesIO(done.model_dump_json().encode())}


class WorkingMachine(MemoryMachine):
    """A plan is done at once; each batch's execution is what ``work`` makes of it."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self.house = house
        self.work: Callable[[str], None] = house.walk  # type: ignore[assignment]
        self.broken = Execution("", "FAILED", None, "LedgerChanged", "[b]Two[/b] executions.")

    def look(self, name: str) -> Execution:
        if name.startswith("execution-") and self.executions[name].running:
            request = self.started[int(name.removeprefix("execution-")) - 1]
            self.executions[name] = Execution(name, "SUCCEEDED", self._plan(name, request))
        return super().look(name)

    def _plan(self, name: str, request: dict[str, Any]) -> Any:
        found = plan_batches(
            PlanBatchesInput(execution=name, **request),
            self.house.stores,
            self.house.clock,
            workspace=self.house.workspace,
        )
        for planned in found.batches:
            self.executions[planned.execution] = Execution(planned.execution, "RUNNING")
            self.work(planned.batch_id)
        return found.model_dump(mode="json")


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path / "scratch")
    load_sources([text(f"t{number}") for number in range(5)], house.stores, house.clock)
    load_sources([receipt(1, ["one", "two"])], house.stores, house.clock)
    return house


@pytest.fixture
def machine(house: House) -> WorkingMachine:
    return WorkingMachine(house)


@pytest.fixture
def functions(house: House) -> Functions:
    return Functions(house)


@pytest.fixture
def run(house: House, machine: WorkingMachine, functions: Functions, monkeypatch: pytest.MonkeyPatch) -> Run:
    target = Target("dev", {"EmbedNowFunction": "embed-now"}, lambda _: functions, house.clock)
    target.__dict__["stores"] = house.stores
    monkeypatch.setattr(Target, "machine", lambda self, name: {"Embedding": machine}[name])
    for module in (embed, embed_batches):
        monkeypatch.setattr(module, "find_target", lambda *_: target)

    def invoke(*arguments: str, input: str | None = None) -> Any:  # noqa: A002
        return CliRunner().invoke(app, ["embed", *arguments], input=input)

    return invoke


def found(done: Any) -> Any:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def only_batch(house: House) -> str:
    (item,) = house.stores.ledger.list()
    return item.batch_id


# plan ---------------------------------------------------------------------------------------------
def test_plan_shows_what_it_would_cost_and_does_nothing(run: Run, machine: WorkingMachine) -> None:
    shown = run("plan").stdout
    assert "7 records of 6 sources" in shown
    assert "in 2 batches" in shown
    assert shown.count("$0.0000") >= 4
    by_name = {each["collection"]: each for each in found(run("plan", "--json"))["collections"]}
    assert {name: each["records"] for name, each in by_name.items()} == {"texts": 5, "lines": 2}
    only = found(run("plan", "texts", "--limit", "2", "--json"))
    assert (only["sources"], only["batches"], [each["collection"] for each in only["collections"]]) == (2, 1, ["texts"])
    assert machine.started == []
    assert run("plan", "nowhere").exit_code == 2


def test_plan_of_nothing(run: Run) -> None:
    run("start", "--wait")
    assert "Nothing to embed" in run("plan").stdout


# start --------------------------------------------------------------------------------------------
def test_start_prints_the_execution_and_leaves(run: Run, machine: WorkingMachine) -> None:
    assert "execution-1" in run("start", "texts", "--limit", "3").stdout
    assert found(run("start", "--retry-failed", "--json")) == {"execution": "execution-2"}
    assert machine.started == [{"collections": ["texts"], "limit": 3}, {"retry_failed": True}]
    assert run("start", "nowhere").exit_code == 2
    assert len(machine.started) == 2


def test_start_and_wait_shows_what_became_of_every_batch(run: Run, house: House) -> None:
    done = run("start", "--wait")
    assert done.exit_code == 0
    assert "Planned 7 records of 6 sources in 2 batches" in done.stdout
    assert done.stdout.count("COMPLETE") == 2
    assert set(house.documents()) == {f"t{number}" for number in range(5)}
    again = found(run("start", "--wait", "--json"))
    assert (again["batches"], again["stopped"], again["plan"]["sources"]) == ([], {}, 0)


def test_a_batch_that_failed_ends_with_1_and_its_cause(run: Run, house: House, machine: WorkingMachine) -> None:
    machine.work = lambda batch_id: house.record(batch_id, failed="The provider said [b]no[/b].")
    done = run("start", "texts", "--wait")
    assert done.exit_code == 1
    assert "The provider said [b]no[/b]." in done.stdout


def test_a_batch_whose_execution_died_ends_with_1(run: Run, machine: WorkingMachine) -> None:
    machine.work = lambda batch_id: machine.executions.update({f"{batch_id}-1": machine.broken})
    done = run("start", "texts", "--wait")
    assert done.exit_code == 1
    assert "LedgerChanged [b]Two[/b] executions." in done.stdout
    (why,) = json.loads(run("start", "lines", "--wait", "--json").stdout)["stopped"].values()
    assert why.startswith("FAILED: LedgerChanged")


def test_a_plan_that_failed_is_one_sentence(run: Run, machine: WorkingMachine) -> None:
    machine.executions["execution-1"] = Execution("execution-1", "FAILED", None, "StoreUnavailable", "S3 was away")
    done = run("start", "--wait")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("ExecutionFailed: The execution execution-1 is FAILED")
    assert "Traceback" not in done.output


def test_one_batch_can_go_on(run: Run, house: House, machine: WorkingMachine) -> None:
    batch_id = house.plan(collections=["texts"]).batches[0].batch_id
    assert found(run("start", "--batch", batch_id, "--json")) == {
        "execution": f"{batch_id}-2",
        "batches": [batch_id],
    }
    assert machine.started == [{"batch_id": batch_id}]
    assert run("start", "--batch", "nope").exit_code == 2
    assert run("start", "texts", "--batch", batch_id).exit_code == 2


# now and auto -------------------------------------------------------------------------------------
def test_now_embeds_everything_that_is_open_or_what_is_named(run: Run, house: House, functions: Functions) -> None:
    done = run("now", "text.texts.t1")
    assert "1 records of 1 sources embedded" in done.stdout
    assert found(run("now", "--collection", "lines", "--json"))["embedded"] == 2
    assert functions.asked[-1]["collections"] == ["lines"]
    assert found(run("now", "--json"))["embedded"] == 4
    assert len(house.documents()) == 5
    assert "Nothing to embed" in run("now").stdout
    assert len(functions.asked) == 3
    load_sources([text("later")], house.stores, house.clock)
    house.plan()
    assert "1 sources are in open batches" in run("now", "text.texts.later").stdout


def test_now_of_what_does_not_exist(run: Run, functions: Functions) -> None:
    done = run("now", "nope")
    assert done.exit_code == 2
    assert "'nope'" in done.stderr
    assert run("now", "--collection", "nowhere").exit_code == 2


def test_now_of_much_is_asked_about_and_done_in_portions(run: Run, house: House, functions: Functions) -> None:
    rows = MAX_RECORDS // 2
    load_sources([receipt(n, [f"{n} {row}" for row in range(rows)]) for n in (2, 3, 4)], house.stores, house.clock)
    refused = run("now", input="n\n")
    assert refused.exit_code == 1
    assert f"{3 * rows + 7:,} records" in refused.stdout
    assert run("now", "--json").exit_code == 2
    assert functions.asked == []
    assert found(run("now", "--yes", "--json"))["embedded"] == 3 * rows + 7
    assert len(functions.asked) == 3


def test_a_provider_that_is_away_says_what_was_done_before(run: Run, house: House) -> None:
    rows = MAX_RECORDS - 10
    load_sources([receipt(n, [f"{n} {row}" for row in range(rows)]) for n in (2, 3)], house.stores, house.clock)
    embed_once, calls = house.provider.embed, []

    def embed_then_fail(*arguments: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise ProviderUnavailable("HTTP 503")
        return embed_once(*arguments, **more)

    house.provider.embed = embed_then_fail  # type: ignore[method-assign]
    done = run("now", "--collection", "lines", "--yes")
    assert done.exit_code == 3
    assert "records were embedded before this" in done.stderr
    assert "ProviderUnavailable: HTTP 503" in done.stderr


def test_auto_says_which_way_and_why(run: Run, machine: WorkingMachine) -> None:
    batch = run("auto", "texts", "--now-records", "4")
    assert "In batches: These are more than 4 records" in batch.stdout
    assert machine.started == [{"collections": ["texts"]}]
    now = run("auto", "lines")
    assert "At once: 2 records are at most 1,000" in now.stdout
    assert "2 records of 1 sources embedded" in now.stdout
    answer = found(run("auto", "texts", "--json"))
    assert (answer["choice"]["way"], answer["now"]["embedded"]) == ("now", 5)
    assert answer["choice"]["thresholds"] == {"records": 1_000, "usd": 0.01}
    assert found(run("auto", "--json"))["choice"]["way"] == "nothing"
    assert "Nothing to do" in run("auto").stdout


def test_auto_in_batches_can_wait(run: Run) -> None:
    answer = found(run("auto", "--now-usd", "0", "--now-records", "0", "--wait", "--json"))
    assert answer["choice"]["way"] == "batch"
    assert [each["status"] for each in answer["batches"]] == ["COMPLETE", "COMPLETE"]


# status -------------------------------------------------------------------------------------------
def test_status_shows_the_open_ones_and_the_latest_closed(run: Run, house: House) -> None:
    assert "No batch yet" in run("status").stdout
    assert found(run("status", "--json")) == {"batches": []}
    run("start", "--wait")
    load_sources([text("later")], house.stores, house.clock)
    house.plan("plan-9")
    shown = run("status", "--limit", "1").stdout
    assert shown.count("COMPLETE") == 1
    assert "PLANNED" in shown
    assert "1 older ones are not shown" in shown
    batches = found(run("status", "--json"))["batches"]
    assert [each["status"] for each in batches] == ["PLANNED", "COMPLETE", "COMPLETE"]
    assert all(each["counts"]["submitted"] == sum(list(each["counts"].values())[1:]) for each in batches)


def test_status_names_a_batch_that_nobody_works_on(run: Run, house: House) -> None:
    batch_id = house.plan(collections=["texts"]).batches[0].batch_id
    house.clock.advance(8_000)
    assert f"siltstone embed start --batch {batch_id}" in run("status").stdout


def test_status_of_one_batch_has_the_providers_words(run: Run, house: House) -> None:
    refusal = {"error": {"code": "bad", "message": "[b]Not[/b] this one."}}
    house.provider.edit_rows = lambda rows: [
        answered(row["custom_id"], row["custom_id"], 400, refusal) if row["custom_id"] == "t1" else row for row in rows
    ]
    run("start", "texts", "--wait")
    shown = run("status", only_batch(house)).stdout
    assert "rejected t1: bad: [b]Not[/b] this one." in shown
    detail = found(run("status", only_batch(house), "--json"))
    assert [row["id"] for row in detail["rejected"]] == ["t1"]
    assert detail["attempts"][0]["counts"]["rejected"] == 1
    missing = run("status", "nope")
    assert (missing.exit_code, missing.stderr) == (2, "UnknownBatch: The ledger has no batch 'nope'.\n")


# adopt and cancel ---------------------------------------------------------------------------------
def test_adopt_starts_the_machine_and_knows_what_the_ledger_has(
    run: Run, house: House, machine: WorkingMachine
) -> None:
    answer = found(run("adopt", "batch_1", "--collection", "texts", "--batch-id", "mine", "--json"))
    assert answer == {"execution": "execution-1", "batches": ["mine"]}
    assert machine.started == [{"batch_id": "mine", "openai_batch_id": "batch_1", "collection": "texts"}]
    assert run("adopt", "batch_1").exit_code == 2
    assert run("adopt", "batch_1", "--collection", "nowhere").exit_code == 2
    sent = house.submit(house.plan(collections=["texts"]).batches[0].batch_id)
    known = run("adopt", sent.openai_batch_id, "--collection", "texts")
    assert known.exit_code == 2
    assert f"embed status {sent.batch_id}" in known.stderr


def test_cancel_says_what_it_will_do_and_asks(run: Run, house: House) -> None:
    batch_id = house.plan(collections=["texts"]).batches[0].batch_id
    house.submit(batch_id)
    refused = run("cancel", batch_id, input="n\n")
    assert refused.exit_code == 1
    assert f"batch {batch_id} of texts (5 records of 5 sources) is SUBMITTED" in refused.stdout
    assert run("cancel", batch_id, "--json").exit_code == 2
    assert house.stores.ledger.read(batch_id).cancel_requested_at is None
    done = run("cancel", batch_id, input="y\n")
    assert done.exit_code == 0
    assert "within 15 minutes" in done.stdout
    assert house.stores.ledger.read(batch_id).cancel_requested_at is not None
    assert "CANCELLING" in run("status").stdout
    assert found(run("cancel", batch_id, "--yes", "--json"))["status"] == "SUBMITTED"


def test_cancel_waits_and_again_is_no_error(run: Run, house: House) -> None:
    batch_id = house.plan(collections=["texts"]).batches[0].batch_id
    sent, sleep = house.submit(batch_id), house.clock.sleep

    def work(seconds: float) -> None:
        house.poll(sent)
        house.provider.advance(3)
        if house.poll(sent).state == "ready":
            house.create(batch_id)
            house.record(batch_id)
        else:
            house.record(batch_id, failed="cancelled")
        sleep(seconds)

    house.clock.sleep = work  # type: ignore[method-assign]
    answer = found(run("cancel", batch_id, "--yes", "--wait", "--json"))
    assert [each["status"] for each in answer["batches"]] == ["CANCELLED"]
    again = run("cancel", batch_id)
    assert again.exit_code == 0
    assert "CANCELLED" in again.stdout


def test_what_is_over_can_not_be_cancelled(run: Run, house: House) -> None:
    run("start", "texts", "--wait")
    done = run("cancel", only_batch(house), "--yes")
    assert done.exit_code == 1
    assert "COMPLETE: there is nothing to cancel" in done.stderr
    assert run("cancel", "nope", "--yes").exit_code == 2
