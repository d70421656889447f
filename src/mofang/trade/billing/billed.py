"""Which bill a row stands on: months on the shop's clock, the bills an account has, and the one rule between them."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

from mofang.core.artifact import Sealed
from mofang.core.canonical import canonical
from mofang.core.clock import local, shift
from mofang.trade.billing.tally import leaf_of, seal_rows


@dataclass(frozen=True)
class UsageRow:
    """One metered request out of a sealed usage journal. ``seal`` is the number of its seal, from 1."""

    seal: int
    id: str
    at_us: int
    body: dict[str, Any]
    text: str = ""

    def leaf(self, form: int = 1) -> bytes:
        """The bytes under the Merkle root: canonical JSON of the row; in bills of the first form, of what is charged for."""
        if form > 1:
            return leaf_of(self.id, self.at_us, self.text)
        named = ("request_id", "key", "model", "package", "price", "units", "micros")
        return canonical({"id": self.id, "at_us": self.at_us} | {name: self.body[name] for name in named})


@dataclass(frozen=True)
class Bill:
    """A bill's reach: usage from ``from_us`` to before ``to_us``, from the first ``seals`` seals (``charges`` of charges)."""

    from_us: int
    to_us: int
    seals: int
    charges: int = 0


def bill_of(row: UsageRow, bills: Sequence[Bill]) -> int | None:
    """Which of an account's bills, in the order they were made, a row stands on; None if none reaches it yet.

    A row belongs to the bill of its month. Is that bill made already without it, the row is late and goes to
    the next bill of a later month. So no row is ever on two bills, and a month that was skipped keeps its
    rows.
    """
    month_billed = False
    for index, bill in enumerate(bills):
        inside = bill.from_us <= row.at_us < bill.to_us
        if row.seal <= bill.seals and (inside or (month_billed and row.at_us < bill.from_us)):
            return index
        month_billed = month_billed or inside
    return None


def bill_of_charge(seal: int, at_us: int, bills: Sequence[Bill]) -> int | None:
    """Which of an account's bills a charge made once stands on: the first made after it that reaches its time."""
    return next((index for index, bill in enumerate(bills) if seal <= bill.charges and at_us < bill.to_us), None)


def usage_rows(usage: Sequence[Sealed], account: str, only: frozenset[int] | None = None) -> Iterator[UsageRow]:
    """An account's rows out of sealed usage, in the order of the seals; a stretch at a time is in memory.

    ``only`` names the seals that are read, where it is known which hold any.
    """
    for number, sealed in enumerate(usage, start=1):
        if only is not None and number not in only:
            continue
        assert sealed.read_json("seal.json")["number"] == number, "usage seals must be given from the first on, in order"
        for id, at_us, kind, body in seal_rows(sealed, account, ("id", "at_us", "kind", "body")):
            if kind == "use":
                yield UsageRow(number, id, at_us, orjson.loads(body), body)


@lru_cache(maxsize=1024)
def bounds(period: str, utc_offset: str) -> tuple[int, int]:
    """The month's first microsecond and the one after its last, on the clock of the zone."""
    year, month = int(period[:4]), int(period[5:])
    first = datetime(year, month, 1, tzinfo=UTC) - shift(utc_offset)
    after = first + timedelta(days=calendar.monthrange(year, month)[1])
    return int(first.timestamp()) * 1_000_000, int(after.timestamp()) * 1_000_000


def period_at(at_us: int, utc_offset: str) -> str:
    """The month in which a moment lies, such as ``2026-11``."""
    return f"{local(at_us, utc_offset):%Y-%m}"
