"""How many tokens a text has at most, without the model's vocabulary at hand.

OpenAI refuses an embedding input over 8,192 tokens, so a text that may be over it is refused before it is paid for.
The vocabulary is a download, so the count is an estimate that errs on the high side for anything people write:

====================================  ==============================================
a run of ASCII letters                one token per two letters
a run of ASCII digits                 one token per three digits (the model's own rule)
a blank right before a letter         nothing: it belongs to the word's first token
any other character up to U+FFFF      one token if ASCII, else two
a character above U+FFFF              four tokens, one per byte
====================================  ==============================================

English prose of about 16,000 characters passes. Where the estimate is too low after all (base64, say), the provider
refuses that row and the ledger has it as rejected with the provider's words: nothing is lost, only noticed later.
"""

from __future__ import annotations

import re

INPUT_TOKENS = 8_192
LINE_TOKENS = 2_500  # a line's input holds its two neighbours too: 3 x 2,500 and the tags stay below INPUT_TOKENS

_COUNTED = 2**18  # characters: far over the limit by any rule above, so the rest of a text is not worth counting

_RUNS = re.compile(r"(?P<letters>[A-Za-z]+)|(?P<digits>[0-9]+)|(?P<free>[ ](?=[A-Za-z]))")


class TooLong(ValueError):
    """A text may be over the model's limit. ``tokens``: the estimate; ``limit``: what the model takes."""

    def __init__(self, characters: int, tokens: int, limit: int) -> None:
        super().__init__(f"has {characters} characters, over {limit} tokens: {tokens} by a cautious estimate")
        self.tokens = tokens
        self.limit = limit


def estimate_tokens(text: str) -> int:
    """Tokens that ``text`` has at most, as estimated above."""
    total = counted = 0
    for run in _RUNS.finditer(text):
        length = run.end() - run.start()
        counted += length
        if run.lastgroup == "letters":
            total += (length + 1) // 2
        elif run.lastgroup == "digits":
            total += (length + 2) // 3
    if text.isascii():
        return total + len(text) - counted
    ascii_only = len(text.encode("ascii", "ignore"))
    high = len(text.encode("utf-16-le", "surrogatepass")) // 2 - len(text)  # those take two of UTF-16's units
    return total + (ascii_only - counted) + 2 * (len(text) - ascii_only - high) + 4 * high


def check_unicode(text: str) -> str:
    """Return ``text`` if UTF-8 can carry it; JSON's escapes can also name half of a surrogate pair (`ValueError`)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"holds half of a surrogate pair at character {error.start}") from error
    return text


def check_text(text: str, limit: int) -> str:
    """Return ``text`` if it can be embedded; `ValueError` if it is blank, `TooLong` if it may be over ``limit``."""
    if not text or text.isspace():
        raise ValueError("is empty: there is nothing to embed")
    check_unicode(text)
    if len(text) <= limit // 4:  # no character counts more than four
        return text
    tokens = estimate_tokens(text[:_COUNTED])
    if tokens > limit:
        raise TooLong(len(text), tokens * len(text) // min(len(text), _COUNTED), limit)
    return text
