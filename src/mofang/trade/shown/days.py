"""The last days of one customer's use, for a picture."""

from __future__ import annotations

from typing import Any

from mofang.core.clock import day_of
from mofang.core.database import Database
from mofang.core.identity import now_us

DAY_US = 86_400_000_000
DAYS_SHOWN = 30


def use_by_day(db: Database, account: str, offset: str, days: int = DAYS_SHOWN) -> list[dict[str, Any]]:
    """Each of the last days with what was asked and debited, those without use too; oldest first.

    ``share`` is the day's amount in thousandths of the largest, for a picture.
    """
    wanted = [day_of(now_us() - back * DAY_US, offset) for back in range(days - 1, -1, -1)]
    sql = """select day, sum(requests), sum(units), sum(micros) from usage_day where account=? and test=0 and day>=?
        group by day"""
    known = {day: (int(requests), int(units), int(micros)) for day, requests, units, micros in db.rows(sql, (account, wanted[0]))}
    most = max((one[2] for one in known.values()), default=0)
    found = []
    for day in wanted:
        requests, units, micros = known.get(day, (0, 0, 0))
        found.append({"day": day, "requests": requests, "units": units, "micros": micros,
                      "share": micros * 1000 // most if most else 0})
    return found
