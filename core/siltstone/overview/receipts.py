"""The receipts of a stage, in the order of their ids: what they are, and how far each is on its way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from siltstone import keys
from siltstone.compaction.messages import Message
from siltstone.errors import InvalidInput, ObjectNotFound, UnknownSource
from siltstone.overview.sources import SourceInfo, read_sources
from siltstone.parallel import chunks, in_parallel
from siltstone.records.ids import receipt_source_id
from siltstone.sources.receipt import Receipt
from siltstone.sources.source import source_from_body
from siltstone.stores import Stores
from siltstone.stores.sources import SourceItem, SourceStatus

_PREFIX = keys.source("receipt", "").removesuffix(".json")
_CHUNK = 100
_GUESSED = 100  # receipt ids of an image whose bodies are gone

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_NAMES = re.compile(
    rf"(?:image#)?(?P<image>{_UUID})(?:(?:#receipt#|#|\.)(?P<receipt>[0-9]{{1,10}})(?:#line#.*)?)?", re.IGNORECASE
)


class ReceiptRow(Message):
    """One receipt of a list. ``statuses``: by collection."""

    source_id: str
    image_id: str
    receipt_id: int
    merchant_name: str | None
    lines: int
    words: int
    statuses: dict[str, SourceStatus]


class ReceiptPage(Message):
    """Some receipts. ``next``: give it as ``after`` for those that follow; ``None`` if there are none."""

    receipts: list[ReceiptRow]
    next: str | None


@dataclass(frozen=True)
class ShownReceipt:
    """One receipt. ``receipt``: ``None`` once it is deleted, when only what became of its records is known."""

    source: SourceInfo
    receipt: Receipt | None


def list_receipts(
    stores: Stores,
    *,
    limit: int = 50,
    after: str | None = None,
    merchant: str | None = None,
    status: SourceStatus | None = None,
) -> ReceiptPage:
    """At most ``limit`` receipts that are not deleted, by source id, those after ``after``.

    ``merchant``: a part of the merchant's name, in any case. ``status``: of at least one collection. It reads no more
    receipts than it needs for the page, so one that a filter leaves few of takes longer. Raises `StoreUnavailable`.
    """
    found: list[ReceiptRow] = []
    for row in _rows(stores, after, merchant, status):
        if len(found) == limit:
            return ReceiptPage(receipts=found, next=found[-1].source_id)
        found.append(row)
    return ReceiptPage(receipts=found, next=None)


def show_receipts(name: str, stores: Stores) -> list[ShownReceipt]:
    """A receipt, or all receipts of an image: by ``IMAGE_ID``, ``IMAGE_ID#RECEIPT_ID``, source id or record id.

    Raises `InvalidInput` for what is none of these, `UnknownSource` if there is none.
    """
    parsed = _NAMES.fullmatch(name.strip())
    if parsed is None:
        raise InvalidInput(
            f"{name[:120]!r} names no receipt.", remedy="Write IMAGE_ID, IMAGE_ID#RECEIPT_ID, or a record's id."
        )
    image_id = parsed["image"].lower()
    if parsed["receipt"] is not None:
        ids = [receipt_source_id(image_id, int(parsed["receipt"]))]
    else:
        ids = [_source_id(info.key) for info in stores.deltas.list(f"{_PREFIX}{image_id}.")]
    known = stores.sources.read_many(ids)
    if not known and parsed["receipt"] is None:  # deleted ones have no body left to list, but their item
        ids = [receipt_source_id(image_id, number) for number in range(_GUESSED)]
        known = stores.sources.read_many(ids)
    if not known:
        raise UnknownSource(f"There is no receipt {name[:120]!r}.", remedy="See `siltstone receipts list`.")
    infos = read_sources([source_id for source_id in ids if source_id in known], stores)
    bodies = in_parallel(lambda info: _body(info.source_id, stores), infos)
    return [ShownReceipt(info, None if info.deleted_at else body) for info, body in zip(infos, bodies, strict=True)]


def _rows(stores: Stores, after: str | None, merchant: str | None, status: SourceStatus | None) -> Iterator[ReceiptRow]:
    listed = (_source_id(info.key) for info in stores.deltas.list(_PREFIX))
    for ids in chunks((source_id for source_id in listed if after is None or source_id > after), _CHUNK):
        items = stores.sources.read_many(ids)
        wanted = [items[source_id] for source_id in ids if source_id in items and _has(items[source_id], status)]
        bodies = in_parallel(lambda item: _body(item.source_id, stores), wanted)
        yield from _matching(wanted, bodies, merchant)


def _matching(
    items: Sequence[SourceItem], bodies: Sequence[Receipt | None], merchant: str | None
) -> Iterator[ReceiptRow]:
    for item, receipt in zip(items, bodies, strict=True):
        if receipt is None:  # deleted since it was listed
            continue
        if merchant is not None and merchant.casefold() not in (receipt.merchant_name or "").casefold():
            continue
        yield ReceiptRow(
            source_id=item.source_id,
            image_id=receipt.image_id,
            receipt_id=receipt.receipt_id,
            merchant_name=receipt.merchant_name,
            lines=len(receipt.lines),
            words=len(receipt.words),
            statuses={name: state.status for name, state in sorted(item.collections.items())},
        )


def _has(item: SourceItem, status: SourceStatus | None) -> bool:
    living = item.deleted_at is None
    return living and (status is None or any(state.status == status for state in item.collections.values()))


def _body(source_id: str, stores: Stores) -> Receipt | None:
    try:
        found = source_from_body("receipt", stores.deltas.get(keys.source("receipt", source_id)).body)
    except ObjectNotFound:
        return None
    return found if isinstance(found, Receipt) else None


def _source_id(key: str) -> str:
    return key.removeprefix(_PREFIX).removesuffix(".json")
