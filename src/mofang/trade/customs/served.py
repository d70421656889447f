"""Models of customers' own in a running server: found by their own customer's keys, and unknown to everybody else.

They stand in no public list: a server holds them apart from the models on sale, so a name of another customer's is answered as
a name that nobody has. They follow the journal: delivered ones are there within a second, deleted ones gone.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mofang.core.action import Act
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import Actor
from mofang.core.shop import Shop
from mofang.serve.models import MB, Models, Offer
from mofang.trade.accounts.customers import Customer
from mofang.trade.accounts.lists import open_books
from mofang.trade.customs.jobs import Job, job_of
from mofang.trade.customs.orders import Custom, customs, facts, find_custom, open_orders

MEMORY_MB = 2048


@dataclass(frozen=True)
class Private:
    """A delivered model of one customer's: the release, the customisation, and the ledger entry of its delivery."""

    release: str
    account: str
    custom: str
    entry: str

    @property
    def name(self) -> str:
        """Its name without the version."""
        return self.release.partition("@")[0]


def privates(db: Database) -> dict[str, Private]:
    """What is delivered and not deleted, by name."""
    return {one.name: Private(f"{one.name}@{one.version}", one.account, one.id, one.delivered) for one in customs(db)
            if one.version and one.state not in ("deleted", "deleting")}


class OwnModels:
    """The open models of customers' own. ``offer`` says how one is opened. May be used from several threads."""

    def __init__(self, shop: Shop, offer: Callable[[Private], Offer], *, memory_mb: int = MEMORY_MB) -> None:
        self.shop = shop
        self.offer = offer
        self.models = Models(memory_bytes=memory_mb * MB)
        self._known: Mapping[str, Private] = {}
        self._turn = threading.Lock()

    def follow(self, known: Mapping[str, Private]) -> None:
        """Serve these from now on; what is no longer among them is put away after it has finished what it has begun."""
        before, self._known = self._known, dict(known)
        wanted = {one.release for one in known.values()}
        gone = {one.release for one in before.values()} - wanted
        if gone:
            self.models.replace([offer for name, offer in self.models.offers.items() if name in wanted])

    def release(self, account: str, model: str) -> str:
        """The release that a name stands for where it is this customer's own; empty for anybody else's and unknown ones."""
        base, _, version = model.partition("@")
        found = self._known.get(base)
        own = found is not None and found.account == account and (not version or model == found.release)
        return found.release if own and found else ""

    def names(self, account: str) -> list[str]:
        """The releases that are this customer's own."""
        return sorted(one.release for one in self._known.values() if one.account == account)

    async def find(self, account: str, model: str) -> Any:
        """The open model of a customer's own, opened if it is not; None for what is not this customer's, or was deleted."""
        release = self.release(account, model)
        return (self.models.get(release) or await asyncio.to_thread(self._wake, release)) if release else None

    def _wake(self, release: str) -> Any:
        found = self._known.get(release.partition("@")[0])
        if found is None or found.release != release:
            return None
        try:
            if release not in self.models.offers:
                self.models.add(self.offer(found))
            return self.models.wake(release)
        except (MofangError, OSError, sqlite3.Error):
            if self._stands(found):
                raise
            return None  # deleted at this moment, before this server was told

    def _stands(self, found: Private) -> bool:
        with self._turn:
            return privates(open_orders(self.shop)).get(found.name) == found

    # What customers ask for themselves

    def add(self, who: Customer, name: str, data: bytes, kind: str) -> dict[str, Any]:
        """Take a customer's file of records; another customer's customisation is unknown."""
        from mofang.trade.customs.delivery import add_records

        with self._turn:
            custom = find_custom(self.shop.control, name, who.id)
            act = Act(self.shop, Actor(f"customer {who.id}"))
            custom, rows, repeated = add_records(act, custom, data, kind)
            return {"taken": 0 if repeated else rows, "repeated": repeated, **facts(self.shop, custom)}

    def run(self, who: Customer, name: str) -> dict[str, Any]:
        """Put the caller's own order into the queue, where its seller allowed that in the quote."""
        from mofang.trade.customs.queue import ask

        with self._turn:
            custom, job = self._found(who, name)
            if job is None or not job.allowed:
                raise MofangError("customise-run-not-allowed", name=custom.name)
            return facts(self.shop, ask(Act(self.shop, Actor(f"customer {who.id}")), custom))

    def cancel(self, who: Customer, name: str) -> dict[str, Any]:
        """Take the caller's own order out of the queue; only one that the caller may put there."""
        from mofang.trade.customs.queue import cancel

        with self._turn:
            custom, job = self._found(who, name)
            if job is None or not job.allowed:
                raise MofangError("customise-run-not-allowed", name=custom.name)
            return facts(self.shop, cancel(Act(self.shop, Actor(f"customer {who.id}")), custom))

    def one(self, who: Customer, name: str) -> dict[str, Any]:
        """How far one customisation of the caller's is."""
        with self._turn:
            return facts(self.shop, self._found(who, name)[0])

    def _found(self, who: Customer, name: str) -> tuple[Custom, Job | None]:
        db = open_orders(self.shop)
        custom = find_custom(db, name, who.id)
        return custom, job_of(db, custom.id)

    def told(self, who: Customer) -> list[dict[str, Any]]:
        """A customer's own customisations."""
        with self._turn:
            open_books(self.shop)
            return [facts(self.shop, one) for one in customs(self.shop.control, who.id)]
