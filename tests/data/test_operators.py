"""Value operators: one spelling, applied twice the same, alike when cleaning and when serving."""

from __future__ import annotations

import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.data.operators import apply_operators, apply_to_columns, default_operators, normalise

SPECS = default_operators({"text": "text", "city": "category", "age": "number", "label": "label"})


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("  a\u3000b\t\n c ", "a b c"),
        ("ＡＢＣ１２３，！？", "ABC123,!?"),
        ("e\u0301", "é"),
        ("Ａ\u0308", "Ä"),
        ("好\u200b评\ufeff", "好评"),
        ("a\x00b\x07c\x7f", "abc"),
        ("left\u202eright", "leftright"),
        ("\ud800broken", "broken"),
        ("中文。「引号」", "中文。「引号」"),
        ("", ""),
    ],
)
def test_normalise(given_text: str, expected: str) -> None:
    assert normalise(given_text) == expected


@given(st.text(st.characters(exclude_categories=()), max_size=80))
def test_normalise_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.strip()
    once.encode()  # no lone surrogate is left


@given(
    st.lists(
        st.fixed_dictionaries({"text": st.text(max_size=30) | st.none(), "age": st.floats()}), max_size=6
    )
)
def test_cleaning_and_serving_agree(records: list[dict[str, object]]) -> None:
    columns = {name: [one[name] for one in records] for name in ("text", "age")}
    by_column = apply_to_columns(SPECS, columns)
    served = apply_operators(SPECS, records)
    assert [one["text"] for one in served] == list(by_column["text"])
    assert [one["age"] for one in served] == columns["age"] or any(one != one for one in columns["age"])


def test_a_request_without_the_column_stays_without_it() -> None:
    assert apply_operators(SPECS, [{"age": 3.0}]) == [{"age": 3.0}]


def test_the_given_records_are_left_alone() -> None:
    record = {"text": " a "}
    assert apply_operators(SPECS, [record]) == [{"text": "a"}]
    assert record == {"text": " a "}


def test_an_operator_of_another_version_is_refused() -> None:
    with pytest.raises(MofangError) as caught:
        apply_operators([{"name": "text-normalise", "version": 99, "columns": ["text"]}], [{"text": "a"}])
    assert caught.value.code == "operator-unknown"


def test_serving_imports_nothing_heavy() -> None:
    heavy = "[m for m in ('pyarrow', 'numpy', 'PIL', 'torch') if m in sys.modules]"
    code = f"import sys, mofang.data.operators; print({heavy})"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
