"""Make the sample again: ``python -m siltstone_local.sample.generate``. The same seed gives the same bytes."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from siltstone.sources.receipt import Line, Receipt, Word, words_of
from siltstone.sources.text import Text

from siltstone_local.sample import RECEIPTS, TEXTS
from siltstone_local.sample.notes import NOTES
from siltstone_local.sample.shops import SHOPS, TONGUES, WARES, Shop, Tongue

SEED = 20_240_229
TEXT_COLLECTION = "texts"

_SLIPS = [("O", "0"), ("l", "1"), ("S", "5"), ("m", "rn"), ("I", "l"), ("B", "8"), ("e", "c"), (" ", "")]
_LEFT, _RIGHT, _CHARACTER = 0.07, 0.93, 0.019  # margins and the width of a printed character


def receipts(seed: int = SEED) -> list[Receipt]:
    """One receipt for each shop; every third has words of its own with confidences, every eighth knows none."""
    rng = random.Random(seed)
    return [_receipt(rng, shop, number) for number, shop in enumerate(SHOPS)]


def texts() -> list[Text]:
    """The notes."""
    return [
        Text(collection=TEXT_COLLECTION, id=f"note-{number:02d}", text=text, metadata=metadata)
        for number, (text, metadata) in enumerate(NOTES, start=1)
    ]


def write(receipts_file: Path = RECEIPTS, texts_file: Path = TEXTS) -> None:
    """Write both files."""
    receipts_file.write_text("".join(_json_line(_as_written(receipt)) for receipt in receipts()), encoding="utf-8")
    texts_file.write_text(
        "".join(_json_line(text.model_dump(exclude={"collection"})) for text in texts()), encoding="utf-8"
    )


def _receipt(rng: random.Random, shop: Shop, number: int) -> Receipt:
    tongue = TONGUES[shop.tongue]
    rows = _header(rng, shop, tongue) + _sale(rng, shop, tongue) + [[("center", tongue.thanks)]]
    step = 0.94 / len(rows)
    lines: list[Line] = []
    for place, row in enumerate(rows):
        for align, printed in row:
            read, clean = _misread(rng, printed)
            width = round(min(len(printed) * _CHARACTER, _RIGHT - _LEFT), 4)
            x = {"left": _LEFT, "center": 0.5 - width / 2, "right": _RIGHT - width}[align]
            confidence = rng.uniform(0.9, 0.995) if clean else rng.uniform(0.55, 0.85)
            lines.append(
                Line(
                    line_id=len(lines) + 1,
                    text=read,
                    confidence=None if number % 8 == 7 else round(confidence, 3),
                    x=round(x + rng.uniform(-0.006, 0.006), 4),
                    y=round(0.03 + place * step + rng.uniform(-0.001, 0.001), 4),
                    width=width,
                    height=round(min(0.8 * step, 0.03), 4),
                )
            )
    words = [_seen(rng, word) for line in lines for word in words_of(line)] if number % 3 == 0 else []
    image_id = str(UUID(int=rng.getrandbits(128), version=4))
    return Receipt(
        image_id=image_id,
        receipt_id=1,
        merchant_name=None if number % 13 == 12 else shop.name,
        lines=tuple(lines),
        words=tuple(words),
    )


def _header(rng: random.Random, shop: Shop, tongue: Tongue) -> list[list[tuple[str, str]]]:
    sold = datetime(2023, 1, 2, 8, tzinfo=UTC) + timedelta(days=rng.randrange(900), minutes=rng.randrange(720))
    return [
        [("center", shop.name.upper() if rng.random() < 0.4 else shop.name)],
        [("center", shop.street)],
        [("center", shop.town)],
        [("center", f"{tongue.phone} {shop.phone}")],
        [("left", sold.strftime(tongue.date)), ("right", f"{tongue.till} {rng.randint(1, 9)}")],
    ]


def _sale(rng: random.Random, shop: Shop, tongue: Tongue) -> list[list[tuple[str, str]]]:
    rows: list[list[tuple[str, str]]] = []
    subtotal = 0.0
    for ware, price in rng.sample(WARES[shop.wares], rng.randint(2, 5)):
        count = rng.choice((1, 1, 1, 2, 3))
        subtotal += count * price
        rows.append([("left", ware if count == 1 else f"{count} x {ware}"), ("right", _money(count * price, tongue))])
    tax = subtotal * tongue.tax_percent / 100
    added = tongue.currency == "$"  # elsewhere the price on the shelf has the tax in it
    total = subtotal + tax if added else subtotal
    shown_tax = tax if added else subtotal - subtotal / (1 + tongue.tax_percent / 100)
    rows.append([("left", tongue.subtotal), ("right", _money(subtotal, tongue))])
    rows.append([("left", f"{tongue.tax} {tongue.tax_percent}%"), ("right", _money(shown_tax, tongue))])
    rows.append([("left", tongue.total), ("right", f"{tongue.currency} {_money(total, tongue)}")])
    if rng.random() < 0.5:
        note = 10 if tongue.cents else 50_000
        paid = (total // note + 1) * note
        rows.append([("left", tongue.cash), ("right", _money(paid, tongue))])
        rows.append([("left", tongue.change), ("right", _money(round(paid - total, 2), tongue))])
    else:
        rows.append([("left", f"{tongue.card} **** {rng.randrange(10_000):04d}"), ("right", _money(total, tongue))])
    return rows


def _money(amount: float, tongue: Tongue) -> str:
    if not tongue.cents:
        return f"{round(amount):,}".replace(",", tongue.decimal)
    return f"{amount:.2f}".replace(".", tongue.decimal)


def _misread(rng: random.Random, printed: str) -> tuple[str, bool]:
    """What a recogniser makes of a line, and whether it is right: one line in eight is not."""
    wrong, right = rng.choice(_SLIPS)
    if rng.random() > 1 / 8 or wrong not in printed[1:]:
        return printed, True
    place = printed.index(wrong, 1)
    return printed[:place] + right + printed[place + len(wrong) :], False


def _seen(rng: random.Random, word: Word) -> Word:
    box = {name: round(getattr(word, name), 4) for name in ("x", "width")}
    return word.model_copy(update={**box, "confidence": round(rng.uniform(0.7, 0.995), 3)})


def _as_written(receipt: Receipt) -> dict[str, object]:
    """As a recogniser would write it: without words where it saw none."""
    written = receipt.model_dump(mode="json")
    if all(word.confidence is None for word in receipt.words):
        del written["words"]
    return written


def _json_line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    write()
