"""The estimate of tokens: high rather than low, and cheap on anything."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from siltstone.records.inputs import Neighbours, context_input
from siltstone.records.tokens import INPUT_TOKENS, LINE_TOKENS, TooLong, check_text, estimate_tokens

PROSE = "The coffee grinder from the kitchen fair broke after five weeks, and the shop took it back. "


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("hello world", 6), ("12345678", 3), ("1 2", 3), ("$4.40", 4), ("é", 2), ("茶", 2), ("🍵", 4)],
)
def test_the_rule_is_as_documented(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


@given(st.text())
def test_it_is_never_more_than_four_a_character_and_never_zero_for_a_visible_one(text: str) -> None:
    assert estimate_tokens(text) <= 4 * len(text)
    assert estimate_tokens(text) > 0 or not text.strip()


@given(st.text(max_size=60), st.text(max_size=60))
def test_two_texts_together_have_at_most_one_token_more_than_apart(one: str, other: str) -> None:
    assert estimate_tokens(f"{one} {other}") <= estimate_tokens(one) + estimate_tokens(other) + 1


def test_prose_of_sixteen_thousand_characters_passes_and_of_thirty_thousand_does_not() -> None:
    assert check_text((PROSE * 400)[:16_000].rstrip(), INPUT_TOKENS)
    with pytest.raises(ValueError, match="30000 characters, over 8192 tokens"):
        check_text((PROSE * 400)[:30_000], INPUT_TOKENS)


@pytest.mark.parametrize("unit", ["x", "ab ", "7", "7 ", "$", "é", "茶", "🍵", "\n", "a1"])
def test_thirty_thousand_characters_of_anything_are_over_the_limit(unit: str) -> None:
    with pytest.raises(ValueError, match=r"characters, over|is empty"):
        check_text((unit * 30_000)[:30_000], INPUT_TOKENS)


@pytest.mark.parametrize("unit", ["x", "ab ", "7", "$", "é", "🍵"])
def test_a_line_with_the_longest_neighbours_still_fits_the_model(unit: str) -> None:
    longest = unit
    while True:
        try:
            longest = check_text(longest + unit * 8, LINE_TOKENS)
        except ValueError:
            break
    assert estimate_tokens(context_input(longest, "middle-center", Neighbours(longest, longest))) <= INPUT_TOKENS


def test_a_text_that_is_too_long_says_by_how_much() -> None:
    with pytest.raises(TooLong) as caught:
        check_text("ab " * 10_000, INPUT_TOKENS)
    assert (caught.value.tokens, caught.value.limit) == (estimate_tokens("ab " * 10_000), INPUT_TOKENS)


def test_a_huge_text_is_refused_without_being_counted_to_its_end() -> None:
    text = "ab " * 3_000_000
    started = time.perf_counter()
    with pytest.raises(TooLong, match="9000000 characters") as caught:
        check_text(text, INPUT_TOKENS)
    assert time.perf_counter() - started < 0.5
    assert caught.value.tokens == pytest.approx(3_000_000, rel=0.01)
