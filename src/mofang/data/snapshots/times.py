"""Times as people write them, brought to seconds so that they can be put in order."""

from __future__ import annotations

import re
from datetime import UTC, datetime

STAMP = re.compile(
    r"(?P<year>\d{4})[-/.年](?P<month>\d{1,2})[-/.月](?P<day>\d{1,2})日?"
    r"(?:[ T]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.\d+)?)?"
    r"\s*(?P<zone>Z|[+-]\d{2}:?\d{2})?)?"
)
MILLISECONDS_FROM = 1e11


def seconds_of(text: str | None) -> float | None:
    """Seconds since 1970 of a written time or a Unix stamp (also in milliseconds); None where it cannot be
    told.

    A time without a zone is taken as UTC. Month and day must follow the year: 3/4/2024 means two different
    days.
    """
    if not text:
        return None
    text = text.strip()
    found = STAMP.fullmatch(text)
    if found:
        parts = [int(found[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
        try:
            moment = datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]
        except ValueError:
            return None
        return moment.timestamp() - _offset_s(found["zone"])
    try:
        number = float(text)
    except ValueError:
        return None
    if not 0 < number < 1e14:
        return None
    return number / 1000 if number >= MILLISECONDS_FROM else number


def _offset_s(zone: str | None) -> int:
    if not zone or zone == "Z":
        return 0
    digits = zone.replace(":", "")
    return (1 if digits[0] == "+" else -1) * (int(digits[1:3]) * 3600 + int(digits[3:5]) * 60)
