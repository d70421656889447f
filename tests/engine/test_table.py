from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofang.engine.encode.table import TableEncoder, category_text
from tests.engine.made import TABLE_INPUTS, rows

VALUES = st.fixed_dictionaries(
    {
        "age": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "income": st.none() | st.integers(-(10**12), 10**12),
        "city": st.none() | st.text(max_size=8) | st.integers(0, 5) | st.booleans(),
    }
)


def test_numbers_are_filled_in_and_standardised() -> None:
    records = [{"x": 1.0}, {"x": 3.0}, {"x": None}]
    encoder = TableEncoder.fit(records, [{"name": "x", "role": "number"}])
    assert encoder.features == ("x", "x missing")
    assert encoder.encode(records)["features"].tolist() == [[-1, 0], [1, 0], [0, 1]]


def test_trees_get_the_numbers_as_they_are() -> None:
    encoder = TableEncoder.fit([{"x": 1.0}, {"x": None}], [{"name": "x", "role": "number"}], raw=True)
    found = encoder.encode([{"x": 0.1}, {"x": None}, {"x": 1e300}])["features"]
    assert found[0, 0] == np.float32(0.1) and np.isnan(found[1, 0]) and np.isfinite(found[2, 0])


def test_categories_are_levels_and_other() -> None:
    inputs = [{"name": "c", "role": "category"}]
    encoder = TableEncoder.fit([{"c": "a"}, {"c": "a"}, {"c": None}, {"c": "b"}], inputs, levels_max=2)
    assert encoder.features == ("c = a", "c = ", "c = other")
    assert encoder.encode([{"c": "a"}, {"c": None}, {"c": "zzz"}])["features"].tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        ("1", "1"),
        (1.5, "1.5"),
        (True, "true"),
        (None, ""),
        (math.nan, ""),
        ("北京", "北京"),
    ],
)
def test_one_writing_for_a_category(value: Any, text: str) -> None:
    assert category_text(value) == text


@given(st.lists(VALUES, min_size=1, max_size=20), st.lists(VALUES, min_size=1, max_size=5), st.booleans())
@settings(max_examples=80, deadline=None)
def test_saved_loaded_alone_and_together_are_the_same(train: list[Any], others: list[Any], raw: bool) -> None:
    encoder = TableEncoder.fit(train, TABLE_INPUTS, raw=raw)
    loaded = TableEncoder.load(encoder.save())
    together = encoder.encode(others)["features"]
    assert together.shape == (len(others), len(encoder.features)) and not np.isinf(together).any()
    assert raw or not np.isnan(together).any()
    for row, record in enumerate(others):
        assert loaded.encode([record])["features"].tobytes() == together[row : row + 1].tobytes()


def test_a_column_without_a_value_is_zero() -> None:
    encoder = TableEncoder.fit([{"x": None}], [{"name": "x", "role": "number"}])
    assert encoder.encode([{"x": None}, {"x": 2.0}])["features"].tolist() == [[0], [2]]


def test_drawn_rows_hold_missing_and_unknown_values() -> None:
    encoder = TableEncoder.fit(rows(100), TABLE_INPUTS)
    drawn = encoder.draw(np.random.default_rng(0), 200)
    assert any(row["age"] is None for row in drawn) and any(row["city"] == "something else" for row in drawn)
