"""A filter on documents means the same for merged rows, which Chroma searches, and for pending ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import chromadb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from siltstone.errors import BadQuery
from siltstone.query.where_document import matching_documents, normalize_document

DOCUMENTS: list[str | None] = [
    None, "", "a", "ab", "abc", "ABC", "Abc def", "abc\ndef", "Été 12", "été", "ete", "50% off", "50x off",
    "a_b", "axb", "tab\tx", "٣ arabic digit", "x²", "ﬁ", "naïve café", "the cat", "cat", "concat", "cat's",
    "日本語テキスト", "日本", "😀 smile", "RM 12.50", "RM12.50", "total: $5", "a\\b", 'say "hi"', "it's", "\u017f",
    "K kelvin", "İ", " lead", "e\u0301", "foo_bar", "foo bar", "\u00a0nbsp", "a\u2028b", "Σας ς", "\x0b",
    "\x1c", "\u200d", "[x]", "a-b", "Ⓐ ⅷ",
]  # fmt: skip
IDS = [f"row-{index:02d}" for index in range(len(DOCUMENTS))]

TEXTS = [
    "a", "ab", "abc", "ABC", "é", "Été", "50%", "_", "a_b", "%", "\\", '"', "'", "日", "日本", "日本語", "😀",
    "\u017f", "K", " ", "\n", "\t", "12", "$5", "²", "e\u0301", "c d", "\u2028", "[x]", "*",
]  # fmt: skip
PATTERNS = [
    "a", "^abc", "abc$", "(?i)abc", "(?i)été", "(?i)\u017f", "(?i)k", "(?i)\u03c3", r"\d", r"\d+", r"\D",
    r"^\D+$", r"\w", r"^\w+$", r"\W", r"^\W", r"\s", r"^\s", r"\S", r"^\S+$", r"[\d]", r"[^\d]", r"[\s]",
    r"[^\s]", r"[^\w]", r"[\S]x", r"[\s\S]", r"[\w.]+@?", "[[:alpha:]]+", "[[:^alpha:]]", "[[:word:]]",
    r"\p{L}", r"\p{Greek}", r"\pL", r"\p{Han}", r"\p{Lu}", "a.c", "a.b", "abc.def", "(?s)abc.def", "(?m)^def",
    "[^a]", "^$", "x*", "a|b", "(a)(b)", "(?P<n>a)", "(?<n>a)", "a{2,3}", r"\x41", r"\x{e9}", r"\x{1F600}",
    r"\z", r"\A", r"\Aab\z", r"[]a]", r"[^]a]", r"[a\]b]", r"RM ?\d+\.\d{2}", r"(?i:ABC)", r"\-", r"\n", r"\t",
    r"\v", r"日本.", "^.$", r"\$\d", r"[a\-c]-", r"\[x\]", "(?U)a+", r"\bcat\b|RM", r"[\x{e9}a]t",
]  # fmt: skip


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    client = chromadb.PersistentClient(tmp_path_factory.mktemp("chroma"))
    made = client.create_collection("where-documents", embedding_function=None)
    vectors = np.random.default_rng(0).normal(size=(len(IDS), 8)).astype(np.float32)
    made.upsert(ids=IDS, embeddings=vectors, documents=DOCUMENTS)  # type: ignore[arg-type]
    yield made
    client.close()


def same(collection: Any, where: dict[str, Any]) -> None:
    normalized = normalize_document(where)
    ours = {row for row, passed in zip(IDS, matching_documents(normalized, DOCUMENTS), strict=True) if passed}
    assert ours == set(collection.get(where_document=normalized, include=[])["ids"])


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_found_where_chroma_finds_it(collection: Any, text: str) -> None:
    same(collection, {"$contains": text})
    same(collection, {"$not_contains": text})


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_found_where_chroma_finds_it(collection: Any, pattern: str) -> None:
    same(collection, {"$regex": pattern})
    same(collection, {"$not_regex": pattern})


leaves = st.one_of(
    st.builds(lambda key, text: {key: text}, st.sampled_from(["$contains", "$not_contains"]), st.sampled_from(TEXTS)),
    st.builds(lambda key, text: {key: text}, st.sampled_from(["$regex", "$not_regex"]), st.sampled_from(PATTERNS[:50])),
)


def _joined(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda key, terms: {key: terms}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(where=st.recursive(leaves, _joined, max_leaves=5))
def test_so_is_any_combination(collection: Any, where: dict[str, Any]) -> None:
    same(collection, where)


@pytest.mark.parametrize("pattern", [r"caf\b", r"\bté", r"caf\Bé"])
def test_a_word_boundary_that_can_not_be_judged_is_refused_and_never_guessed(pattern: str) -> None:
    where = normalize_document({"$regex": pattern})
    assert matching_documents(where, ["the cat", "concat", None]).tolist() == [False, False, False]
    with pytest.raises(BadQuery, match=r"boundar|\\b can't be judged"):
        matching_documents(where, ["naïve café", "été"])


@pytest.mark.parametrize(
    "pattern",
    [
        r"\u00e9", r"\<cat", r"\b{start}cat", r"\h", r"\Z", r"\Qa\E", r"\C", r"(a)\1", r"[a&&b]", r"[\w--\d]",
        r"[a~~b]", r"[a[b]]", r"[\W]", r"[\b]", "a++", "a{1001}", "(?x)a b", "(?=a)", "(?<!a)b", "(", "[a",
        "a\\", r"\p{Nonsense}", "(?-u:é)", r"\08",
    ],
)  # fmt: skip
def test_a_pattern_that_the_two_engines_read_differently_is_refused(pattern: str) -> None:
    with pytest.raises(BadQuery, match=r"where_document\.\$regex"):
        normalize_document({"$regex": pattern})


def test_a_pattern_takes_linear_time() -> None:
    where = normalize_document({"$regex": "(a+)+$"})
    assert not matching_documents(where, ["a" * 100_000 + "b"]).any()


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ({"$contains": ""}, "where_document.$contains"),
        ({"$contains": 7}, "where_document.$contains"),
        ({"$contains": "a\0"}, "zero character"),
        ({"$contains": "\ud800"}, "where_document.$contains"),
        ({"$contains": "a" * 1_001}, "where_document.$contains"),
        ({"$like": "a"}, "$like"),
        ({"$and": []}, "where_document.$and"),
        ({"$or": [{"$contains": "a"}, 7]}, "where_document.$or[1]"),
        ({"$or": [{"$or": [{"$contains": "a"}] * 20}] * 20}, "400 conditions"),
        ("a", "where_document"),
    ],
)
def test_a_wrong_filter_is_refused_and_its_place_named(where: Any, place: str) -> None:
    with pytest.raises(BadQuery) as refused:
        normalize_document(where)
    assert place in str(refused.value)


def test_no_filter_is_none() -> None:
    assert normalize_document(None) is None
    assert normalize_document({}) is None
    assert matching_documents(None, ["a", None]).all()
