"""What a running server knows of customers, keys and prices, at most a quarter of a second old.

The whole picture is replaced at once when one of the journals has grown, so that a request sees one consistent
state and a revoked key stops working within a second on every server.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import Journals
from mofang.core.token import Pepper
from mofang.serve.boundary import attempt
from mofang.trade.accounts.customers import Customer, customers, kept_days, priorities
from mofang.trade.accounts.keys import Key, check_key, keys
from mofang.trade.accounts.limits import NONE, Budget, Limit, limits
from mofang.trade.accounts.sessions import key_of
from mofang.trade.customs.served import Private, privates
from mofang.trade.elsewhere.remotes import Remote, remotes
from mofang.trade.pricing.prices import Price, price_at, prices, require_credit

POLL_S = 0.25
STALE_S = 2.0  # without a look at the journals for so long, nobody is let in
JOURNALS = ("customers", "keys", "prices", "remotes", "limits", "custom")

log = logging.getLogger("mofang.directory")


@dataclass(frozen=True)
class Picture:
    """Customers by id, keys by id, price versions by model, days that texts are kept by customer, engines elsewhere by name,
    all of one moment."""

    customers: dict[str, Customer]
    keys: dict[str, Key]
    prices: dict[str, tuple[Price, ...]]
    keep: dict[str, int]
    priorities: dict[str, int] = field(default_factory=dict)  # of customers that do not stand in the middle line
    remotes: dict[str, Remote] = field(default_factory=dict)
    limits: dict[str, Limit] = field(default_factory=dict)  # by scope: a key's, or a whole customer's
    privates: dict[str, Private] = field(default_factory=dict)  # models of customers' own
    _limits_of: dict[str, tuple[tuple[Limit, ...], tuple[Budget, ...]]] = field(default_factory=dict)  # by key, once asked for

    def limits_of(self, key: Key) -> tuple[tuple[Limit, ...], tuple[Budget, ...]]:
        """The rates and counts that a key's requests are held to, and the budgets that they count against."""
        known = self._limits_of.get(key.id)
        if known is None:
            scopes = (f"{key.account}/", f"{key.account}/{key.id}")
            found = [self.limits[scope] for scope in scopes if scope in self.limits]
            budgets = [Budget(one.scope, one.budget_micros, one.soft_micros) for one in found if one.budget_micros != NONE]
            known = tuple(one for one in found if one.paced), tuple(budgets) if not key.test else ()
            self._limits_of[key.id] = known
        return known


class Directory:
    """Reads on its own connection and thread. ``pepper`` is the shop's secret for keys."""

    def __init__(self, db: Database, pepper: bytes, *, poll_s: float = POLL_S) -> None:
        self.db = db
        self.pepper = Pepper(pepper)
        self.poll_s = poll_s
        Journals(db)  # makes the tables of a fresh shop
        self.changed: Callable[[Picture], None] | None = None  # told of every new picture
        self._seen = self._heads()
        self._looked_s = time.monotonic()
        self.picture = self._read()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="directory", daemon=True)

    def start(self) -> None:
        """Begin to look for changes."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and the connection."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.db.close()

    def admit(self, token: str, at_us: int | None = None) -> tuple[Key, Customer]:
        """Whose key this is; refusals as in ``check_key``, and ``directory-stale`` where the database is silent."""
        if time.monotonic() > self._looked_s + STALE_S:
            raise MofangError("directory-stale")
        picture = self.picture
        key = check_key(picture.keys, self.pepper, token, at_us or now_us())
        return key, picture.customers[key.account]

    def resume(self, session: str) -> tuple[Key, Customer]:
        """Whose browser session this is (``accounts/sessions``): ``session-over``, and ``directory-stale`` as in ``admit``."""
        if time.monotonic() > self._looked_s + STALE_S:
            raise MofangError("directory-stale")
        picture = self.picture
        key = key_of(session, picture.keys, self.pepper, now_us())
        return key, picture.customers[key.account]

    def price(self, model: str, key: Key, customer: Customer, at_us: int | None = None) -> Price | None:
        """The price of a model for this key: None for a test key; a live key is refused without a price."""
        if key.test:
            return None
        found = price_at(self.picture.prices.get(model, ()), at_us or now_us())
        if found is None:
            raise MofangError("price-missing", model=model)
        if found.currency != customer.currency:
            raise MofangError("price-other-currency", model=model, currency=found.currency, own=customer.currency)
        require_credit(found, customer)
        return found

    def output(self, model: str) -> int:
        """How many units a token counts as that this model writes; test keys count as live ones do."""
        found = price_at(self.picture.prices.get(model, ()), now_us())
        return found.output if found else 1

    def look(self) -> None:
        """Look once for changes; the thread does so four times a second."""
        heads = self._heads()
        if heads != self._seen:
            self.picture = self._read()
            self._seen = heads
            if self.changed is not None:
                self.changed(self.picture)
        self._looked_s = time.monotonic()

    def _watch(self) -> None:
        while not self._end.wait(self.poll_s):
            fault = attempt(self.look)
            if fault is not None:  # admit() refuses everybody until a look succeeds
                log.error("the journals cannot be read: %s: %s", type(fault).__name__, fault)
                attempt(self._reopen)

    def _reopen(self) -> None:
        self.db = self.db.again()

    def _heads(self) -> tuple[int, ...]:
        """The newest sequence numbers that actions have written; found in an index, however long the journals are."""
        sql = "select coalesce(max(seq), 0) from journal where journal=? and writer='hand'"
        return tuple(self.db.rows(sql, (journal,))[0][0] for journal in JOURNALS)

    def _read(self) -> Picture:
        by_model: dict[str, tuple[Price, ...]] = {}
        for price in prices(self.db):
            by_model[price.model] = (*by_model.get(price.model, ()), price)
        return Picture({one.id: one for one in customers(self.db)}, {one.id: one for one in keys(self.db)}, by_model,
                       kept_days(self.db), priorities(self.db), {one.name: one for one in remotes(self.db)},
                       {one.scope: one for one in limits(self.db)}, privates(self.db))
