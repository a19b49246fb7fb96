"""The built-in embedder: dense, deterministic, lexical."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest
from siltstone_local.embedder import embed

LINE = "<TARGET>{}</TARGET> <POS>{}</POS> <CONTEXT>{} {}</CONTEXT>"
RECEIPT = [
    "SYARIKAT PERNIAGAAN GIN KEE",
    "NO 290, JALAN AIR PANAS,",
    "53200, KUALA LUMPUR",
    "SIMPLIFIED TAX INVOICE",
    "GLOVE 1200 (PER PAIR)",
    "TOTAL SALES (INCLUSIVE OF GST) :",
    "GOODS SOLD ARE NOT RETURNABLE, THANK YOU.",
]


def cosine(one: str, other: str, dimension: int = 1536) -> float:
    a, b = embed([one, other], dimension)
    return float(a @ b)


def lines() -> list[str]:
    padded = ["<EDGE>", *RECEIPT, "<EDGE>"]
    return [LINE.format(padded[i], "middle", padded[i - 1], padded[i + 1]) for i in range(1, len(padded) - 1)]


def test_a_text_has_the_same_bytes_alone_among_others_and_on_every_machine():
    many = [f"{text} {number}" for number in range(100) for text in RECEIPT]
    alone = embed([many[333]], 1536)
    assert alone.tobytes() == embed(many, 1536)[333].tobytes() == embed(many[300:], 1536)[33].tobytes()
    digest = hashlib.sha256(embed(["TAN WOON YANN", "53200, KUALA LUMPUR", "%", "மளிகை"], 256).astype("<f4").tobytes())
    assert digest.hexdigest()[:16] == "51070086a774ab91"


@pytest.mark.parametrize("dimension", [1, 64, 512, 1536, 3072])
def test_vectors_are_unit_float32_of_the_dimension_asked_for(dimension: int):
    vectors = embed([*RECEIPT, " ", "***", ":", "Ünïcödé", "x" * 20_000], dimension)
    assert vectors.shape == (len(RECEIPT) + 5, dimension)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("dimension", [0, -1, 4097])
def test_a_dimension_that_it_does_not_have_is_refused(dimension: int):
    with pytest.raises(ValueError, match="dimensions"):
        embed(["a"], dimension)


def test_no_texts_give_no_vectors():
    assert embed([], 8).shape == (0, 8)


def test_vectors_are_dense_and_spread_like_a_learned_model():
    vectors = embed(RECEIPT, 1536)
    assert (vectors == 0).mean() < 0.01
    assert np.abs(vectors).max() < 0.25  # no component carries a vector
    assert abs(float(vectors.mean())) < 0.005


@pytest.mark.parametrize(
    ("text", "misread", "at_least"),
    [
        ("TAN WOON YANN", "TAN W00N YANN", 0.95),
        ("TAN WOON YANN", "TAN WOON YAN", 0.75),
        ("BILL NO 15", "B1LL N0 I5", 0.95),
        ("SYARIKAT PERNIAGAAN GIN KEE", "SYARIKAT PERNIAGAAM GIN KEE", 0.75),
        ("Kuala Lumpur", "KUALA LUMPUR", 0.999),
    ],
)
def test_slips_of_recognition_stay_close(text: str, misread: str, at_least: float):
    assert cosine(text, misread) > at_least


def test_unrelated_texts_are_far_apart():
    similarity = embed(RECEIPT, 1536) @ embed(RECEIPT, 1536).T
    assert similarity[~np.eye(len(RECEIPT), dtype=bool)].max() < 0.3
    assert cosine("%", "#") < 0.3


def test_a_plain_query_finds_the_line_that_holds_it_not_the_one_beside_it():
    stored = embed(lines(), 1536)
    for number, text in enumerate(RECEIPT):
        scores = stored @ embed([text], 1536)[0]
        assert scores.argmax() == number
        assert scores[number] > 0.9
    assert (stored @ embed(["kuala lumpur"], 1536)[0]).argmax() == 2


def test_the_position_is_no_word():
    assert cosine("middle", LINE.format("GLOVE", "middle", "<EDGE>", "<EDGE>")) < 0.15


def test_context_tells_equal_lines_apart_a_little():
    similarity = cosine(LINE.format("TOTAL", "top", "CASH", "12.00"), LINE.format("TOTAL", "top", "ROUNDING", "0.72"))
    assert 0.9 < similarity < 0.999


def test_it_is_fast_enough_for_a_full_batch():
    texts = [f"{line} {number}" for number in range(300) for line in lines()]
    embed(texts[:10], 1536)
    begun = time.process_time()
    embed(texts, 1536)
    assert len(texts) / (time.process_time() - begun) > 2_000  # texts a second and core; 10,000 on a free machine
