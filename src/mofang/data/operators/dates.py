"""Dates as people write them, in Chinese and English: read, brought to ISO 8601, taken apart into numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

PARTS = ("year", "month", "day", "weekday", "hour", "days")
MONTHS = {name: place for place, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}
DIGITS = str.maketrans("〇零一二三四五六七八九", "00123456789")
CHARACTERS_MOST = 60

_MONTH = r"(?P<name>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_YEAR = r"(?P<year>\d{4}|'?\d{2})"
FORMS = [re.compile(one) for one in (
    r"(?P<year>\d{4})\s*[-/.年]\s*(?P<month>\d{1,2})\s*[-/.月]\s*(?P<day>\d{1,2})\s*[日号]?",
    r"(?P<year>\d{4})\s*[-/.年]\s*(?P<month>\d{1,2})\s*月?",
    r"(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})",
    rf"{_MONTH}[ -](?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?[ -]{_YEAR}",
    rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[ -]{_MONTH},?[ -]{_YEAR}",
    rf"{_MONTH}[ -](?P<year>\d{{4}})",
    r"(?P<first>\d{1,2})[-/.](?P<second>\d{1,2})[-/.](?P<year>\d{4}|\d{2})",
)]
CLOCK = re.compile(
    r"(?:[t ,]*)(?P<half>上午|下午|凌晨|早上|中午|晚上|傍晚)?\s*(?P<hour>\d{1,2})(?:[:时点]\s*(?P<minute>\d{1,2})?)\s*"
    r"(?:[:分]\s*(?P<second>\d{1,2})?(?:\.\d{1,9})?)?\s*[秒]?\s*(?P<meridiem>am|pm)?\s*(?P<zone>z|utc|[+-]\d{2}:?\d{2})?"
)
CHINESE = re.compile(r"([〇零一二三四五六七八九]{4})\s*年\s*([一二三四五六七八九十]{1,3})\s*月\s*(?:([一二三四五六七八九十]{1,3})\s*[日号])?")
WEEKDAY = re.compile(r"[ ,(（]*(?:星期|周|礼拜)[一二三四五六日天][)）]?|^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}\.?,?\s+")
AFTERNOON = ("下午", "晚上", "傍晚")


def date_of(value: Any, order: str = "") -> datetime | None:
    """The moment that a written date names; None where it names none or could name two.

    ``order`` says how ``3/4/2024`` is meant: "dmy" or "mdy"; without it such a date is told only where one of the two
    numbers is over 12. A time of day with a zone is brought to UTC, one without stays as it is written.
    """
    if not isinstance(value, str) or not 4 <= len(value) <= CHARACTERS_MOST:
        return None
    text = unicodedata.normalize("NFKC", value).strip().lower()
    text = WEEKDAY.sub(" ", CHINESE.sub(_arabic, text)).strip()
    for form in FORMS:
        found = form.match(text)
        if found:
            clock = text[found.end():].strip()
            told = CLOCK.fullmatch(clock) if clock else None
            if clock and told is None:
                continue
            return _moment(found.groupdict(), told.groupdict() if told else {}, order)
    return None


def _arabic(found: re.Match[str]) -> str:
    year, month, day = found[1].translate(DIGITS), _small(found[2]), _small(found[3] or "")
    return f"{year}年{month}月" + (f"{day}日" if found[3] else "")


def _small(text: str) -> int:
    """一 to 三十一 as a number."""
    tens, sign, ones = text.rpartition("十")
    return (int(tens.translate(DIGITS) or 1) * 10 if sign else 0) + int(ones.translate(DIGITS) or 0)


def _moment(date: Mapping[str, str | None], clock: Mapping[str, str | None], order: str) -> datetime | None:
    year = int((date.get("year") or "0").strip("'"))
    if year < 100:
        year += 2000 if year < 70 else 1900
    month, day = date.get("month"), int(date.get("day") or 1)
    if date.get("name"):
        month = str(MONTHS[str(date["name"])])
    if date.get("first"):
        first, second = int(date["first"] or 0), int(date["second"] or 0)
        order = "dmy" if first > 12 else "mdy" if second > 12 else order
        if not order and first != second:
            return None
        day, month = (first, str(second)) if order != "mdy" else (second, str(first))
    hour, minute, second = (int(clock.get(name) or 0) for name in ("hour", "minute", "second"))
    late = clock.get("half") in AFTERNOON or clock.get("meridiem") == "pm"
    if late and hour < 12:
        hour += 12
    elif hour == 12 and (clock.get("meridiem") == "am" or clock.get("half") == "凌晨"):
        hour = 0
    try:
        return datetime(year, int(month or 1), day, hour, minute, second) - _offset(clock.get("zone"))
    except (ValueError, OverflowError):
        return None


def _offset(zone: str | None) -> timedelta:
    if not zone or zone in ("z", "utc"):
        return timedelta()
    minutes = int(zone[1:3]) * 60 + int(zone[-2:])
    return timedelta(minutes=minutes if zone[0] == "+" else -minutes)


def days_of(moment: datetime) -> float:
    """Days since 1970, with the time of day as a fraction."""
    return moment.toordinal() - 719_163 + (moment.hour * 3600 + moment.minute * 60 + moment.second) / 86_400


class DateParts:
    """Takes a date apart: year, month, day, weekday (1 is Monday), hour, and days since a reference."""

    name: ClassVar[str] = "date-parts"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Mapping[str, Sequence[Any]], state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """One column of numbers a part; None where the date cannot be read."""
        made: dict[str, list[Any]] = {}
        for entry in state["dates"]:
            moments = [date_of(value, entry["order"]) for value in columns[entry["from"]]]
            for part, name in entry["parts"].items():
                made[name] = [None if one is None else _part(one, part, entry["reference"]) for one in moments]
        return made


def _part(moment: datetime, part: str, reference: float) -> float:
    if part == "days":
        return days_of(moment) - reference
    return float(moment.isoweekday() if part == "weekday" else getattr(moment, part))


class DateRepair:
    """Brings written dates to ISO 8601 (``2026-05-01`` or ``2026-05-01T15:30:00``)."""

    name: ClassVar[str] = "date-repair"
    version: ClassVar[int] = 1

    def apply_table(self, columns: Mapping[str, Sequence[Any]], state: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The dates in one writing; None where a date cannot be read."""
        return {
            entry["to"]: [_iso(date_of(value, entry["order"])) for value in columns[entry["from"]]]
            for entry in state["dates"]
        }


def _iso(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    midnight = not (moment.hour or moment.minute or moment.second)
    return moment.date().isoformat() if midnight else moment.isoformat()
