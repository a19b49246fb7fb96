"""Receipts in the SROIE layout, as people have them on disk."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from siltstone.errors import BadSource
from siltstone.sources.files import ITEM_BYTES
from siltstone.sources.receipt import Receipt
from siltstone.sources.receipts import read_receipts
from siltstone.sources.sroie import read_sroie_folder

from tests.unit.sources.examples import split

ROWS = """100,100,300,100,300,150,100,150,TIN ROOF FEED
100,200,500,200,500,240,100,240,12 DEPOT ROAD, LARKSPUR, CO
400,560,500,560,500,600,400,600,9.50
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one good receipt, ``002``, to which a test adds others."""
    root = tmp_path / "sroie"
    (root / "box").mkdir(parents=True)
    (root / "key").mkdir()
    add(root, "002", ROWS, {"company": "TIN ROOF FEED & GARDEN"})
    return root


def add(folder: Path, name: str, rows: str | bytes, key: object = None) -> None:
    (folder / "box" / f"{name}.csv").write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    if key is not None:
        (folder / "key" / f"{name}.json").write_bytes(key if isinstance(key, bytes) else json.dumps(key).encode())


def test_pixels_become_fractions_of_the_extent_of_all_boxes(folder: Path) -> None:
    [found], problems = split(read_sroie_folder(folder))
    assert problems == []
    assert (found.receipt_id, found.merchant_name) == (1, "TIN ROOF FEED & GARDEN")
    assert [(line.line_id, line.x, line.y, line.width, line.height) for line in found.lines] == [
        (1, 0.0, 0.0, 0.5, 0.1),
        (2, 0.0, 0.2, 1.0, 0.08),
        (3, 0.75, 0.92, 0.25, 0.08),
    ]
    assert {line.confidence for line in found.lines} == {None}


def test_the_text_may_hold_commas(folder: Path) -> None:
    [found], _ = split(read_sroie_folder(folder))
    assert found.lines[1].text == "12 DEPOT ROAD, LARKSPUR, CO"
    assert [word.text for word in found.words if word.line_id == 2] == ["12", "DEPOT", "ROAD,", "LARKSPUR,", "CO"]


def test_a_receipt_of_one_line_fills_its_image(folder: Path) -> None:
    add(folder, "003", "1,1,9,1,9,5,1,5,TOTAL\n")
    line = split(read_sroie_folder(folder))[0][1].lines[0]
    assert (line.x, line.y, line.width, line.height) == (0, 0, 1, 1)


def test_line_ends_change_nothing(folder: Path) -> None:
    [found], _ = split(read_sroie_folder(folder))
    add(folder, "002", ROWS.replace("\n", "\r\n"))
    assert list(read_sroie_folder(folder)) == [found]


def test_the_image_id_is_a_uuid5_of_the_content_and_of_nothing_else(folder: Path) -> None:
    [found], _ = split(read_sroie_folder(folder))
    assert found.image_id[14] == "5"
    (folder / "key" / "002.json").write_text("{}")
    (folder / "box" / "002.csv").rename(folder / "box" / "777.csv")
    [again], _ = split(read_sroie_folder(folder))
    assert (again.image_id, again.merchant_name) == (found.image_id, None)


def test_image_ids_stay_what_they_were_in_earlier_releases(folder: Path) -> None:
    """Were this to change, every folder loaded so far would be loaded again as new receipts."""
    [found], _ = split(read_sroie_folder(folder))
    assert found.image_id == "3f8fc63d-ebdf-50d6-9f07-7585895a6fa5"


def test_the_same_receipt_under_two_names_is_counted_once(folder: Path) -> None:
    add(folder, "001", ROWS)
    good, [problem] = split(read_sroie_folder(folder))
    assert len(good) == 1
    assert problem.duplicate
    assert "same receipt as 001.csv" in problem.what


@pytest.mark.parametrize("key", [None, {}, {"company": None}, {"company": "  "}])
def test_without_a_company_the_merchant_is_unknown(folder: Path, key: object) -> None:
    add(folder, "003", ROWS.replace("9.50", "9.60"), key)
    good, problems = split(read_sroie_folder(folder))
    assert ([found.merchant_name for found in good], problems) == (["TIN ROOF FEED & GARDEN", None], [])


def test_a_folder_without_keys_is_fine(folder: Path) -> None:
    (folder / "key" / "002.json").unlink()
    (folder / "key").rmdir()
    assert [found.merchant_name for found in split(read_receipts(folder))[0]] == [None]


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ("", None, "holds no line"),
        (" \n\r\n", None, "holds no line"),
        (ROWS + "1,2,3,4,5,6,7,TOTAL", 4, "found 7 commas"),
        (ROWS + "1,2,3,4,5,6,7,TOTAL, NET", 4, "corner number 8 is 'TOTAL'"),
        ("1,2,3\n" + ROWS, 1, "found 2 commas"),
        ("1,1,9,1,9,5,1,5,\n", 1, "is empty"),
        ("1,1,9,1,9,5,1,5, \t\n", 1, "is empty"),
        (ROWS + "-4,1,9,1,9,5,-4,5,X", 4, "corner number 1 is '-4'"),
        (ROWS + "nan,1,9,1,9,5,1,5,X", 4, "corner number 1 is 'nan'"),
        (ROWS + "1,1,inf,1,9,5,1,5,X", 4, "corner number 3 is 'inf'"),
        (ROWS + "1,1,9,1,1e400,5,1,5,X", 4, "corner number 5"),
        (ROWS + "1,1,9,1,9,5,1_0,5,X", 4, "corner number 7"),
        (ROWS + "1,1,9,1,9,5,\u0661,5,X", 4, "corner number 7"),
        (ROWS + "9,1,1,1,1,5,9,5,X", 4, "inverted"),
        (ROWS + "1,5,9,5,9,1,1,1,X", 4, "inverted"),
        ("5,5,5,5,5,5,5,5,X", 1, "inverted or empty"),
        (ROWS + "1,1,9,1,9,5,1,5," + "x" * 30_000, 4, "has 30000 characters"),
        (ROWS.encode() + "1,1,9,1,9,5,1,5,CAFÉ".encode("latin-1"), None, "not UTF-8: byte 0xc9"),
        ("TOTAL".encode("utf-16"), None, "not UTF-8"),
        (b"\n" * (ITEM_BYTES + 1), None, "larger than"),
    ],
)
def test_a_bad_file_is_named_and_the_others_go_on(
    folder: Path, rows: str | bytes, line: int | None, words: str
) -> None:
    add(folder, "001", rows)
    good, [problem] = split(read_sroie_folder(folder))
    assert [found.merchant_name for found in good] == ["TIN ROOF FEED & GARDEN"]
    assert (problem.path, problem.line) == (str(folder / "box" / "001.csv"), line)
    assert words in problem.what
    assert problem.remedy
    assert len(str(problem)) < 1_000


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b'["company"]', "not a JSON object"),
        (b'{"company": 7}', "is not a text"),
    ],
)
def test_a_broken_key_file_is_named_and_its_receipt_waits(folder: Path, key: bytes, words: str) -> None:
    add(folder, "001", ROWS.replace("9.50", "9.60"), key)
    good, [problem] = split(read_sroie_folder(folder))
    assert len(good) == 1
    assert problem.path == str(folder / "key" / "001.json")
    assert words in problem.what


def test_half_a_surrogate_pair_in_the_company_is_named(folder: Path) -> None:
    add(folder, "001", ROWS.replace("9.50", "9.60"), b'{"company": "\\ud800"}')
    _, [problem] = split(read_sroie_folder(folder))
    assert (problem.path, problem.field) == (str(folder / "box" / "001.csv"), "merchant_name")


class TestPaths:
    def test_links_out_of_the_folder_are_not_followed(self, folder: Path, tmp_path: Path) -> None:
        secret = tmp_path / "secret.csv"
        secret.write_text(ROWS.replace("9.50", "SECRET"))
        (folder / "box" / "001.csv").symlink_to(secret)
        (folder / "key" / "002.json").unlink()
        (folder / "key" / "002.json").symlink_to(secret)
        good, problems = split(read_sroie_folder(folder))
        assert good == []
        assert ["leads out" in problem.what for problem in problems] == [True, True]

    def test_a_linked_box_folder_is_not_followed_either(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "box").symlink_to(folder / "box")
        good, problems = split(read_sroie_folder(tmp_path / "other"))
        assert (good, len(problems)) == ([], 1)

    def test_a_link_to_the_folder_itself_and_links_inside_it_are_fine(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(folder)
        (folder / "box" / "002.csv").rename(folder / "kept.txt")
        (folder / "box" / "002.csv").symlink_to(Path("..") / "kept.txt")
        assert [type(item) for item in read_sroie_folder(tmp_path / "link")] == [Receipt]

    def test_what_is_not_a_readable_file_is_named(self, folder: Path) -> None:
        (folder / "box" / "003.csv").mkdir()
        (folder / "box" / "004.csv").symlink_to("nowhere")
        (folder / "box" / "005.csv").symlink_to("005.csv")
        os.mkfifo(folder / "box" / "006.csv")
        (folder / "key" / "002.json").unlink()
        (folder / "key" / "002.json").symlink_to("nowhere")
        good, problems = split(read_sroie_folder(folder))
        assert good == []
        assert [Path(problem.path).name for problem in problems] == [
            *("002.json", "003.csv", "004.csv", "005.csv", "006.csv"),
        ]

    def test_other_files_and_hidden_ones_are_not_receipts(self, folder: Path) -> None:
        for name in (".DS_Store", "._002.csv", "README.md"):
            (folder / "box" / name).write_bytes(b"\x00\xff")
        assert [type(item) for item in read_sroie_folder(folder)] == [Receipt]

    @pytest.mark.parametrize("made", ["nothing", "a file", "no box", "box is a file", "an empty box"])
    def test_a_path_with_nothing_usable_is_refused_at_once(self, tmp_path: Path, made: str) -> None:
        root = tmp_path / "given"
        if made == "a file":
            root.write_text(ROWS)
        elif made != "nothing":
            root.mkdir()
        if made == "box is a file":
            (root / "box").write_text(ROWS)
        elif made == "an empty box":
            (root / "box").mkdir()
        with pytest.raises(BadSource):
            read_sroie_folder(root)


CELL = st.sampled_from(["1", "5", "90", "0", "-1", "nan", "", "x", "1.5", " 7 ", "9" * 400])
ANY_ROW = st.lists(CELL, max_size=11).map(",".join)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.lists(ANY_ROW, max_size=4).map("\n".join).map(str.encode))
def test_whatever_a_box_file_holds_it_is_a_receipt_or_one_problem(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzz-sroie"
    (root / "box").mkdir(parents=True, exist_ok=True)
    add(root, "001", content)
    add(root, "002", ROWS)
    good, problems = split(read_sroie_folder(root))
    assert len(good) + len(problems) == 2
    assert any(found.lines[0].text == "TIN ROOF FEED" for found in good)


@pytest.mark.skipif("SILTSTONE_SROIE" not in os.environ, reason="SILTSTONE_SROIE names no folder of the data set")
def test_the_real_data_set_reads_whole() -> None:
    """470 receipts of the ICDAR-2019 SROIE training set; line and word counts were taken independently."""
    folder = Path(os.environ["SILTSTONE_SROIE"])
    good, problems = split(read_receipts(folder))
    assert problems == []
    assert (len(good), sum(len(found.lines) for found in good)) == (470, 25_246)
    assert sum(len(found.words) for found in good) == 54_358
    texts = Counter(text for file in (folder / "box").glob("*.csv") for text in _texts(file))
    assert Counter(line.text for found in good for line in found.lines) == texts


def _texts(file: Path) -> list[str]:
    return [row.split(",", 8)[8].strip() for row in file.read_text().splitlines() if row]
