"""Packing: within the limits, nothing lost, no source torn apart, the same every time."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from siltstone.deltas.codec import MAX_TEXT_BYTES
from siltstone.embedding.packing import BatchLimits, PackingRejection, PlannedBatch, pack
from siltstone.embedding.requests import MAX_BATCH_ROWS, write_requests
from siltstone.errors import BadRecord, UnknownCollection
from siltstone.records.record import Record, make_records
from siltstone.settings import CollectionBook, CollectionSettings
from siltstone.sources.receipt import Line, Receipt
from siltstone.sources.source import Source
from siltstone.sources.text import Text

BOOK = CollectionBook(
    collections={
        **CollectionBook().collections,
        "notes": CollectionSettings(model="text-embedding-3-large", dimension=3072),
    }
)
Item = tuple[Source, Sequence[Record]]


def receipt(number: int, lines: int, text: str = "two words") -> Item:
    source = Receipt(
        image_id=f"3f2504e0-4f89-41d3-9a0c-{number:012x}",
        receipt_id=1,
        lines=tuple(
            Line(line_id=place, text=text, x=0.1, y=place / (lines + 1), width=0.5, height=0.0)
            for place in range(lines)
        ),
    )
    return _item(source)


def note(number: int, text: str = "A note.", collection: str = "texts") -> Item:
    return _item(Text(collection=collection, id=f"note-{number}", text=text))


def _item(source: Receipt | Text) -> Item:
    return source, [
        record
        for collection in source.collections(BOOK)
        for record in make_records(source, collection, BOOK.resolve(collection))
    ]


def run(items: Iterable[Item], **limits: int) -> tuple[list[PlannedBatch], list[PackingRejection]]:
    packed = list(pack(items, BatchLimits(**limits), BOOK))
    batches = [item for item in packed if isinstance(item, PlannedBatch)]
    return batches, [item for item in packed if isinstance(item, PackingRejection)]


def file_size(batch: PlannedBatch, folder: Path) -> int:
    settings = BOOK.resolve(batch.collection)
    rows = ((record.record_id, record.input) for record in batch.records)
    return write_requests(folder / "requests.jsonl", rows, model=settings.model, dimension=settings.dimension)


ITEMS = st.lists(
    st.tuples(
        st.sampled_from(["receipt", "text", "note"]), st.integers(1, 9), st.sampled_from(["a b", "ß", '"\n', "x" * 90])
    ),
    max_size=25,
).map(
    lambda drawn: [
        receipt(number, size, text) if kind == "receipt" else note(number, text, "texts" if kind == "text" else "notes")
        for number, (kind, size, text) in enumerate(drawn)
    ]
)


@given(ITEMS, st.integers(1, 30), st.integers(1, 30), st.integers(150, 6_000))
def test_every_record_is_in_one_batch_or_its_source_is_rejected(
    tmp_path_factory: pytest.TempPathFactory, items: list[Item], max_records: int, max_inputs: int, max_bytes: int
) -> None:
    batches, rejected = run(items, max_records=max_records, max_inputs=max_inputs, max_bytes=max_bytes)
    placed = Counter((batch.collection, record.record_id) for batch in batches for record in batch.records)
    refused = {(rejection.collection, rejection.source.source_id) for rejection in rejected}
    expected = Counter(
        (record.collection, record.record_id)
        for _, records in items
        for record in records
        if (record.collection, record.source_id) not in refused
    )
    assert placed == expected
    assert {rejection.why for rejection in rejected} <= {"too_large"}
    homes = Counter((batch.collection, source.source_id) for batch in batches for source in batch.sources)
    assert all(count == 1 for count in homes.values())
    for batch in batches:
        assert 0 < len(batch.records) <= min(max_records, max_inputs)
        assert batch.request_bytes == file_size(batch, tmp_path_factory.getbasetemp()) <= max_bytes
        assert {record.collection for record in batch.records} == {batch.collection}
        owners = [key for key, _ in itertools.groupby(record.source_id for record in batch.records)]
        assert owners == [source.source_id for source in batch.sources]
    assert run(items, max_records=max_records, max_inputs=max_inputs, max_bytes=max_bytes) == (batches, rejected)


def test_records_keep_the_order_in_which_sources_came() -> None:
    batches, _ = run([note(number) for number in (5, 1, 4, 2)], max_records=3)
    assert [[record.record_id for record in batch.records] for batch in batches] == [
        ["note-5", "note-1", "note-4"],
        ["note-2"],
    ]


def test_what_is_left_at_the_end_comes_by_collection_name() -> None:
    batches, _ = run([note(1), receipt(2, 1), note(3, collection="notes")])
    assert [batch.collection for batch in batches] == ["lines", "notes", "texts", "words"]


def test_a_source_that_does_not_fit_any_more_opens_the_next_batch_whole() -> None:
    batches, _ = run([receipt(1, 3, "x"), receipt(2, 3, "x")], max_records=5)
    assert [(batch.collection, len(batch.sources), len(batch.records)) for batch in batches] == [
        *(("lines", 1, 3), ("words", 1, 3)),  # closed by the second receipt
        *(("lines", 1, 3), ("words", 1, 3)),
    ]


def test_bytes_are_those_of_the_request_file_not_of_the_text() -> None:
    """Escapes and the row around the text count: two notes of one quotation mark each are over 250 bytes."""
    batches, _ = run([note(1, '"'), note(2, '"')], max_bytes=250)
    assert [len(batch.records) for batch in batches] == [1, 1]
    assert batches[0].request_bytes > 120


def test_metadata_counts_too_since_the_delta_has_to_hold_it() -> None:
    """Else 50,000 short texts with 40 KB of metadata each are embedded, paid for, and make a delta no reader takes."""
    items = [_item(Text(collection="texts", id=f"n{n}", text="x", metadata={"k": "m" * 1_000})) for n in range(4)]
    batches, rejected = run(items, max_stored_bytes=2_100)
    assert ([len(batch.records) for batch in batches], rejected) == ([2, 2], [])
    _, rejected = run(items, max_stored_bytes=1_000)
    assert [rejection.why for rejection in rejected] == ["too_large"] * 4


def test_a_full_batch_makes_a_delta_that_its_readers_take() -> None:
    assert BatchLimits().max_stored_bytes + MAX_BATCH_ROWS * 1_024 < MAX_TEXT_BYTES


def test_a_batch_may_be_exactly_as_large_as_the_limit() -> None:
    items = [note(1), note(2)]
    [both], _ = run(items)
    assert len(run(items, max_bytes=both.request_bytes)[0]) == 1
    assert len(run(items, max_bytes=both.request_bytes - 1)[0]) == 2


def test_a_source_that_is_too_large_alone_is_named_and_the_others_go_on() -> None:
    batches, [rejection] = run([note(1), receipt(2, 4), receipt(3, 1)], max_records=6)
    assert (rejection.collection, rejection.why, rejection.other) == ("words", "too_large", None)
    assert rejection.source.source_id.endswith("000000000002.00001")
    assert "8 records" in rejection.what
    assert isinstance(rejection.error(), BadRecord)
    assert rejection.error().remedy
    assert {batch.collection: len(batch.records) for batch in batches} == {"lines": 5, "texts": 1, "words": 2}


class TestRepeatedIds:
    def test_the_same_source_again_is_rejected_even_when_its_batch_is_closed(self) -> None:
        batches, [rejection] = run([note(1), note(2), note(3), note(1)], max_records=1)
        assert len(batches) == 3
        assert (rejection.why, rejection.other) == ("repeated_id", "text.texts.note-1")

    def test_a_receipt_again_is_rejected_in_each_of_its_collections(self) -> None:
        _, rejected = run([receipt(1, 2), receipt(2, 2), receipt(1, 3)], max_records=4)
        assert [rejection.collection for rejection in rejected] == ["lines", "words"]

    def test_two_sources_with_one_id_are_both_named(self) -> None:
        source, [record] = note(1)
        other, _ = note(2)
        thief = Record(**{**_fields(record), "source_id": other.source_id})
        _, [rejection] = run([(source, [record]), (other, [thief])])
        assert (rejection.source.source_id, rejection.other) == (other.source_id, source.source_id)
        assert all(name in rejection.what for name in ("note-1", source.source_id, other.source_id))

    def test_an_id_twice_within_a_source_rejects_it_and_claims_nothing(self) -> None:
        source, [record] = note(1)
        batches, [rejection] = run([(source, [record, record]), (source, [record])])
        assert rejection.other == source.source_id
        assert len(batches) == 1

    def test_one_id_in_two_collections_is_no_repetition(self) -> None:
        batches, rejected = run([note(1), note(1, collection="notes")])
        assert (len(batches), rejected) == (2, [])


def _fields(record: Record) -> dict[str, object]:
    return {name: getattr(record, name) for name in Record.__dataclass_fields__}


def test_a_batch_says_which_revision_of_its_sources_it_holds() -> None:
    source, records = note(1)
    [batch], _ = run([(source, records)])
    assert [(ref.kind, ref.source_id, ref.revision) for ref in batch.sources] == [
        ("text", source.source_id, source.revision)
    ]


def test_sources_without_records_make_no_batch() -> None:
    assert run([(note(1)[0], [])]) == ([], [])


def test_a_collection_that_no_setting_names_is_not_guessed() -> None:
    source, [record] = note(1)
    with pytest.raises(UnknownCollection):
        run([(source, [Record(**{**_fields(record), "collection": "elsewhere"})])])


def test_it_is_a_stream_that_holds_one_open_batch() -> None:
    taken = 0

    def endless() -> Iterator[Item]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield note(number, "word " * 400)

    tracemalloc.start()
    stream = pack(endless(), BatchLimits(max_records=50), BOOK)
    first = next(stream)
    assert isinstance(first, PlannedBatch)
    assert (len(first.records), taken) == (50, 51)
    for _ in itertools.islice(stream, 40):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken > 2_000  # some 10 MB of records went by
    assert peak < 3 * 2**20


@pytest.mark.parametrize("limit", ["max_records", "max_inputs", "max_bytes", "max_stored_bytes"])
def test_limits_can_be_lowered_but_never_raised_over_the_providers(limit: str) -> None:
    default = BatchLimits()
    assert (default.max_records, default.max_inputs, default.max_bytes) == (50_000, 50_000, 200_000_000)
    for value in (0, getattr(default, limit) + 1):
        with pytest.raises(ValidationError):
            BatchLimits(**{limit: value})
