"""What can be seen of the jobs: when each ran and what it found, what is told over the outbox and what waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.lists import open_books, shop_offset
from mofang.trade.keeping.jobs import JOBS, wait_s
from mofang.trade.keeping.noticed import last_reconciliation
from mofang.trade.keeping.past import Past, past
from mofang.trade.keeping.turns import holder_of
from mofang.trade.telling.sending import Standing, standing


@dataclass(frozen=True)
class Sight:
    """The jobs' last runs by name, who runs them now (empty: nobody known here), the last reconciliation, the endpoints."""

    jobs: dict[str, Past]
    keeper: str
    reconciled: dict[str, Any] | None
    outbox: list[Standing] = field(default_factory=list)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The jobs as a list for people and programs; times in microseconds, 0 for never."""
        return [{**vars(self.jobs.get(one.name, Past(one.name))), "what": {"en": one.en, "zh": one.zh}} for one in JOBS]


def sight(shop: Shop) -> Sight:
    """Everything that can be seen; reads only."""
    db = open_books(shop)
    return Sight(past(db), holder_of(shop.ledger.db), last_reconciliation(db), standing(db))


def next_us(shop: Shop, found: Sight) -> dict[str, int]:
    """When each job is due next, as far as the table tells."""
    now, offset = now_us(), shop_offset(shop)
    due = {}
    for job in JOBS:
        before = found.jobs.get(job.name, Past(job.name))
        since_s = job.every_s - (now - before.began_us) / 1e6 if job.every_s and before.began_us <= now else 0.0
        due[job.name] = now + int(max(0.0, since_s, wait_s(job, before, now, offset)) * 1_000_000)
    return due
