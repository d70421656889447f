"""Two encoders side by side: the arrays of both, kept and found again, hostile files refused in words."""

from __future__ import annotations

import numpy as np
import pytest

from mofang.core.errors import MofangError
from mofang.engine.encode import load_encoder
from mofang.engine.encode.both import BothEncoder
from mofang.engine.encode.ngrams import NgramEncoder
from mofang.engine.encode.tokens import TokenEncoder

RECORDS = [{"text": text} for text in ("房间很干净，服务也好", "the room was great", "", "电脑用了两天就死机" * 40)]


@pytest.fixture(scope="module")
def both() -> BothEncoder:
    return BothEncoder(NgramEncoder.fit(RECORDS * 3), TokenEncoder.fit(RECORDS * 3, vocabulary=120, max_length=24))


def test_a_record_gives_the_arrays_of_both_however_it_is_asked(both: BothEncoder) -> None:
    whole = both.encode(RECORDS)
    assert set(whole) == {"ids", "weights", "input_ids", "attention_mask"} and {len(one) for one in whole.values()} == {4}
    assert whole["input_ids"].shape[1] == 24, "the tokens are cut, the n-grams are not"
    alone = both.encode(RECORDS[1:2])
    for name, array in alone.items():
        assert np.array_equal(array[0], whole[name][1, : array.shape[1]]), name


def test_it_is_found_again_and_draws_records_of_either_kind(both: BothEncoder) -> None:
    again = load_encoder({"name": "both", "version": 1}, both.save())
    assert all(np.array_equal(one, other) for one, other in zip(both.encode(RECORDS).values(), again.encode(RECORDS).values(),
                                                                strict=True))
    for count in (1, 5):
        assert len(both.draw(np.random.default_rng(0), count)) == count


@pytest.mark.parametrize("about", [b"[]", b"{", b'[{"name": "both", "version": 1}]', b'[{"name": "tokens", "version": 1}]',
                                   b'[{"name": "../x", "version": 1}, {"name": "tokens", "version": 1}]'])
def test_files_of_another_kind_are_refused(both: BothEncoder, about: bytes) -> None:
    with pytest.raises(MofangError) as caught:
        load_encoder({"name": "both", "version": 1}, both.save() | {"both.json": about})
    assert caught.value.code in ("encoder-broken", "encoder-unknown")
