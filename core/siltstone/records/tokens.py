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

_RUNS = re.compile(r"(?P<letters>[A-Za-z]+)|(?P<digits>[0-9]+)|(?P<free>[ ](?=[A-Za-z]))|(?P<other>.)", re.DOTALL)


def estimate_tokens(text: str) -> int:
    """Tokens that ``text`` has at most, as estimated above."""
    total = 0
    for run in _RUNS.finditer(text):
        match run.lastgroup:
            case "letters":
                total += (len(run[0]) + 1) // 2
            case "digits":
                total += (len(run[0]) + 2) // 3
            case "free":
                pass
            case _:
                point = ord(run[0])
                total += 1 if point < 0x80 else 2 if point <= 0xFFFF else 4
    return total


def check_unicode(text: str) -> str:
    """Return ``text`` if UTF-8 can carry it; JSON's escapes can also name half of a surrogate pair (`ValueError`)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"holds half of a surrogate pair at character {error.start}") from error
    return text


def check_text(text: str, limit: int) -> str:
    """Return ``text`` if it can be embedded; raise `ValueError` if it is blank or may be over ``limit`` tokens."""
    if not text or text.isspace():
        raise ValueError("is empty: there is nothing to embed")
    check_unicode(text)
    if len(text) <= limit // 4:  # no character counts more than four
        return text
    # A text that is far too long is not worth counting: no rule above gives less than a third of a token per
    # character, save a blank before a letter, which goes with a letter that counts one.
    tokens = estimate_tokens(text[: limit * 4])
    if tokens > limit:
        raise ValueError(f"has {len(text)} characters, over {limit} tokens by a cautious estimate")
    return text
