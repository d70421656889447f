"""Money as whole numbers: every amount is an integer of micro-units of its currency (¥1 = 1,000,000 micros).

A price is an integer of micros per 10**6 units, so that prices down to a millionth of a fen per request stay
exact. No float ever touches money: what cannot be kept exactly is refused when it is typed, and rounding to
the minor unit happens once per invoice line, half to even (ISO 80000-1 B.3, rule A).
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from mofang.core.errors import MofangError

MICROS = 1_000_000  # micros in one unit of the currency
PER_UNITS = 1_000_000  # a price is micros for this many units
LARGEST_MICROS = 10**18  # a million million: below the 64-bit integers of both databases with room for sums

SYMBOLS = {"CNY": "¥", "USD": "$", "EUR": "€", "GBP": "£", "HKD": "HK$", "JPY": "JP¥"}
MINOR_MICROS = {"CNY": 10_000, "USD": 10_000, "EUR": 10_000, "GBP": 10_000, "HKD": 10_000, "JPY": 1_000_000}
MARKS = {"元": "CNY", "RMB": "CNY", "¥": "CNY", **{mark: code for code, mark in SYMBOLS.items()}}
COUNTS = {"": 1, "K": 1_000, "千": 1_000, "万": 10_000, "百万": 1_000_000, "M": 1_000_000}

_NUMBER = re.compile(r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,19})(?:\.[0-9]{1,18})?")
_COUNT = re.compile(r"([0-9,]*)(K|M|千|万|百万)?(?:UNITS?|次|条|行|个|REQUESTS?|ROWS?)?")


def parse_amount(text: str, currency: str = "CNY") -> int:
    """Read an amount such as ``100``, ``¥1,234.50`` or ``１００元`` as micros.

    Raises ``amount-unreadable``, ``amount-negative``, ``amount-too-fine`` (more than six decimals),
    ``amount-too-large``, ``currency-other`` and ``currency-unknown``.
    """
    exact = _read(text, text, currency) * MICROS
    if exact.denominator != 1:
        raise MofangError("amount-too-fine", text=text)
    return _bounded(int(exact), text)


def parse_price(text: str, currency: str = "CNY") -> int:
    """Read a price such as ``5.00/1000``, ``¥5/1k``, ``5元/千次`` or ``0.02`` as micros per 10**6 units.

    Raises the codes of ``parse_amount`` and ``price-inexact`` where the price is no whole number of micros.
    """
    amount, _, count = text.partition("/") if "/" in text else text.partition("／")
    exact = _read(amount, text, currency) * MICROS * PER_UNITS / _count(count, text)
    if exact.denominator != 1:
        raise MofangError("price-inexact", text=text)
    return _bounded(int(exact), text)


def charge(units: int, price: int, remainder: int = 0) -> tuple[int, int]:
    """The micros owed for some units, and the part of a micro (in millionths) carried to the next charge.

    ``price`` is micros per 10**6 units. Carried on per account and price version, the sum of all charges is
    the exact price of the sum of all units, less at most one micro still carried.
    """
    assert units >= 0 and price >= 0 and 0 <= remainder < PER_UNITS, (units, price, remainder)
    return divmod(units * price + remainder, PER_UNITS)


def round_half_even_minor(micros: int, currency: str = "CNY") -> int:
    """The nearest amount that can be paid, in micros: a multiple of the minor unit, ties to the even one."""
    minor = MINOR_MICROS[known(currency)]
    whole, rest = divmod(micros, minor)
    up = 2 * rest > minor or (2 * rest == minor and whole % 2 == 1)
    return (whole + up) * minor


def format_micros(micros: int, currency: str = "CNY") -> str:
    """An amount as people write it: ``¥5.00``, with more digits only where it needs them: ``¥0.0125``."""
    digits = 0 if MINOR_MICROS[known(currency)] == MICROS else 2
    whole, part = divmod(abs(micros), MICROS)
    decimals = f"{part:06d}".rstrip("0").ljust(digits, "0")
    sign = "-" if micros < 0 else ""
    return f"{sign}{SYMBOLS[currency]}{whole:,}" + (f".{decimals}" if decimals else "")


def format_price(price: int, currency: str = "CNY") -> str:
    """A price for as few units as keep it exact: ``¥0.02``, ``¥5.00/1,000`` or ``¥0.50/1,000,000``."""
    for count in (1, 1_000):
        micros, rest = divmod(price * count, PER_UNITS)
        if rest == 0 and micros % 10_000 == 0:
            return format_micros(micros, currency) + (f"/{count:,}" if count > 1 else "")
    return f"{format_micros(price, currency)}/{PER_UNITS:,}"


def known(currency: str) -> str:
    """The currency's code, or the error that names those Mofang can count in."""
    if currency not in SYMBOLS:
        raise MofangError("currency-unknown", currency=currency, known=", ".join(sorted(SYMBOLS)))
    return currency


def _plain(text: str) -> str:
    """Full-width forms to plain ones; an input method may type the Chinese full stop for a decimal point."""
    return unicodedata.normalize("NFKC", text).replace("。", ".").upper().replace(" ", "")


def _read(amount: str, text: str, currency: str) -> Fraction:
    """The number in an amount, after its currency mark (before or behind) was checked against the shop's."""
    number, wanted = _plain(amount), known(currency)
    for mark in sorted({*MARKS, *SYMBOLS}, key=len, reverse=True):
        if number.startswith(mark) or number.endswith(mark):
            if MARKS.get(mark, mark) != wanted:
                raise MofangError("currency-other", text=text, currency=currency)
            number = number.removeprefix(mark) if number.startswith(mark) else number.removesuffix(mark)
            break
    if number[:1] in ("-", "−"):
        raise MofangError("amount-negative", text=text)
    if not _NUMBER.fullmatch(number):
        raise MofangError("amount-unreadable", text=text)
    return Fraction(number.replace(",", ""))


def _count(text: str, whole: str) -> int:
    """The number of units behind the stroke; none means one."""
    match = _COUNT.fullmatch(_plain(text))
    if match is None or (match[1] and not _NUMBER.fullmatch(match[1])):
        raise MofangError("amount-unreadable", text=whole)
    count = int(match[1].replace(",", "") or 1) * COUNTS[match[2] or ""]
    if count == 0:
        raise MofangError("amount-unreadable", text=whole)
    return count


def _bounded(micros: int, text: str) -> int:
    if micros > LARGEST_MICROS:
        raise MofangError("amount-too-large", text=text)
    return micros
