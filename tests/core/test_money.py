"""Money is exact: parsing, charging and rounding, by examples and by properties."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.money import (
    LARGEST_MICROS,
    MINOR_MICROS,
    PER_UNITS,
    charge,
    format_micros,
    format_price,
    parse_amount,
    parse_price,
    round_half_even_minor,
)

amounts = st.integers(min_value=0, max_value=LARGEST_MICROS)
prices = st.integers(min_value=0, max_value=10**15)
currencies = st.sampled_from(sorted(MINOR_MICROS))

FIVE_PER_THOUSAND = 5_000_000 * 1_000


@pytest.mark.parametrize(
    "text",
    [
        "5.00/1000",
        "¥5/1000",
        "￥５．００／１０００",
        "5元/千次",
        "CNY 5/1k",
        "5,000/1,000,000",
        "0.005",
        "５。００／1000",
        "RMB5 / 1000 requests",
    ],
)
def test_price_is_read_as_people_write_it(text: str) -> None:
    assert parse_price(text) == FIVE_PER_THOUSAND


def test_price_per_unit_and_per_million() -> None:
    assert parse_price("0.02") == 20_000 * PER_UNITS
    assert parse_price("0.5/M") == parse_price("0.5/百万") == 500_000
    assert parse_price("0") == 0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "amount-unreadable"),
        ("five", "amount-unreadable"),
        ("5/0", "amount-unreadable"),
        ("5/1000/2", "amount-unreadable"),
        ("5,00/1000", "amount-unreadable"),
        ("1e3", "amount-unreadable"),
        ("nan", "amount-unreadable"),
        ("٥/1000", "amount-unreadable"),
        ("-5/1000", "amount-negative"),
        ("¥-5/1000", "amount-negative"),
        ("10/3", "price-inexact"),
        ("$5/1000", "currency-other"),
        ("5 EUR/1000", "currency-other"),
        ("9999999999999999999", "amount-too-large"),
    ],
)
def test_price_that_cannot_be_kept_exactly_is_refused(text: str, code: str) -> None:
    with pytest.raises(MofangError) as caught:
        parse_price(text)
    assert caught.value.code == code
    assert all(
        text in what or not text
        for what in caught.value.worded("en") + caught.value.worded("zh")
        if "“" in what
    )


def test_amount_examples() -> None:
    assert parse_amount("100") == parse_amount("￥１００．００") == parse_amount("100元") == 100_000_000
    assert parse_amount("$1,234.5", "USD") == 1_234_500_000
    for text, code in (
        ("0.0000001", "amount-too-fine"),
        ("-1", "amount-negative"),
        ("1,2", "amount-unreadable"),
    ):
        with pytest.raises(MofangError) as caught:
            parse_amount(text)
        assert caught.value.code == code
    with pytest.raises(MofangError, match="XYZ"):
        parse_amount("1", "XYZ")


def test_amounts_are_shown_with_the_digits_they_need() -> None:
    assert format_micros(5_000_000) == "¥5.00"
    assert format_micros(12_500) == "¥0.0125"
    assert format_micros(-1_234_567_890_000) == "-¥1,234,567.89"
    assert format_micros(5_000_000, "JPY") == "JP¥5"
    assert format_price(FIVE_PER_THOUSAND) == "¥5.00/1,000"
    assert format_price(parse_price("0.02")) == "¥0.02"
    assert format_price(1) == "¥0.000001/1,000,000"


@given(amounts, currencies)
def test_an_amount_shown_reads_back_the_same(micros: int, currency: str) -> None:
    assert parse_amount(format_micros(micros, currency), currency) == micros


@given(prices, currencies)
def test_a_price_shown_reads_back_the_same(price: int, currency: str) -> None:
    assert parse_price(format_price(price, currency), currency) == price


@given(prices, st.lists(st.integers(min_value=0, max_value=10**7), max_size=30))
def test_charges_with_a_carried_remainder_lose_nothing(price: int, units: list[int]) -> None:
    paid = remainder = 0
    for count in units:
        micros, remainder = charge(count, price, remainder)
        assert count * price // PER_UNITS <= micros <= count * price // PER_UNITS + 1
        paid += micros
    assert paid * PER_UNITS + remainder == sum(units) * price


@given(st.integers(min_value=-LARGEST_MICROS, max_value=LARGEST_MICROS), currencies)
def test_rounding_is_to_the_nearest_and_ties_go_to_even(micros: int, currency: str) -> None:
    minor = MINOR_MICROS[currency]
    assert (
        round_half_even_minor(micros, currency) == round(Fraction(micros, minor)) * minor
    )  # Python's round is half-even


@given(st.text(max_size=40))
def test_any_text_is_an_amount_or_a_clear_refusal(text: str) -> None:
    for read in (parse_amount, parse_price):
        try:
            assert 0 <= read(text) <= LARGEST_MICROS
        except MofangError as error:
            assert error.code.startswith(("amount-", "price-", "currency-"))
