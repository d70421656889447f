"""Looking at a column's values: what they are, and so what the column may be for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

MISSING = {"", "na", "n/a", "nan", "null", "none", "nil", "?", "-", "--", "\\n", "#n/a", "缺失", "无", "空"}
MISSING_CHARS = max(map(len, MISSING))
MONTHS = r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
PATTERNS = {
    "date": re.compile(
        r"\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?([ T]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"
        r"|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})( \d{1,2}:\d{2}(:\d{2})?)?|\d{4}[-/年]\d{1,2}月?"
        rf"|{MONTHS}[ -]\d{{1,2}},?[ -]\d{{4}}|\d{{1,2}}[ -]{MONTHS}[ -](\d{{4}}|\d{{2}})|{MONTHS}[ -]\d{{4}}"
    ),
    "e-mail": re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(\.[\w-]{1,63}){1,8}"),
    "phone": re.compile(r"(\+?86[- ]?)?1[3-9]\d{9}|\+?\d{1,3}[- ]\(?\d{2,4}\)?[- ]\d{3,4}[- ]\d{3,4}"),
    "identity number": re.compile(r"[1-9]\d{5}(19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])\d{3}[\dXx]"),
    "link": re.compile(r"(https?|ftp)://\S+"),
    "address of a machine": re.compile(r"(\d{1,3}\.){3}\d{1,3}"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}"),
}
PERSONAL = ("e-mail", "phone", "identity number", "address of a machine")
PERSONAL_NAMES = re.compile(
    r"(^|[_\W])(e?mail|phone|mobile|tel|name|first_?name|last_?name|surname|address|ssn|passport|birth(day|date)?|dob|user_?name|"
    r"nick_?name|author|reviewer|customer_?name)($|[_\W])|姓名|手机|电话|邮箱|身份证|住址|地址|昵称|用户名|生日",
    re.I,
)
ID_NAMES = re.compile(
    r"(?i:(^|[_\W])(id|uid|uuid|guid|idx|index|no|row|key|number|serial|sku|asin)($|[_\W]))|编号|序号|索引|"
    r"Unnamed: 0|[a-z]I[dD]$"
)
NUMBER_NAMES = re.compile(r"(?i:(^|[_\W])(id|uid|key|number|no|serial)$)|[a-z]I[dD]$|编号|序号")
KEPT_DIGITS = 15
SHORTENED = re.compile(r"\d(\.\d{1,14})?[eE]\+?(1[1-9]|2\d)")  # what a spreadsheet shows of 12 digits and more
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\udfff]+")


def number_of(value: Any) -> float | None:
    """The number a value holds, None where it is missing; ValueError where it is something else."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in MISSING:
            return None
        if "_" in text:
            raise ValueError(value)
        value = text
    number = float(value)
    return number if abs(number) != float("inf") and number == number else None


def rounded_numbers(values: Sequence[Any]) -> int:
    """How many of a column's values are long numbers whose last digits a spreadsheet has put to nought.

    Spreadsheets keep 15 digits: identity, card and order numbers come out as 110101199003070000, or as 1.23457E+17 in
    texts saved from them. Single values of a column of measurements are not meant: at least half must be so long.
    """
    filled = long = rounded = 0
    for value in values:
        if value is None or value == "":
            continue
        filled += 1
        if isinstance(value, str):
            text = value.strip() if len(value) < 40 else ""
            if not text[:1].isdigit():
                continue
            if SHORTENED.fullmatch(text):
                long, rounded = long + 1, rounded + 1
            elif len(text) > KEPT_DIGITS and text.isascii() and text.isdigit():
                long, rounded = long + 1, rounded + text.endswith("0" * (len(text) - KEPT_DIGITS))
        elif isinstance(value, int | float) and abs(value) >= 10**KEPT_DIGITS and value == value // 1:
            digits = str(abs(int(Decimal(repr(value)))))
            long, rounded = long + 1, rounded + digits.endswith("0" * (len(digits) - KEPT_DIGITS))
    return rounded if 2 * long >= filled and 2 * rounded > long else 0


def is_missing(value: Any) -> bool:
    """True for None, blanks and the usual words for a value that is not there."""
    if isinstance(value, str):
        word = value.strip()
        return len(word) <= MISSING_CHARS and word.lower() in MISSING
    return value is None or bool(value != value)


def text_of(value: Any) -> str | None:
    """A value as text: whole floats without their ``.0``, so that 1 and 1.0 are one class; None stays
    None."""
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return value if isinstance(value, str) else str(value)


