"""What a customer used and what it cost, in buckets of time: the shape of OpenAI's usage and cost pages.

Use is counted from the customer's own usage rows, costs from the daily sums that are kept beside them; both are the rows
that invoices are made of. Days begin by the shop's clock, minutes and hours by UTC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from mofang.core.clock import UTC_OFFSET, day_of, shift
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.trade.accounts.customers import Customer
from mofang.trade.billing.balance import decimal
from mofang.trade.billing.usage_file import read_days, usage_file

WIDTHS = {"1m": (60, 60, 1440), "1h": (3600, 24, 168), "1d": (86_400, 7, 31)}  # seconds, buckets usually, and at most
GROUPS = {"usage": ("model", "api_key_id"), "costs": ("line_item",)}
ROWS_MAX = 200_000  # looked at for one page
PIECE = 2_000
SLACK_US = 600_000_000  # rows of several servers may stand so far out of order


@dataclass(frozen=True)
class Asked:
    """A page that was asked for: from ``start_s`` on (seconds since 1970), before ``end_s``, in buckets of ``width``."""

    start_s: int
    end_s: int
    width: str
    groups: tuple[str, ...]
    limit: int

    @property
    def seconds(self) -> int:
        """The length of a bucket."""
        return WIDTHS[self.width][0]


def read_asked(kind: str, given: dict[str, list[str]], utc_offset: str = UTC_OFFSET) -> Asked:
    """Read the parameters of a query; ``query-wrong`` names the one that is wrong."""
    width = _one(given, "bucket_width", "1d")
    if width not in WIDTHS or (kind == "costs" and width != "1d"):
        raise MofangError("query-wrong", name="bucket_width", value=width, wanted="1d" if kind == "costs" else ", ".join(WIDTHS))
    seconds, usual, most = WIDTHS[width]
    named = [*given.get("group_by", []), *given.get("group_by[]", [])]
    groups = tuple(dict.fromkeys(part for one in named for part in one.split(",")))
    for group in groups:
        if group not in GROUPS[kind]:
            raise MofangError("query-wrong", name="group_by", value=group, wanted=", ".join(GROUPS[kind]))
    limit = _number(given, "limit", usual, 1, most)
    now_s = now_us() // 1_000_000
    latest = now_s + 366 * 86_400
    end_s = _number(given, "end_time", now_s + 1, 0, latest)
    if not given.get("start_time"):
        raise MofangError("query-wrong", name="start_time", value="", wanted="seconds since 1970")
    start_s = _number(given, "start_time", 0, 0, latest)
    page = _one(given, "page", "")
    if page:
        number = page.removeprefix("page_")
        if not (number.isdigit() and len(number) < 12):
            raise MofangError("query-wrong", name="page", value=page, wanted="the next_page of an answer")
        start_s = int(number)
    late_s = int(shift(utc_offset).total_seconds()) if width == "1d" else 0
    start_s = (start_s + late_s) // seconds * seconds - late_s
    return Asked(start_s, max(start_s, end_s), width, groups, limit)


def answer_query(db: Database, customer: Customer, kind: str, given: dict[str, list[str]], utc_offset: str) -> dict[str, Any]:
    """A customer's own use (``usage``), costs (``costs``) or its use by day as a file (``file``: ``{"csv": …}``)."""
    if kind == "file":
        days = read_days(_one(given, "month", ""), _one(given, "from", ""), _one(given, "until", ""), utc_offset)
        return {"csv": "".join(usage_file(db, customer, days, utc_offset))}
    asked = read_asked(kind, given, utc_offset)
    return usage_page(db, customer, asked) if kind == "usage" else costs_page(db, customer, asked, utc_offset)


