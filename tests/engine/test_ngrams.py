from __future__ import annotations

import math
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.engine.encode.ngrams import NgramEncoder, spaced

TEXTS = st.lists(st.text(max_size=60), min_size=1, max_size=12)


def records(texts: list[str]) -> list[dict[str, str]]:
    return [{"text": text} for text in texts]


def slowly(encoder: NgramEncoder, text: str) -> dict[str, float]:
    """TF-IDF of one text by plain Python, after its definition."""
    text = text.lower()
    low, high = encoder.characters
    counts = Counter(text[i : i + n] for n in range(low, high + 1) for i in range(len(text) - n + 1))
    idf = dict(zip(encoder.terms, encoder.idf.tolist(), strict=True))
    weights = {
        term: (1 + math.log(min(count, 255))) * idf[term] for term, count in counts.items() if term in idf
    }
    norm = math.sqrt(sum(value**2 for value in weights.values()))
    return {term: value / norm for term, value in weights.items()}


@given(TEXTS)
@settings(max_examples=60, deadline=None)
def test_weights_are_the_definition_of_tf_idf(texts: list[str]) -> None:
    encoder = NgramEncoder.fit(records(texts), min_count=1, words=(0, 0))
    encoded = encoder.encode(records(texts))
    for row, text in enumerate(texts):
        found = {
            encoder.terms[i - 1]: float(w)
            for i, w in zip(encoded["ids"][row], encoded["weights"][row], strict=True)
            if i
        }
        assert found == pytest.approx(slowly(encoder, text), abs=1e-6)


@given(TEXTS, TEXTS)
@settings(max_examples=60, deadline=None)
def test_saved_and_loaded_gives_the_same_bits(train: list[str], others: list[str]) -> None:
    encoder = NgramEncoder.fit(records(train), min_count=1, words=(1, 2))
    loaded = NgramEncoder.load(encoder.save())
    for name, array in encoder.encode(records(others)).items():
        assert array.tobytes() == loaded.encode(records(others))[name].tobytes()
    assert loaded.terms == encoder.terms and loaded.save() == encoder.save()


@given(TEXTS, st.data())
@settings(max_examples=60, deadline=None)
def test_a_record_is_encoded_alike_whatever_stands_beside_it(texts: list[str], data: st.DataObject) -> None:
    encoder = NgramEncoder.fit(records(texts), min_count=1, words=(1, 2))
    row = data.draw(st.integers(0, len(texts) - 1))
    together, alone = encoder.encode(records(texts)), encoder.encode(records(texts)[row : row + 1])
    length = alone["ids"].shape[1]
    for name in ("ids", "weights"):
        assert (together[name][row, :length] == alone[name][0]).all()
        assert not together[name][row, length:].any()


def test_passes_of_bounded_size_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"第{i}条评论 review number {i % 7}" for i in range(50)]
    whole = NgramEncoder.fit(records(texts), words=(1, 2))
    before = whole.encode(records(texts))
    monkeypatch.setattr("mofang.engine.encode.ngrams.CHARACTERS_PER_PASS", 37)
    parts = NgramEncoder.fit(records(texts), words=(1, 2))
    assert parts.save() == whole.save()
    assert all((parts.encode(records(texts))[name] == before[name]).all() for name in before)


def test_words_are_counted_where_writing_has_spaces() -> None:
    english = NgramEncoder.fit(records(["not good at all", "not good", "good film"]), min_count=2)
    assert english.words == (1, 2) and {"not good", "good"} <= set(english.terms)
    chinese = NgramEncoder.fit(records(["质量很好", "质量不好"]), min_count=2)
    assert chinese.words == (0, 0) and set(chinese.terms) == {"质", "量", "好", "质量"}
    assert spaced(["hello world"]) and not spaced(["你好，hi"])


def test_words_alone_know_nothing_of_characters() -> None:
    encoder = NgramEncoder.fit(records(["a b", "a c"]), characters=(0, 0), words=(1, 1), min_count=1)
    assert set(encoder.terms) == {"a", "b", "c"}
    assert (encoder.encode(records(["ab"]))["ids"] == 0).all()


def test_the_most_frequent_terms_are_kept() -> None:
    encoder = NgramEncoder.fit(records(["ab", "ab", "a", "c"]), min_count=1, max_terms=2)
    assert set(encoder.terms) == {"a", "b"} or set(encoder.terms) == {"a", "ab"}


def test_nothing_known_is_an_empty_row_and_no_record_an_empty_batch() -> None:
    encoder = NgramEncoder.fit(records(["abc"] * 3))
    assert encoder.encode(records(["", "好"]))["ids"].tolist() == [[0], [0]]
    assert encoder.encode([])["ids"].shape == (0, 1)
    hollow = NgramEncoder.fit(records(["x"]), min_count=5)
    assert hollow.size == 1 and hollow.encode(records(["x"]))["weights"].tolist() == [[0.0]]


def test_several_columns_are_one_text() -> None:
    rows = [{"title": "good", "body": None}, {"title": "bad", "body": "film"}]
    encoder = NgramEncoder.fit(rows, ["title", "body"], min_count=1)
    assert "\nf" in encoder.terms and encoder.encode(rows)["ids"].shape[0] == 2


def test_files_that_do_not_belong_together_are_refused() -> None:
    files = NgramEncoder.fit(records(["abc"] * 3)).save()
    other = NgramEncoder.fit(records(["abcd"] * 3)).save()
    with pytest.raises(ValueError, match="belong together"):
        NgramEncoder.load({**files, "keys.npy": other["keys.npy"]})


def test_drawn_texts_meet_the_vocabulary() -> None:
    encoder = NgramEncoder.fit(records(["质量很好", "质量不好", "好评"]), min_count=1)
    drawn = encoder.draw(np.random.default_rng(0), 20)
    assert (encoder.encode(drawn)["weights"].sum(axis=1) > 0).all()


def test_seventeen_thousand_short_texts_take_seconds() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, 0x4E00 + (rng.zipf(1.3, size=50) % 3000))) for _ in range(17_000)]
    began = time.process_time()
    encoder = NgramEncoder.fit(records(texts[:4000]))
    encoder.encode(records(texts))
    assert time.process_time() - began < 8
