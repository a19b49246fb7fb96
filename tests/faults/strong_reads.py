"""What a strong read may say while others write, merge, roll back and quarantine."""

from __future__ import annotations

from tests.faults.events import Answered
from tests.faults.facts import CollectionFacts, Content, Life, Row, apply, token_of
from tests.faults.history import History
from tests.faults.violation import fail, words


def judge(name: str, who: str, history: History, facts: CollectionFacts, event: Answered, base: Content) -> None:
    """Required are the operations that stood when the read began; optional those that came, or went to quarantine,
    while it lasted. Of each id the answer shows the last required operation, or a later optional one; and whoever sees
    one row of an optional delta sees all of it.
    """
    assert event.content is not None
    token = token_of(event.version)

    def laid_over(life: Life) -> bool:
        return life.number == 0 and life.kind != "bad" and facts.accounted.get(life.identity, token + 1) > token

    pending = [life for life in event.asked.required if laid_over(life)]
    required = sorted((life for life in pending if life.key not in history.condemned), key=lambda life: life.order)
    if event.content == apply(base, required):
        return
    optional = [life for life in pending if life.key in history.condemned]
    optional += [life for life in facts.births[event.asked.births :] if laid_over(life)]
    # What each id may show, with the place in the order of the operation that left it so.
    choices: dict[str, dict[Row | None, tuple[int, str]]] = {row_id: {row: (0, "")} for row_id, row in base.items()}
    for life in required:
        choices.update({row_id: {row: life.order} for row_id, row in life.operations.items()})
    for life in sorted(optional, key=lambda life: life.order):
        for row_id, row in life.operations.items():
            known = choices.setdefault(row_id, {None: (0, "")})
            if life.order > min(known.values()):
                known[row] = life.order
    shown: dict[str, tuple[int, str]] = {}
    for row_id in sorted({*choices, *event.content}):
        row = event.content.get(row_id)
        if row not in choices.get(row_id, {None: (0, "")}):
            allowed = " or ".join(words(each) for each in choices.get(row_id, {None: (0, "")}))
            fail(name, f"{who} strongly, saw {event.version} with {row_id} as {words(row)} instead of {allowed}")
        shown[row_id] = choices[row_id][row]
    for life in optional:
        witnessed = any(row is not None and event.content.get(row_id) == row for row_id, row in life.operations.items())
        if witnessed and any(shown.get(row_id, life.order) < life.order for row_id in life.operations):
            fail(name, f"{who} strongly, saw a part of {life.key} at {event.version}")
