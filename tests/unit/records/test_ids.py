"""Record ids: format and parse are inverse, and no two things share one."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from siltstone.errors import BadRecord
from siltstone.records.ids import (
    LineId,
    RecordId,
    TextId,
    WordId,
    check_text_id,
    family,
    format_line_id,
    format_record_id,
    format_word_id,
    parse_record_id,
    receipt_source_id,
)

IMAGE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
IMAGES = st.uuids().map(str)
NUMBERS = st.integers(0, 2**31 - 1) | st.integers(99_990, 100_010)


def _usable(text: str) -> bool:
    try:
        return bool(check_text_id(text))
    except ValueError:
        return False


TEXTS = st.text(min_size=1, max_size=30).filter(_usable)
IDS: st.SearchStrategy[RecordId] = (
    st.builds(LineId, IMAGES, NUMBERS, NUMBERS)
    | st.builds(WordId, IMAGES, NUMBERS, NUMBERS, NUMBERS)
    | st.builds(TextId, TEXTS)
)


def test_they_look_as_designed() -> None:
    assert format_line_id(IMAGE, 1, 23) == f"IMAGE#{IMAGE}#RECEIPT#00001#LINE#00023"
    assert format_word_id(IMAGE, 1, 23, 4) == f"IMAGE#{IMAGE}#RECEIPT#00001#LINE#00023#WORD#00004"
    assert format_line_id(IMAGE, 1, 123_456).endswith("#LINE#123456")


@given(IDS)
def test_parse_inverts_format(record_id: RecordId) -> None:
    assert parse_record_id(format_record_id(record_id)) == record_id


@given(st.text(max_size=40) | IDS.map(format_record_id) | IDS.map(lambda found: format_record_id(found)[:-1]))
def test_format_inverts_parse_wherever_parse_accepts(text: str) -> None:
    try:
        parsed = parse_record_id(text)
    except BadRecord:
        return
    assert format_record_id(parsed) == text


@given(IDS, IDS)
def test_different_things_have_different_ids(one: RecordId, other: RecordId) -> None:
    assert (format_record_id(one) == format_record_id(other)) == (one == other)


@pytest.mark.parametrize(
    "text",
    [
        f"IMAGE#{IMAGE}#RECEIPT#1#LINE#00001",  # not padded
        f"IMAGE#{IMAGE}#RECEIPT#000001#LINE#00001",  # padded too far
        f"IMAGE#{IMAGE.upper()}#RECEIPT#00001#LINE#00001",
        f"IMAGE#{IMAGE}#RECEIPT#00001#LINE#00001\n",
        f"IMAGE#{IMAGE}#RECEIPT#00001#LINE#0000\u0661",
        f"IMAGE#{IMAGE}#RECEIPT#00001#LINE#00001#WORD#",
        f"IMAGE#{IMAGE}#RECEIPT#00001",
        "IMAGE#",
        "",
        " a",
        "a\x00",
        "x" * 513,
        "\ud800",
    ],
)
def test_another_spelling_is_refused_and_never_taken_for_a_text(text: str) -> None:
    with pytest.raises(BadRecord) as caught:
        parse_record_id(text)
    assert caught.value.remedy


@given(IMAGES, NUMBERS, NUMBERS, NUMBERS, TEXTS)
def test_lines_and_words_are_of_their_receipts_family_and_a_text_of_its_own(
    image: str, receipt: int, line: int, word: int, text: str
) -> None:
    source_id = receipt_source_id(image, receipt)
    assert (
        family(format_line_id(image, receipt, line)) == family(format_word_id(image, receipt, line, word)) == source_id
    )
    assert family(text) == text


def test_a_text_may_look_like_a_uuid() -> None:
    text = str(uuid.UUID(int=7))
    assert parse_record_id(text) == TextId(text)
