"""``siltstone texts`` and ``siltstone receipts`` over a stage in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from siltstone.sources.loading import delete_sources
from siltstone_cli import receipts, taking_in, texts
from siltstone_cli.main import app
from siltstone_cli.target import Target
from siltstone_local.sample import RECEIPTS
from typer.testing import CliRunner

from tests.unit.embedding.house import receipt
from tests.unit.sources.stage import Stage

Run = Callable[..., Any]
ROWS = ['{"id": "a", "text": "One."}', '{"id": "b", "text": "Two.", "metadata": {"n": 2}}']


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "stage")


@pytest.fixture
def run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Run:
    target = Target("dev", {}, lambda _: None, stage.clock)
    target.__dict__["stores"] = stage.stores
    for module in (texts, receipts):
        monkeypatch.setattr(module, "find_target", lambda *_: target)

    def invoke(*arguments: object, input: str | None = None) -> Any:  # noqa: A002
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)

    return invoke


def jsonl(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "notes.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return path


# texts load ---------------------------------------------------------------------------------------
def test_texts_are_loaded_and_a_second_time_nothing_changes(run: Run, stage: Stage, tmp_path: Path) -> None:
    path = jsonl(tmp_path, *ROWS)
    done = run("texts", "load", path, "--collection", "texts")
    assert done.exit_code == 0, done.output
    assert "✓ texts: 2 new, 0 changed, 0 unchanged, 0 rejected." in done.stdout
    assert "│ texts      │ 2 " in done.stdout
    assert done.stderr == ""
    again = run("texts", "load", path, "--collection", "texts")
    assert again.exit_code == 0
    assert "0 new, 0 changed, 2 unchanged" in again.stdout
    assert "Nothing changed: dev has all of it already." in again.stdout
    stage.run("p")
    settled = run("texts", "load", path, "--collection", "texts").stdout
    assert "2 unchanged" in settled
    assert "│" not in settled  # nothing is ahead, so nothing is priced


def test_what_is_rejected_is_named_and_ends_with_1_while_the_rest_is_loaded(
    run: Run, stage: Stage, tmp_path: Path
) -> None:
    path = jsonl(tmp_path, *ROWS, '{"id": "[red]long", "text": "' + "ab " * 20_000 + '"}', "{")
    done = run("texts", "load", path, "-c", "texts")
    assert done.exit_code == 1
    assert "! texts: 2 new, 0 changed, 0 unchanged, 2 rejected." in done.stdout
    first, second = done.stderr.splitlines()
    assert first.startswith(
        f"rejected {path}, line 3: id '[red]long': text: has 60000 characters, over 8192 tokens: 20001"
    )
    assert second.startswith(f"rejected {path}, line 4: ")
    assert len(list(stage.stores.sources.list())) == 2


def test_a_repeated_line_is_said_and_is_no_failure(run: Run, tmp_path: Path) -> None:
    done = run("texts", "load", jsonl(tmp_path, *ROWS, ROWS[0]), "-c", "texts")
    assert done.exit_code == 0
    assert "2 new, 0 changed, 0 unchanged, 1 repeated, 0 rejected" in done.stdout
    assert "repeated" in done.stderr


def test_a_dry_run_loads_nothing_and_says_all_that(run: Run, stage: Stage, tmp_path: Path) -> None:
    done = run("texts", "load", jsonl(tmp_path, *ROWS, "{"), "-c", "texts", "--dry-run")
    assert done.exit_code == 1
    assert "2 new, 0 changed, 0 unchanged, 1 rejected" in done.stdout
    assert "Nothing was loaded" in done.stdout
    assert list(stage.stores.sources.list()) == []


def test_the_summary_as_json(run: Run, tmp_path: Path) -> None:
    done = run("texts", "load", jsonl(tmp_path, *ROWS, '{"id": "c", "text": ""}'), "-c", "texts", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["new"], found["changed"], found["unchanged"], found["rejected"]) == (2, 0, 0, 1)
    [problem] = found["problems"]
    assert (problem["line"], problem["item"], problem["field"]) == (3, "c", "text")
    [estimate] = found["estimates"]
    assert (estimate["collection"], estimate["records"]) == ("texts", 2)
    assert 0 < estimate["batch_usd"] < estimate["now_usd"]


def test_a_csv_and_a_parquet_file_with_columns_of_their_own(run: Run, stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("number;body;year\n1;Hello;2024\n")
    pq.write_table(pa.table({"number": [2], "body": ["Hello"], "year": [2024]}), tmp_path / "n.parquet")
    columns = ["-c", "texts", "--id-column", "number", "--text-column", "body"]
    assert run("texts", "load", tmp_path / "n.csv", *columns, "--separator", ";").exit_code == 0
    assert run("texts", "load", tmp_path / "n.parquet", *columns).exit_code == 0
    assert sorted(item.source_id for item in stage.stores.sources.list()) == ["text.texts.1", "text.texts.2"]


def test_the_standard_input_is_jsonl(run: Run, stage: Stage) -> None:
    done = run("texts", "load", "-", "-c", "texts", input="\n".join([*ROWS, "{"]))
    assert done.exit_code == 1
    assert "standard input, line 3" in done.stderr
    assert len(list(stage.stores.sources.list())) == 2


def test_many_problems_are_shown_up_to_a_number_and_written_whole(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking_in, "_SHOWN", 3)
    path, rejected = jsonl(tmp_path, *ROWS, *["{"] * 8), tmp_path / "rejected.jsonl"
    done = run("texts", "load", path, "-c", "texts", "--rejected", rejected)
    assert len(done.stderr.splitlines()) == 4
    assert "--rejected FILE" in done.stderr.splitlines()[-1]
    assert [json.loads(row)["line"] for row in rejected.read_text().splitlines()] == list(range(3, 11))
    assert run("texts", "load", path, "-c", "texts", "--rejected", tmp_path / "no" / "r").exit_code == 2


def test_an_interruption_says_what_stays_and_that_the_same_command_goes_on(
    run: Run, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = jsonl(tmp_path, *(json.dumps({"id": f"n{number}", "text": "x"}) for number in range(250)))
    read = texts.read_texts

    def interrupted(*arguments: Any, **options: Any) -> Any:
        for number, item in enumerate(read(*arguments, **options)):
            if number == 230:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr(texts, "read_texts", interrupted)
    done = run("texts", "load", path, "-c", "texts")
    assert done.exit_code == 130
    assert "200 new" in done.stderr
    assert "The same command goes on" in done.stderr
    assert done.stdout == ""
    monkeypatch.setattr(texts, "read_texts", read)
    again = run("texts", "load", path, "-c", "texts")
    assert again.exit_code == 0
    assert "50 new, 0 changed, 200 unchanged" in again.stdout
    assert len(list(stage.stores.sources.list())) == 250


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["texts", "load", "none.jsonl", "-c", "texts"], "does not exist"),
        (["texts", "load", "-", "-c", "nope"], "No setting or pattern matches"),
        (["texts", "load", "-", "-c", "lines"], "takes receipts"),
        (["texts", "load", "-", "-c", ".."], "not usable"),
        (["texts", "load", "-", "-c", "texts"], "standard input is empty"),
        (["texts", "load", "-"], "--collection"),
        (["texts", "load", "-", "-c", "texts", "--format", "xls"], "xls"),
        (["receipts", "load", "none.jsonl"], "does not exist"),
        (["receipts", "load", __file__], "neither a folder nor a .jsonl file"),
        (["receipts", "load", str(Path(__file__).parent)], "no folder 'box'"),
        (["receipts", "show", "nonsense"], "names no receipt"),
        (["receipts", "show", "00000000-0000-4000-8000-000000000009"], "There is no receipt"),
        (["receipts", "show", "00000000-0000-4000-8000-000000000009#1"], "There is no receipt"),
    ],
)
def test_what_is_wrong_is_a_sentence_and_exit_code_2(run: Run, arguments: list[str], words: str) -> None:
    done = run(*arguments, input="")
    assert done.exit_code == 2
    assert words in done.stderr
    assert "Traceback" not in done.output


# receipts -----------------------------------------------------------------------------------------
def test_receipts_are_loaded_from_jsonl_the_standard_input_and_a_folder(run: Run, stage: Stage, tmp_path: Path) -> None:
    done = run("receipts", "load", RECEIPTS)
    assert done.exit_code == 0, done.output
    assert "✓ receipts: 40 new" in done.stdout
    assert "│ lines " in done.stdout
    assert "│ words " in done.stdout
    again = run("receipts", "load", "-", input=RECEIPTS.read_text())
    assert "40 unchanged" in again.stdout
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "1.csv").write_text("1,1,9,1,9,3,1,3,TOTAL, 4.40\n")
    (tmp_path / "box" / "2.csv").write_text("1,1,9,1,9,3,1\n")
    folder = run("receipts", "load", tmp_path)
    assert folder.exit_code == 1
    assert "1 new, 0 changed, 0 unchanged, 1 rejected" in folder.stdout
    assert "2.csv, line 1" in folder.stderr


def test_receipts_are_listed_a_page_at_a_time_in_the_order_of_their_ids(run: Run, stage: Stage) -> None:
    stage.load(*(receipt(number, ["one two"]) for number in range(5)))
    first = run("receipts", "list", "--limit", 2)
    assert first.exit_code == 0
    assert "000000000000 │ 1       │ Kiosk    │ 1     │ 2     │ NONE     │ NONE" in first.stdout
    seen: list[str] = []
    after: list[str] = []
    for _ in range(3):
        page = json.loads(run("receipts", "list", "--limit", 2, "--json", *after).stdout)
        seen += [row["image_id"] for row in page["receipts"]]
        after = ["--after", page["next"] or ""]
    assert page["next"] is None
    assert seen == [receipt(number, ["x"]).image_id for number in range(5)]
    assert f"--after {receipt(1, ['x']).source_id}" in first.stdout


def test_a_list_can_be_narrowed_by_merchant_and_status_and_never_holds_deleted_ones(run: Run, stage: Stage) -> None:
    stage.load(receipt(1, ["one"], "Copper Kettle"), receipt(2, ["one"], None))
    stage.run("p")
    stage.load(receipt(3, ["one"], "KETTLE & Sons"), receipt(4, ["one"], "Kettle"))
    delete_sources([receipt(4, ["one"]).source_id], stage.stores, stage.clock)

    def listed(*options: str) -> list[str | None]:
        found = json.loads(run("receipts", "list", "--json", *options).stdout)
        return [row["merchant_name"] for row in found["receipts"]]

    assert listed() == ["Copper Kettle", None, "KETTLE & Sons"]
    assert listed("--merchant", "kettle") == ["Copper Kettle", "KETTLE & Sons"]
    assert listed("--merchant", "kettle", "--status", "SUCCESS") == ["Copper Kettle"]
    assert listed("--status", "NONE") == ["KETTLE & Sons"]
    assert listed("--status", "FAILED") == []
    assert "No receipt fits." in run("receipts", "list", "--status", "FAILED").stdout


def test_an_empty_stage_says_so(run: Run) -> None:
    assert "No receipt is loaded yet." in run("receipts", "list").stdout


@pytest.mark.parametrize("name", ["{image}#1", "{image}", "{image}.00001", "IMAGE#{image}#RECEIPT#00001#LINE#00002"])
def test_a_receipt_is_shown_by_any_of_its_names(run: Run, stage: Stage, name: str) -> None:
    made = receipt(1, ["[bold]one", "two"])
    stage.load(made)
    stage.run("p")
    done = run("receipts", "show", name.format(image=made.image_id))
    assert done.exit_code == 0, done.output
    assert "Kiosk: 2 lines, 2 words" in done.stdout
    assert "      [bold]one\n" in done.stdout
    assert made.source_id in done.stdout
    assert done.stdout.count("SUCCESS") == 2
    shown = json.loads(run("receipts", "show", name.format(image=made.image_id), "--json").stdout)
    [found] = shown["receipts"]
    assert found["receipt"]["lines"][1]["text"] == "two"
    assert all(state["batch_id"] for state in found["source"]["collections"])


def test_a_deleted_receipt_is_shown_as_deleted(run: Run, stage: Stage) -> None:
    made = receipt(1, ["one"])
    stage.load(made)
    delete_sources([made.source_id], stage.stores, stage.clock)
    done = run("receipts", "show", made.image_id)
    assert done.exit_code == 0
    assert "deleted" in done.stdout
    assert "one" not in done.stdout.replace("None", "")
