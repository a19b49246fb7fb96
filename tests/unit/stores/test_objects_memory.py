"""The twin in memory lists as S3 does: page by page over what is there by then."""

from __future__ import annotations

from siltstone.clock import ManualClock
from siltstone.stores.objects import read_all_pages
from siltstone.stores.objects_memory import MemoryObjects


def test_what_is_written_between_two_pages_shows_or_not_by_its_key() -> None:
    store = MemoryObjects(ManualClock(), page_size=2)
    for key in ("p/b", "p/d", "p/f", "q/a"):
        store.put(key, b"")
    pages = read_all_pages(store, "p/")
    first = next(pages)
    store.put("p/a", b"")  # behind the listing
    store.put("p/e", b"")  # before it
    store.delete("p/f")
    rest = [found.key for page in pages for found in page.objects]
    assert ([found.key for found in first.objects], rest) == (["p/b", "p/d"], ["p/e"])


def test_so_does_a_history() -> None:
    store = MemoryObjects(ManualClock(), page_size=2)
    for key in ("p/b", "p/d", "p/f", "p/h"):
        store.put(key, b"")
    history = store.list_versions("p/", last="p/g")
    assert next(history).key == "p/b"
    store.delete("p/b")
    store.delete("p/f")
    rest = [(found.key, found.is_delete_marker) for found in history]
    assert rest == [("p/d", False), ("p/f", True), ("p/f", False)]


def test_the_last_page_is_known_to_be_the_last() -> None:
    store = MemoryObjects(ManualClock(), page_size=2)
    for key in ("p/a", "p/b", "p/c"):
        store.put(key, b"")
    store.delete("p/c")
    assert store.list_page("p/").next_token is None
    assert store.list_versions_page("p/", "p/b") == (list(store.list_versions("p/c")), None)
