"""Which tag follows which: counted, weighed into the pieces' own probabilities, and never an invalid span."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.engine.arrays import to_npy
from mofang.engine.decode.chain import Chain, allowed
from mofang.engine.decode.spans import best_tags, runs_of, spans_of
from mofang.engine.encode.pieces import pieces
from mofang.engine.encode.surroundings import SurroundingsEncoder

TAGS = [np.array([0, 1, 2, 0, 3, 0]), np.array([1, 2, 2]), np.array([0, 0, 3, 4]), np.array([], np.int64)]


def shares(seed: int, rows: int, places: int, tags: int, sharp: float) -> np.ndarray:
    raw = np.exp(sharp * np.random.default_rng(seed).normal(size=(rows, places, tags)))
    return (raw / raw.sum(axis=-1, keepdims=True)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from([0.1, 3.0, 30.0]))
def test_spans_are_always_whole_in_order_and_apart(seed: int, places: int, weight: float, sharp: float) -> None:
    given_ = shares(seed, 1, places, 5, sharp)
    for found in (given_, Chain.of(TAGS, 5, weight).marginals(given_, np.array([places]))):
        assert np.isfinite(found).all() and np.allclose(found.sum(axis=-1), 1, atol=1e-5)
        tags = best_tags(found[0]).tolist()
        assert all(allowed(5)[before, tag] for before, tag in itertools.pairwise([5, *tags])), "a span goes on that did not begin"
        assert sum(last - first for first, last, _ in runs_of(np.array(tags))) == sum(tag > 0 for tag in tags)
        text = "字" * places
        spans = spans_of(text, pieces(text), found[0], ("a", "b"))
        assert all(0 <= one["start"] < one["end"] <= places and one["text"] == text[one["start"]:one["end"]] for one in spans)
        assert all(before["end"] <= after["start"] for before, after in itertools.pairwise(spans))


def test_it_is_the_sum_over_all_sequences_and_rows_do_not_touch() -> None:
    chain, given_ = Chain.of(TAGS, 5, 0.5), shares(1, 2, 4, 5, 1.0)
    found = chain.marginals(given_, np.array([4, 2]))
    wanted, factors = np.zeros((4, 5)), chain.factors
    for tags in itertools.product(range(5), repeat=4):
        score = factors[5, tags[0]] * np.prod([factors[a, b] for a, b in itertools.pairwise(tags)])
        score *= np.prod([given_[0, place, tag] for place, tag in enumerate(tags)])
        wanted[np.arange(4), tags] += score
    assert np.allclose(found[0], wanted / wanted.sum(axis=1, keepdims=True), atol=1e-5)
    assert np.allclose(found[1, :2], chain.marginals(given_[1:, :2], np.array([2]))[0], atol=1e-6)
    assert (found[1, 2:] == given_[1, 2:]).all(), "behind the last piece nothing changes"


def test_what_training_saw_tips_the_balance() -> None:
    even = np.full((1, 2, 5), 0.2, np.float32)
    even[0, 0] = [0.1, 0.6, 0.1, 0.1, 0.1]
    assert Chain.of([np.array([1, 2])] * 50, 5).marginals(even, np.array([2]))[0, 1].argmax() == 2
    assert Chain.of([np.array([1, 3])] * 50, 5).marginals(even, np.array([2]))[0, 1].argmax() == 3


def test_it_travels_with_the_encoder_and_a_forged_one_is_refused() -> None:
    encoder = SurroundingsEncoder("text", "", np.array([7], np.uint32), ("a",), chain=Chain.of(TAGS, 5, 0.25))
    again = SurroundingsEncoder.load(encoder.save())
    assert again.chain is not None and again.chain.weight == 0.25
    assert (again.chain.follows == Chain.of(TAGS, 5).follows).all()
    plain = {name: data for name, data in encoder.save().items() if name != "chain.npy"}
    assert SurroundingsEncoder.load(plain).chain is None, "a model from before has none"
    wrong = (np.zeros((3, 3), np.float32), np.full((7, 5), -1, np.float32), np.full((7, 5), np.nan, np.float32), np.zeros((7, 5)))
    for forged in wrong:
        with pytest.raises(ValueError):
            Chain.load({"chain.npy": to_npy(forged)})
    with pytest.raises(MofangError) as error:
        Chain.of(TAGS, 5).marginals(np.ones((1, 1, 3), np.float32), np.array([1]))
    assert error.value.code == "encoder-broken"
