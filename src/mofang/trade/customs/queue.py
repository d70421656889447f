"""The queue of customisations: a run is asked for, taken by one worker, and ends delivered, declined or cancelled.

Rows of the journal ``custom`` say what waits; leases say who is at work: one on the machine, so that it teaches one model at a
time, and one on the order, so that of many machines one takes it. A worker that was killed leaves a row and a lease that runs
out; the next one goes on with the parts that were made.
"""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mofang.core.action import Act, action, turn
from mofang.core.canonical import digest_of
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import NewRow
from mofang.core.money import known
from mofang.core.run import lease_if_free
from mofang.core.shop import Shop
from mofang.core.stopping import Stopped
from mofang.serve.boundary import attempt
from mofang.trade.accounts.customers import find_customer
from mofang.trade.customs.delivery import Delivered, Learn, decline, lease_key, require_open, run_held
from mofang.trade.customs.jobs import OPEN, RUNNING, STOPPING, WAITING, Job, job_of, jobs, numbers_of
from mofang.trade.customs.orders import JOURNAL, Custom, alive, base_of, find_custom, give_back, keep_held, open_orders
from mofang.trade.customs.room import clear_scratch
from mofang.trade.pricing.plans import read_plan

if TYPE_CHECKING:
    from mofang.core.database import Database

QUEUED_MOST, WAITING_MOST = 3, 1000  # runs of one customer's, and of all, that may wait at a time
TRIES_MOST = 3
RETRY_US = 60_000_000  # a run that failed for a reason of the machine's waits so long, times its tries
UNSUITED = 422  # the status of what another try with the same records would meet again

log = logging.getLogger("mofang.customise")


@dataclass(frozen=True)
class Worked:
    """An order that a worker took: what became of it, and what it was delivered as where it was."""

    custom: Custom
    state: str
    reason: str = ""
    delivered: Delivered | None = None


# Asking


@action(may="release")
def custom_queue(act: Act, *, custom: str, learn: Learn = "auto", price: str = "", seed: int = 0) -> Custom:
    """Put a run into the queue: ``mofang customise work`` takes orders in the order of asking. Asked twice, it waits once.

    What was set aside stays so while it waits, also beyond the end of the quote. Raises what ``custom_run`` raises at once, and
    ``customise-queue-full``.
    """
    return ask(act, find_custom(open_orders(act.shop), custom), learn, price, seed)


def ask(act: Act, custom: Custom, learn: Learn = "auto", price: str = "", seed: int = 0) -> Custom:
    """Put an order into the queue, for its seller or for its customer."""
    base_of(act.shop, alive(custom))
    with turn(act, JOURNAL) as db:
        found, job = alive(find_custom(db, custom.id)), job_of(db, custom.id)
        if job is not None and job.state in OPEN:
            return found
        require_open(found)
        if not found.records:
            raise MofangError("customise-no-records", name=found.name)
        waiting = jobs(db, *OPEN)
        mine = sum(one.account == found.account for one in waiting)
        if mine >= QUEUED_MOST or len(waiting) >= WAITING_MOST:
            raise MofangError("customise-queue-full", waiting=mine, most=QUEUED_MOST)
        if price:
            read_plan(known(find_customer(db, found.account).currency), price=price)
        keep_held(act, db, found)
        body = {"custom": found.id, "learn": learn, "price": price, "seed": seed}
        act.record(JOURNAL, NewRow("queued", body, account=found.account))
        return find_custom(db, found.id)


@action(may="release")
def custom_cancel(act: Act, *, custom: str) -> Custom:
    """Take a run out of the queue and give back what was set aside; one that is at work stops after the step that it is in.

    Records stay, and the run can be asked for again while the quote holds. Raises ``customise-not-queued``.
    """
    return cancel(act, find_custom(open_orders(act.shop), custom))


def cancel(act: Act, custom: Custom) -> Custom:
    """Take an order out of the queue, for its seller or for its customer."""
    with lease_if_free(act.shop, lease_key(custom.id)) as free, turn(act, JOURNAL) as db:
        found, job = find_custom(db, custom.id), job_of(db, custom.id)
        if job is None or job.state not in OPEN:
            raise MofangError("customise-not-queued", name=found.name)
        if free:
            _cancelled(act, db, found)
        elif job.state != STOPPING:
            act.record(JOURNAL, NewRow("stop", {"custom": found.id}, account=found.account))
        return find_custom(db, found.id)


def _cancelled(act: Act, db: Database, custom: Custom) -> None:
    body = {"custom": custom.id, "returned": give_back(act, db, custom)}
    act.record(JOURNAL, NewRow("cancelled", body, account=custom.account))
    clear_scratch(act.shop, custom.id)


