from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.engine.encode import load_encoder
from mofang.engine.encode.tokens import TokenEncoder

RECORDS = [
    {"text": text}
    for text in ("这个手机很好用 the phone works", "质量太差 broken phone", "very good works", "很好")
] * 10
ENCODER = TokenEncoder.fit(RECORDS, vocabulary=120, max_length=12)


def test_chinese_characters_and_subwords() -> None:
    tokens = ENCODER.tokenizer.encode("很好 phone").tokens
    assert tokens[:3] == ["[CLS]", "很", "好"] and tokens[-1] == "[SEP]"
    assert ENCODER.encode([{"text": ""}])["input_ids"].tolist() == [[2, 3]]


def test_training_twice_gives_the_same_tokenizer() -> None:
    assert TokenEncoder.fit(RECORDS, vocabulary=120, max_length=12).save() == ENCODER.save()


@given(st.lists(st.text(max_size=80), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_saved_loaded_alone_and_together_are_the_same(texts: list[str]) -> None:
    records = [{"text": text} for text in texts]
    loaded = load_encoder({"name": "tokens", "version": 1}, ENCODER.save())
    together = ENCODER.encode(records)
    assert together["input_ids"].shape[1] <= 12
    for row, record in enumerate(records):
        alone = loaded.encode([record])
        length = alone["input_ids"].shape[1]
        assert (together["input_ids"][row, :length] == alone["input_ids"][0]).all()
        assert together["attention_mask"][row].sum() == length
        assert not together["input_ids"][row, length:].any()


def test_a_very_long_text_costs_little_and_is_cut() -> None:
    assert ENCODER.encode([{"text": "好" * 1_000_000}])["input_ids"].shape == (1, 12)


def test_a_broken_tokenizer_is_refused_in_words() -> None:
    with pytest.raises(MofangError) as error:
        load_encoder({"name": "tokens", "version": 1}, {**ENCODER.save(), "tokenizer.json": b"{"})
    assert error.value.code == "encoder-broken"


def test_drawn_texts() -> None:
    assert all(record["text"] for record in ENCODER.draw(np.random.default_rng(0), 10))
