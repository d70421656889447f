"""The jobs that run by themselves, each safe to run at any time, twice, and by hand: what they are, how often, for how long.

A job is a function of a shop on connections of its own. It gives back how many things it did and how many it found wrong;
what it raises is its failure, after which it is tried again, later and later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from mofang.core.clock import BEHIND_US, day_of, local, shift
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.lists import open_books, shop_offset
from mofang.trade.keeping.past import Past, past

DAY_US, MINUTE_S = 86_400_000_000, 60.0
NIGHT = timedelta(hours=3, minutes=30)  # on the shop's clock
DAYS_MOST = 31
PAUSE_MOST_S = 3600.0
PIECE, PAUSE_S = 200, 0.02  # rows that one transaction deletes, and the time between two: servers wait for neither


@dataclass(frozen=True)
class Done:
    """What a run came to: how many things it did, and how many it found wrong."""

    done: int = 0
    found: int = 0


@dataclass(frozen=True)
class Job:
    """A job, its sentence in English and Chinese, every how many seconds it runs (0: each night), and how long it may take."""

    name: str
    en: str
    zh: str
    run: Callable[[Shop], Done]
    every_s: float = MINUTE_S
    most_s: float = 600.0


def tell(shop: Shop) -> Done:
    """Tell webhooks and Stripe what they have not been told."""
    from mofang.trade.telling.posting import post
    from mofang.trade.telling.sending import send_all

    outcomes = send_all(shop, post)
    return Done(len(outcomes), sum(not one.ok for one in outcomes))


def compare(shop: Shop) -> Done:
    """Hold answers, usage and bills of the days since the last comparison against each other, and write down what was found."""
    from mofang.trade.billing.reconcile import reconcile
    from mofang.trade.keeping.noticed import note_reconciled

    open_books(shop)
    before = past(shop.control).get("reconcile", Past("reconcile"))
    missed = max(0, now_us() - before.ok_us) // DAY_US if before.ok_us else 0
    days = min(DAYS_MOST, 2 + missed)
    found = reconcile(shop, days)
    note_reconciled(shop, found, days)
    return Done(found.used, found.wrong)


def expire(shop: Shop) -> Done:
    """End what has had its time: money set aside by servers that are gone and for quotes, money to be used by a day, answers
    kept for retries, texts that a customer's plan keeps."""
    from mofang.core.tables import tables_of
    from mofang.trade.billing.balance import return_expired
    from mofang.trade.billing.paid import lapse_due
    from mofang.trade.kept import forget_due
    from mofang.trade.request.replay import forget_old

    db = open_books(shop)
    count = return_expired(shop.journals, now_us())
    count += lapse_due(shop.journals, day_of(now_us(), shop_offset(shop)))
    made = tables_of(db)
    for table, forget in (("replay", forget_old), ("kept_text", forget_due)):
        while table in made and (went := forget(db, now_us(), PIECE)):
            count += went
            time.sleep(PAUSE_S)
    return Done(count)


def watch(shop: Shop) -> Done:
    """Notice soft budgets that are passed and days of unusual volume, each once."""
    from mofang.trade.keeping.noticed import note_low, note_unusual

    new = note_low(shop) + note_unusual(shop)
    return Done(new, new)


JOBS: tuple[Job, ...] = (
    Job("outbox", "tell webhooks and Stripe", "通知 Webhook 和 Stripe", tell, most_s=300.0),
    Job("watch", "notice budgets and volume", "留意预算和用量", watch),
    Job("expire", "end what has had its time", "清理到期的内容", expire),
    Job("reconcile", "compare answers, usage and bills", "对账：应答、计量、账单", compare, every_s=0.0, most_s=4 * 3600.0),
)


def job_named(name: str) -> Job:
    """A job by its name. Raises ``job-name-unknown`` with the nearest."""
    from mofang.core.nearest import nearest

    found = {one.name: one for one in JOBS}
    if name not in found:
        raise MofangError("job-name-unknown", name=name, nearest=nearest(name, found))
    return found[name]


def pause_s(fails: int) -> float:
    """How long after the beginning of a failed run a job is tried again: a minute, and twice as long each time up to an hour."""
    return min(PAUSE_MOST_S, MINUTE_S * 2 ** min(fails - 1, 20)) if fails else 0.0


def night_before_us(at_us: int, utc_offset: str) -> int:
    """The last moment at or before this one at which the night's jobs are due on the shop's clock."""
    here = local(at_us, utc_offset)
    tonight = here.replace(hour=0, minute=0, second=0, microsecond=0) + NIGHT
    due = tonight if tonight <= here else tonight - timedelta(days=1)
    return int((due - shift(utc_offset)).timestamp()) * 1_000_000


def wait_s(job: Job, before: Past, at_us: int, utc_offset: str) -> float:
    """How long from now a job that ran so before may wait, for a process that has seen none of its runs itself.

    A last run that lies ahead of now is one from before the clock was set back: nothing of the past is made good then.
    """
    begun_s = (at_us - before.began_us) / 1e6
    rest_s = min(pause_s(before.fails), max(0.0, pause_s(before.fails) - begun_s))
    if job.every_s:
        return rest_s
    if before.ok_us > at_us + BEHIND_US:
        return DAY_US / 1e6
    if not before.ok_us or before.ok_us < night_before_us(at_us, utc_offset):
        return rest_s
    return max(rest_s, (night_before_us(at_us, utc_offset) + DAY_US - at_us) / 1e6)