# Working


def work_once(shop: Shop, told: Callable[[Custom], None] = lambda _: None) -> Worked | None:
    """Take the order that has waited longest and run it to its end; None where nothing waits, or this machine is at work.

    ``told`` is called with the order before it is run. It may be called from anywhere as often as you like; of workers on many
    machines one takes an order.
    """
    shop.require("release")
    open_orders(shop)
    with lease_if_free(shop, machine_key()) as idle:
        for job in due(shop) if idle else ():
            with lease_if_free(shop, lease_key(job.custom)) as mine:
                if mine and (now := job_of(shop.control, job.custom)) is not None and now.state in OPEN:
                    return _take(Act(shop, shop.actor), now, told)
    return None


def machine_key() -> str:
    """The lease of the worker of this machine."""
    return digest_of(["customise-work", socket.gethostname()])


def due(shop: Shop) -> list[Job]:
    """What may be taken up now, in the order of asking: what waits, and what a worker may have left behind."""
    at_us = now_us()
    return [one for one in jobs(shop.control, *OPEN) if one.state != WAITING or one.not_before_us <= at_us]


def _take(act: Act, job: Job, told: Callable[[Custom], None]) -> Worked:
    """Run one order whose lease is held; every end of it is a row."""
    db = act.shop.control
    if job.state == STOPPING:
        with turn(act, JOURNAL):
            _cancelled(act, db, find_custom(db, job.custom))
        return Worked(find_custom(db, job.custom), "cancelled")
    if job.state == RUNNING and job.tries >= TRIES_MOST:  # killed each time: it would kill the next worker too
        return _declined(act, job, MofangError("customise-gave-up", tries=job.tries))
    with turn(act, JOURNAL):
        act.record(JOURNAL, NewRow("begun", {"custom": job.custom, "host": socket.gethostname()}, account=job.account))
    told(find_custom(db, job.custom))
    done: list[Delivered] = []

    def run() -> None:
        done.append(run_held(act, job.custom, cast(Learn, job.learn), job.price, job.seed, partial(_step, act, job)))

    try:
        fault = attempt(run)
    except (Stopped, KeyboardInterrupt):  # the worker is stopped, not the order
        _put_back(act, job, "", counts=False)
        raise
    return _ended(act, job, fault, done)


def _ended(act: Act, job: Job, fault: Exception | None, done: list[Delivered]) -> Worked:
    if fault is None:
        found = find_custom(act.shop.control, job.custom)
        return Worked(found, found.state, "" if done[0].charged else "customise-worse", done[0])
    if isinstance(fault, MofangError) and fault.code == "customise-cancelled":
        with turn(act, JOURNAL) as db:
            _cancelled(act, db, find_custom(db, job.custom))
        return Worked(find_custom(act.shop.control, job.custom), "cancelled")
    code, _ = numbers_of(fault)
    if code == "customise-failed":  # where it broke, and not what it said: that may hold a customer's words
        frame = traceback.extract_tb(fault.__traceback__)[-1]
        log.error("%s: %s at %s:%s", job.custom, type(fault).__name__, Path(frame.filename).name, frame.lineno)
    final = isinstance(fault, MofangError) and (code.startswith("customise-") or fault.status == UNSUITED)
    if final or job.tries + 1 >= TRIES_MOST:
        return _declined(act, job, fault)
    _put_back(act, job, code, counts=True)
    return Worked(find_custom(act.shop.control, job.custom), WAITING, code)


def _declined(act: Act, job: Job, fault: Exception) -> Worked:
    code, numbers = numbers_of(fault)
    with turn(act, JOURNAL):  # a file that arrives meanwhile waits for its turn
        decline(act, job.custom, code, numbers)
        clear_scratch(act.shop, job.custom)
    return Worked(find_custom(act.shop.control, job.custom), "declined", code)


def _put_back(act: Act, job: Job, reason: str, *, counts: bool) -> None:
    """It waits again, in its old place; after a failure not at once."""
    later_us = now_us() + RETRY_US * (job.tries + 1) if counts else 0
    body = {"custom": job.custom, "counts": counts, "reason": reason, "not_before_us": later_us}
    with turn(act, JOURNAL):
        act.record(JOURNAL, NewRow("put-back", body, account=job.account))


def _step(act: Act, job: Job, percent: int) -> None:
    """Say how far it is; where somebody cancelled it meanwhile, this is where it stops."""
    with turn(act, JOURNAL) as db:
        now = job_of(db, job.custom)
        if now is None or now.state != RUNNING:
            raise MofangError("customise-cancelled")
        act.record(JOURNAL, NewRow("step", {"custom": job.custom, "percent": percent}, account=job.account))
