"""The shop's clock: on which day and in which month a moment lies. A fixed offset, so that no month has two ends."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us

UTC_OFFSET = "+08:00"
BEHIND_US = 120_000_000  # machines of one shop may differ by so much
QUARTER_US = 900_000_000  # every zone's day begins at a whole quarter of an hour


def day_of(at_us: int, utc_offset: str = UTC_OFFSET) -> str:
    """The calendar day of a moment on the shop's clock, such as ``2026-01-31``."""
    return _day_named(at_us // QUARTER_US, utc_offset)


@lru_cache(maxsize=4096)
def _day_named(quarter: int, utc_offset: str) -> str:
    return datetime.fromtimestamp(quarter * 900, timezone(shift(utc_offset))).strftime("%Y-%m-%d")


def month_begins_us(at_us: int, utc_offset: str = UTC_OFFSET) -> int:
    """When the month of a moment begins on the shop's clock."""
    day = day_of(at_us, utc_offset)
    return int((datetime(int(day[:4]), int(day[5:7]), 1, tzinfo=UTC) - shift(utc_offset)).timestamp()) * 1_000_000


def local(us: int, utc_offset: str) -> datetime:
    """A time as it stands on the clock of the zone, such as ``+08:00``."""
    return datetime.fromtimestamp(us // 1_000_000, UTC) + shift(utc_offset)


def shift(utc_offset: str) -> timedelta:
    """An offset such as ``+08:00`` as a time difference."""
    size = timedelta(hours=int(utc_offset[1:3]), minutes=int(utc_offset[4:6]))
    return -size if utc_offset[0] == "-" else size


def read_offset(text: str) -> str:
    """``+8``, ``UTC+8``, ``-03:30`` or ``Z`` as an offset such as ``+08:00``. Raises ``offset-unreadable``."""
    plain = text.strip().upper().replace("−", "-").replace("：", ":").removeprefix("UTC").removeprefix("GMT").strip()
    if plain in ("", "Z", "0"):
        plain = "+0"
    found = re.fullmatch(r"([+-])(\d{1,2})(?::?([0-5]\d))?", plain)
    if not found or int(found[2]) > 14 or int(found[3] or 0) % 15:
        raise MofangError("offset-unreadable", text=text)
    return f"{found[1]}{int(found[2]):02d}:{found[3] or '00'}"


def newest_us(ledger: Database, control: Database) -> int:
    """When the newest thing in the shop was written: the last ledger entry or journal row."""
    found = [*ledger.rows("select at_us from entry order by seq desc limit 1"),
             *control.rows("select at_us from journal order by position desc limit 1")]
    return max((int(row[0]) for row in found), default=0)


def behind_us(ledger: Database, control: Database) -> int:
    """How far this machine's clock is behind what the shop has seen already; 0 where time goes forward."""
    late = newest_us(ledger, control) - now_us()
    return late if late > BEHIND_US else 0