@dataclass(frozen=True)
class Profile:
    """What a sample of a column shows. Shares are of the values that are not missing.

    ``unspaced_share`` is that of characters of scripts that write no blanks between words; ``span`` is the
    largest number less the smallest.
    """

    name: str
    rows: int
    missing: int
    distinct: int
    number_share: float
    whole_share: float
    mean_chars: float
    max_chars: int
    mean_words: float
    unspaced_share: float
    span: float
    pattern: str
    top: tuple[tuple[str, int], ...]
    rising: bool

    @property
    def filled(self) -> int:
        """How many values are not missing."""
        return self.rows - self.missing

    @property
    def distinct_share(self) -> float:
        """Distinct values per value."""
        return self.distinct / max(self.filled, 1)

    @property
    def numeric(self) -> bool:
        """True if the values are numbers."""
        return self.filled > 0 and self.number_share >= 0.98

    @property
    def quantity(self) -> bool:
        """True if the numbers measure something: many of them, or far apart, as codes of classes are not."""
        return self.numeric and (self.distinct > 50 or self.span > max(3 * self.distinct, 20))

    @property
    def texty(self) -> bool:
        """True if the values read as free text: mostly distinct, and long, or of several words."""
        if self.numeric or self.pattern or not self.filled:
            return False
        if self.mean_words < 1.5 and self.unspaced_share < 0.3:
            return False  # codes, names of files and versions are long, but they are one word each
        wordy = self.mean_words >= 3 or self.mean_chars >= (5 if self.unspaced_share > 0.3 else 12)
        return (wordy and (self.distinct_share > 0.2 or self.distinct > 500)) or self.max_chars > 200

    @property
    def personal(self) -> str:
        """Which kind of personal data the values or the name look like, or nothing."""
        if self.pattern in PERSONAL:
            return self.pattern
        if PERSONAL_NAMES.search(self.name) and not self.numeric and not self.texty and self.distinct > 20:
            return self.name
        return ""

    @property
    def identifying(self) -> bool:
        """True if the values only number or name the rows."""
        if self.texty or self.filled < 20:
            return False
        if self.distinct_share < 0.95:
            return self.distinct_share > 0.5 and self.whole_share == 1 and bool(NUMBER_NAMES.search(self.name))
        if self.pattern == "uuid" or ID_NAMES.search(self.name):
            return True
        return (self.numeric and self.whole_share == 1 and self.rising) or (
            not self.numeric
            and self.distinct_share > 0.99
            and self.mean_words < 1.5
            and not self.pattern
            and self.unspaced_share < 0.3
        )

    @property
    def role(self) -> str:
        """The role this column most likely has as an input, or other."""
        if not self.filled or self.distinct < 2 or self.personal or self.identifying:
            return "other"
        if self.pattern == "date":
            return "time"
        if self.pattern:
            return "other"
        if self.numeric:
            return "number"
        if self.texty:
            return "text"
        return "category" if self.distinct <= max(50, 0.2 * self.filled) else "other"


def profile(name: str, values: Sequence[Any]) -> Profile:
    """Look at a sample of a column."""
    filled = [text_of(value) or "" for value in values if not is_missing(value)]
    counts = Counter(filled)
    numbers = [number for number in map(_number_or_nan, filled) if number == number]
    words = [len(value.split()) for value in filled]
    total = max(len(filled), 1)
    pattern = next(
        (
            kind
            for kind, rule in PATTERNS.items()
            if filled and _fit(rule, filled[:50], 0.5) and _fit(rule, filled, 0.9)
        ),
        "",
    )
    return Profile(
        name=name,
        rows=len(values),
        missing=len(values) - len(filled),
        distinct=len(counts),
        number_share=len(numbers) / total,
        whole_share=sum(number.is_integer() for number in numbers) / max(len(numbers), 1),
        mean_chars=sum(map(len, filled)) / total,
        max_chars=max(map(len, filled), default=0),
        mean_words=sum(words) / total,
        unspaced_share=sum(map(len, UNSPACED.findall("".join(filled[:500]))))
        / max(sum(map(len, filled[:500])), 1),
        span=max(numbers) - min(numbers) if numbers else 0.0,
        pattern=pattern,
        top=tuple(counts.most_common(200)),
        rising=len(numbers) == len(filled) and all(a < b for a, b in zip(numbers, numbers[1:], strict=False)),
    )


def _fit(rule: re.Pattern[str], values: Sequence[str], share: float) -> bool:
    return sum(bool(rule.fullmatch(value.strip())) for value in values) >= share * len(values)


def _number_or_nan(value: str) -> float:
    try:
        number = number_of(value)
    except ValueError:
        return float("nan")
    return float("nan") if number is None else number


def profiles(columns: Mapping[str, Sequence[Any]]) -> dict[str, Profile]:
    """Look at every column of a sample."""
    return {name: profile(name, values) for name, values in columns.items()}