def usage_page(db: Database, customer: Customer, asked: Asked) -> dict[str, Any]:
    """Requests, units and tokens in each bucket, by model and key where asked for."""
    stop_s = min(asked.end_s, asked.start_s + asked.limit * asked.seconds)
    sums: dict[int, dict[tuple[str | None, str | None], list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0, 0]))
    for at_us, body in _uses(db, customer.id, asked.start_s * 1_000_000, stop_s * 1_000_000):
        bucket = (at_us // 1_000_000 - asked.start_s) // asked.seconds
        named = (body["model"] if "model" in asked.groups else None, body["key"] if "api_key_id" in asked.groups else None)
        found = sums[bucket][named]
        for place, value in enumerate((1, body["units"], body.get("tokens_in", 0), body.get("tokens_out", 0))):
            found[place] += value

    def results(number: int) -> list[dict[str, Any]]:
        rows = sums.get(number, {})
        return [{"object": "organization.usage.completions.result", "input_tokens": read, "output_tokens": said,
                 "input_cached_tokens": 0, "num_model_requests": requests, "units": units, "model": model, "api_key_id": key,
                 "project_id": None, "user_id": None, "batch": None}
                for (model, key), (requests, units, read, said) in sorted(rows.items(), key=lambda one: str(one[0]))]

    return _page(asked, results)


def costs_page(db: Database, customer: Customer, asked: Asked, utc_offset: str = UTC_OFFSET) -> dict[str, Any]:
    """What each day cost, by model where asked for; test keys cost nothing. Amounts exact as a string, and as a number."""
    stop_s = min(asked.end_s, asked.start_s + asked.limit * asked.seconds)
    first, last = (day_of(second * 1_000_000, utc_offset) for second in (asked.start_s, max(asked.start_s, stop_s - 1)))
    sums: dict[str, dict[str | None, int]] = defaultdict(lambda: defaultdict(int))
    sql = "select day, model, micros from usage_day where account=? and day>=? and day<=? and test=0 order by day, model"
    for day, model, micros in db.rows(sql, (customer.id, first, last)):
        sums[day][model if asked.groups else None] += int(micros)

    def results(number: int) -> list[dict[str, Any]]:
        day = day_of((asked.start_s + number * asked.seconds) * 1_000_000, utc_offset)
        return [{"object": "organization.costs.result", "line_item": model, "project_id": None,
                 "amount": {"value": micros / 1_000_000, "currency": customer.currency.lower(), "exact": decimal(micros)}}
                for model, micros in sums.get(day, {}).items()]

    return _page(asked, results)


def _page(asked: Asked, results: Any) -> dict[str, Any]:
    buckets = []
    for number in range(asked.limit):
        start_s = asked.start_s + number * asked.seconds
        if start_s >= asked.end_s:
            break
        buckets.append({"object": "bucket", "start_time": start_s, "end_time": min(start_s + asked.seconds, asked.end_s),
                        "start_time_iso": datetime.fromtimestamp(start_s, UTC).isoformat(), "results": results(number)})
    next_s = asked.start_s + asked.limit * asked.seconds
    more = next_s < asked.end_s
    return {"object": "page", "data": buckets, "has_more": more, "next_page": f"page_{next_s}" if more else None}


def _uses(db: Database, account: str, from_us: int, before_us: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The account's usage rows of a time, newest first, some thousand at a time along an index."""
    sql = """select position, at_us, kind, body from journal where journal='usage' and account=? and position<?
        order by position desc limit ?"""
    position, seen = 1 << 62, 0
    while True:
        rows = db.rows(sql, (account, position, PIECE))
        for _, at_us, kind, text in rows:
            if kind == "use" and from_us <= at_us < before_us:
                yield at_us, orjson.loads(text)
        seen += len(rows)
        if len(rows) < PIECE or rows[-1][1] < from_us - SLACK_US:
            return
        if seen >= ROWS_MAX:
            raise MofangError("query-too-wide", rows=ROWS_MAX)
        position = rows[-1][0]


def _one(given: dict[str, list[str]], name: str, otherwise: str) -> str:
    values: Sequence[str] = given.get(name) or [otherwise]
    return values[-1]


def _number(given: dict[str, list[str]], name: str, otherwise: int, least: int, most: int) -> int:
    text = _one(given, name, str(otherwise))
    if not (text.isascii() and text.isdigit() and len(text) < 13 and least <= int(text) <= most):
        raise MofangError("query-wrong", name=name, value=text[:60], wanted=f"{least}…{most}")
    return int(text)
