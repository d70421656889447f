"""Quantities as people write them: ``3.5kg``, ``5斤``, ``1.2万``, ``￥1,234.50``, ``12,5%``, brought to one unit."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mofang.data.operators.values import number

CHARACTERS_MOST = 60
MULTIPLES = {"十": 10.0, "百": 1e2, "千": 1e3, "万": 1e4, "萬": 1e4, "百万": 1e6, "千万": 1e7, "亿": 1e8, "億": 1e8,
             "k": 1e3, "thousand": 1e3, "million": 1e6, "mn": 1e6, "billion": 1e9, "bn": 1e9}
# unit: (what it measures, how many of the first unit of its kind it is)
UNITS: dict[str, tuple[str, float]] = {
    "kg": ("kg", 1.0), "g": ("kg", 1e-3), "mg": ("kg", 1e-6), "t": ("kg", 1e3), "lb": ("kg", 0.45359237),
    "lbs": ("kg", 0.45359237), "oz": ("kg", 0.028349523125), "公斤": ("kg", 1.0), "千克": ("kg", 1.0), "克": ("kg", 1e-3),
    "毫克": ("kg", 1e-6), "吨": ("kg", 1e3), "斤": ("kg", 0.5), "市斤": ("kg", 0.5), "两": ("kg", 0.05),
    "m": ("m", 1.0), "km": ("m", 1e3), "cm": ("m", 1e-2), "mm": ("m", 1e-3), "米": ("m", 1.0), "千米": ("m", 1e3),
    "公里": ("m", 1e3), "里": ("m", 500.0), "厘米": ("m", 1e-2), "毫米": ("m", 1e-3), "in": ("m", 0.0254),
    "inch": ("m", 0.0254), "ft": ("m", 0.3048), "mi": ("m", 1609.344), "寸": ("m", 1 / 30), "尺": ("m", 1 / 3),
    "l": ("l", 1.0), "ml": ("l", 1e-3), "升": ("l", 1.0), "毫升": ("l", 1e-3), "cl": ("l", 1e-2),
    "s": ("s", 1.0), "sec": ("s", 1.0), "ms": ("s", 1e-3), "min": ("s", 60.0), "h": ("s", 3600.0), "d": ("s", 86400.0),
    "秒": ("s", 1.0), "分钟": ("s", 60.0), "小时": ("s", 3600.0), "天": ("s", 86400.0), "days": ("s", 86400.0),
    "m2": ("m2", 1.0), "㎡": ("m2", 1.0), "平米": ("m2", 1.0), "平方米": ("m2", 1.0), "亩": ("m2", 2000 / 3),
    "%": ("share", 0.01), "‰": ("share", 0.001), "percent": ("share", 0.01),
    "元": ("cny", 1.0), "块": ("cny", 1.0), "rmb": ("cny", 1.0), "cny": ("cny", 1.0), "¥": ("cny", 1.0),
    "角": ("cny", 0.1), "分": ("cny", 0.01), "$": ("usd", 1.0), "usd": ("usd", 1.0), "美元": ("usd", 1.0),
    "€": ("eur", 1.0), "eur": ("eur", 1.0), "欧元": ("eur", 1.0), "£": ("gbp", 1.0), "gbp": ("gbp", 1.0),
}
SHAPE = re.compile(
    r"(?P<before>[¥$€£]|(?:rmb|cny|usd|eur|gbp)\s)?\s*(?P<sign>[-+]?)\s*(?P<digits>\d[\d,. ']*\d|\d)\s*(?P<after>\D{0,12}|m2)"
)
THOUSANDS = {",": re.compile(r"\d{1,3}(,\d{3})+"), ".": re.compile(r"\d{1,3}(\.\d{3})+")}


def quantity_of(value: Any, decimal: str = ".") -> tuple[float, str] | None:
    """A written quantity as (number in the first unit of its kind, kind); kind "" for a bare number; None where it is
    none.

    ``decimal`` is the sign before the fraction where a value alone does not tell: ``1,234`` is 1234 with ".", 1.234
    with ",".
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = number(value)
        return None if found is None else (found, "")
    if not isinstance(value, str) or not 0 < len(value) <= CHARACTERS_MOST:
        return None
    text = unicodedata.normalize("NFKC", value).strip().lower().replace("−", "-").removeprefix("约").removeprefix("~")
    shape = SHAPE.fullmatch(text)
    amount = _number(shape["digits"], decimal) if shape else None
    if shape is None or amount is None:
        return None
    factor, kind = 1.0, ""
    after = shape["after"].strip().rstrip(".")
    if after and after not in UNITS:
        multiple = next((one for one in sorted(MULTIPLES, key=len, reverse=True) if after.startswith(one)), "")
        if not multiple:
            return None
        factor, after = MULTIPLES[multiple], after[len(multiple):].strip()
    if after:
        if after not in UNITS:
            return None
        kind, scale = UNITS[after]
        factor *= scale
    if shape["before"]:
        money = UNITS[shape["before"].strip()][0]
        if kind not in ("", money):
            return None
        kind = money
    return (-amount if shape["sign"] == "-" else amount) * factor, kind


def _number(text: str, decimal: str) -> float | None:
    digits = text.replace(" ", "").replace("'", "")
    if "," in digits and "." in digits:
        decimal = max(",.", key=digits.rfind)
    elif "," in digits or "." in digits:
        sign = "," if "," in digits else "."
        clear = digits.count(sign) > 1 or not THOUSANDS[sign].fullmatch(digits)
        decimal = ("." if sign == "," else ",") if clear and digits.count(sign) > 1 else sign if clear else decimal
    thousands = "." if decimal == "," else ","
    plain = digits.replace(thousands, "").replace(decimal, ".")
    try:
        found = float(plain)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


class UnitRepair:
    """Reads written quantities as numbers in one unit (kilograms, metres, litres, seconds, shares, one currency)."""

    name: ClassVar[str] = "unit-repair"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Mapping[str, Sequence[Any]], state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Columns of numbers; None where a value is no quantity, or one of another kind than the column's."""
        made: dict[str, list[Any]] = {}
        for entry in state["quantities"]:
            found = [quantity_of(value, entry["decimal"]) for value in columns[entry["from"]]]
            made[entry["to"]] = [None if one is None or one[1] not in ("", entry["kind"]) else one[0] for one in found]
        return made
