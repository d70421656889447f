"""One group commit: what is set aside, charged, stored for retries and given back in a single transaction.

The order inside matters. First the accounts are locked and the truth about this process's allotments is read, because
another process may have given back what this one was too slow to renew. Then retries are told apart from new requests.
Then money is set aside, as much as all open reservations need. Only then are the rows written. What is kept in memory
changes after the commit and not before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mofang.core.clock import UTC_OFFSET, day_of
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.journal import Journals, NewRow
from mofang.core.money import PER_UNITS, charge
from mofang.trade.accounts.limits import NONE, Budget, held_of, month_of, used_of
from mofang.trade.billing.balance import balance_of, lock_accounts, return_row, rows_in
from mofang.trade.kept import Kept, keep_texts
from mofang.trade.pricing.prices import Price
from mofang.trade.request.purses import WANTED_FIRST, WANTED_MOST, Budgets, Purse, Purses
from mofang.trade.request.replay import Stored, forget_answers, replay_name, same_request, store_answers, stored_answers

Done = Callable[[Any], None]
SHARE = 8  # an allotment takes at most this fraction of what is free beyond the need


@dataclass(slots=True, eq=False)
class Find:
    """Look for a stored answer; ``done`` gets it, or None."""

    account: str
    retry_key: str
    done: Done


@dataclass(slots=True, eq=False)
class Draw:
    """Set money aside and reserve ``micros`` of it; ``done`` gets None, or the refusal."""

    account: str
    micros: int
    done: Done
    budgets: Budgets = ()


@dataclass(slots=True, eq=False)
class Charge:
    """One answer to be charged; ``done`` gets the answer to send (its own, or an earlier one), or the refusal.

    ``price`` is None for what is free: test keys are counted and never charged.
    """

    request_id: str
    account: str
    key: str
    model: str
    package: str
    units: int
    price: Price | None
    test: bool
    reserved: int
    answer: bytes
    done: Done
    retry_key: str = ""
    digest: str = ""
    repeat: bool = False  # an equal body came within the minute before, without a retry key
    tokens: tuple[int, int] | None = None  # of a generator: read and written
    marks: dict[str, str] | None = None  # keyed digests of what was asked and said
    kept: Kept | None = None  # what was asked and said, sealed, where the customer's plan keeps it
    budgets: Budgets = ()  # that it counts against, besides the customer's balance


@dataclass(slots=True, eq=False)
class GiveBack:
    """Return an idle allotment."""

    account: str
    done: Done


Work = Find | Draw | Charge | GiveBack


def most_for(units: int, price: Price | None) -> int:
    """The micros that so many units can cost at most, a carried part included."""
    return -(-units * price.rate // PER_UNITS) if price else 0


class Plan:
    """What one group of work comes to. ``outcomes`` stand in the order of the group once ``write`` is through."""

    journals: Journals
    db: Database

    def __init__(self, purses: Purses, group: Sequence[Work], now_us: int, expires_us: int,
                 utc_offset: str = UTC_OFFSET) -> None:
        self.purses = purses
        self.group = group
        self.now_us = now_us
        self.expires_us = now_us + expires_us
        self.utc_offset = utc_offset
        self.outcome: dict[int, Any] = {}
        self.rows: list[NewRow] = []
        self.left: dict[str, int] = {}
        self.fresh: list[Charge] = []
        self.budgets: dict[str, Budget] = {}  # that the group counts against, by scope
        self.taken: dict[tuple[int, str], int] = {}  # what a draw has reserved so far, of which purse
        self.finds: list[Find] = []
        self.draws: list[Draw] = []
        self.charges: list[Charge] = []
        self.returns: list[GiveBack] = []
        self.moved: dict[str, None] = {}  # accounts and budgets whose money the group moves
        for work in group:
            self._sort(work)

    def _sort(self, work: Work) -> None:
        if isinstance(work, Find):
            self.finds.append(work)
            return
        if isinstance(work, Charge):
            self.charges.append(work)
        elif isinstance(work, Draw):
            self.draws.append(work)
        else:
            self.returns.append(work)
            self.moved[work.account] = None
            return
        if isinstance(work, Draw) or work.price is not None:
            self.moved[work.account] = None
        for budget in work.budgets:
            self.budgets[budget.scope] = budget
            self.moved[budget.scope] = None

    @property
    def outcomes(self) -> list[Any]:
        """One outcome for each piece of work, None where there is nothing to say."""
        return [self.outcome.get(id(work)) for work in self.group]

    @property
    def reads_only(self) -> bool:
        """True if the group asks for stored answers and nothing else."""
        return len(self.finds) == len(self.group)

    def read(self, journals: Journals) -> None:
        """Answer a group of ``Find`` without a transaction."""
        self._find(journals.db)

    def write(self, journals: Journals) -> None:
        """Everything of the group, inside the transaction that the caller has open."""
        self.journals, self.db = journals, journals.db
        if self.db.dialect == "postgresql":  # SQLite's transaction has locked all there is
            lock_accounts(self.db, [*self.moved, *(one.account for one in self.charges if one.retry_key)])
        if self.finds:
            self._find(self.db)
        self._store_answers()
        self._read_allotments()
        for name in self.left if not self.budgets else sorted(self.left, key=lambda name: name not in self.budgets):
            draws = [one for one in self.draws if self._wants(one, name)] if self.draws else []  # budgets first: they may refuse
            if draws or self.purses.by_account[name].reserved > self.left[name]:
                self._set_aside(name, draws)
        self._charge()
        for gift in self.returns:
            self._give_back(gift.account)
        if self.rows:
            self.journals.append("usage", self.rows)
        if any(one.kept for one in self.fresh):
            keep_texts(self.db, [one.kept for one in self.fresh if one.kept is not None])

    def keep(self) -> None:
        """After the commit: memory follows the database, and reservations of charged requests end."""
        now = time.monotonic()
        with self.purses.lock:
            for account, left in self.left.items():
                purse = self.purses.by_account[account]
                purse.left = left
                purse.used_s = now
            self._end_reservations()

    def undo(self) -> None:
        """After a failed commit: nothing was set aside, and no request of the group is answered."""
        with self.purses.lock:
            for (_, name), micros in self.taken.items():
                self.purses.by_account[name].reserved -= micros
            self._end_reservations()

    def _end_reservations(self) -> None:
        for one in self.charges:
            if one.reserved:
                self.purses.end(one.account, one.reserved, one.budgets)

    # Retries

    def _find(self, db: Database) -> None:
        names = [replay_name(one.account, one.retry_key) for one in self.finds]
        stored = stored_answers(db, set(names), self.now_us)
        self.outcome.update((id(one), stored.get(name)) for one, name in zip(self.finds, names, strict=True))

    def _store_answers(self) -> None:
        """Every charge's answer under its retry key; where another process has charged that key meanwhile, what that one said."""
        kept: dict[str, Charge] = {}
        for one in self.charges:
            name = replay_name(one.account, one.retry_key) if one.retry_key else ""
            if name in kept:
                self.outcome[id(one)] = MofangError("retry-in-progress")
                continue
            self.outcome[id(one)] = Stored(one.digest, one.request_id, 200, one.answer, replayed=False)
            self.fresh.append(one)
            if name:
                kept[name] = one
        answers = ((name, self.outcome[id(one)]) for name, one in kept.items())
        if kept and store_answers(self.db, answers, self.now_us) < len(kept):
            for name, found in stored_answers(self.db, kept, self.now_us).items():
                if found.request_id != kept[name].request_id:
                    self.outcome[id(kept[name])] = replayed(found, kept[name].digest)
                    self.fresh.remove(kept[name])

    # Money

    def _read_allotments(self) -> None:
        self.left = dict.fromkeys(sorted(self.moved), 0)
        sql = "select account, micros from allotment where worker=? and account in ({marks})"
        self.left.update(rows_in(self.db, sql, list(self.left), (self.journals.writer,)))

    def _parted(self, parted: list[Charge]) -> dict[int, int]:
        """The micros of charges that come to no whole number of them: the rest is carried on, per account and price version."""
        sql = "select account, model, price, part from carried where account in ({marks})"
        found = rows_in(self.db, sql, sorted({one.account for one in parted}))
        carried: dict[tuple[str, str, int], int] = {row[:3]: row[3] for row in found}
        micros: dict[int, int] = {}
        for one in parted:
            assert one.price is not None
            name = (one.account, one.price.model, one.price.version)
            micros[id(one)], carried[name] = charge(one.units, one.price.rate, carried.get(name, 0))
        return micros

    def _wants(self, draw: Draw, name: str) -> bool:
        """Whether a draw that nobody has refused needs money of this account or budget."""
        return (draw.account == name or any(one.scope == name for one in draw.budgets)) and self.outcome.get(id(draw)) is None

    def _available(self, name: str) -> int:
        """What may still be set aside, of a balance or of a budget."""
        if "/" not in name:
            return balance_of(self.db, name, self.now_us, self.utc_offset).available
        budget = self.budgets.get(name)  # none where an old allotment is only given back
        used = used_of(self.db, name, month_of(self.now_us, self.utc_offset)) if budget else 0
        return max(0, budget.micros - used - held_of(self.db, name)) if budget else 0

    def _refuse(self, draw: Draw, name: str) -> None:
        """A draw for which there is no money: whatever it reserved until now is given up."""
        with self.purses.lock:
            for taken in [key for key in self.taken if key[0] == id(draw)]:
                self.purses.by_account[taken[1]].reserved -= self.taken.pop(taken)
        self.outcome[id(draw)] = budget_refusal(name) if "/" in name else MofangError("credit-used-up")

    def _set_aside(self, account: str, draws: list[Draw]) -> None:
        """Draw what the open reservations and this group's draws need; refuse what there is no money for."""
        purse = self.purses.by_account[account]
        with self.purses.lock:  # from here on the fast path sees the new reservations
            for draw in draws:
                purse.reserved += draw.micros
                self.taken[id(draw), account] = draw.micros
            short = purse.reserved - self.left[account]
        for draw in draws:
            self.outcome[id(draw)] = None
        if short <= 0:
            return
        available = self._available(account)
        while draws and short > available:
            draw = draws.pop()
            short -= draw.micros
            self._refuse(draw, account)
        micros = min(short, available)
        if draws:
            micros += self._extra(purse, draws[-1].micros, available - micros)
        if micros > 0:
            self.left[account] += micros
            self.rows.append(NewRow("draw", {"micros": micros, "expires_us": self.expires_us}, account=account))

    def _extra(self, purse: Purse, one: int, free: int) -> int:
        """What is drawn ahead for coming requests: more for a busy account, little near the edge."""
        now = time.monotonic()
        busy = now - purse.drawn_s < 2.0
        purse.wanted = min(purse.wanted * 2, WANTED_MOST) if busy else max(purse.wanted // 2, WANTED_FIRST)
        purse.drawn_s = now
        return max(0, min(purse.wanted * one, free // SHARE))

    def _charge(self) -> None:
        """A usage row for each fresh charge that its allotments cover; the answers of the others are not kept."""
        exact = {id(one): one.units * one.price.rate if one.price else 0 for one in self.fresh}
        parted = [one for one in self.fresh if exact[id(one)] % PER_UNITS]
        micros = self._parted(parted) if parted else {}
        refused: list[Charge] = []
        spent: dict[str, int] = {}
        day = "" if self.utc_offset == UTC_OFFSET else day_of(self.now_us, self.utc_offset)
        for one in self.fresh:
            amount = micros[id(one)] if id(one) in micros else exact[id(one)] // PER_UNITS
            if amount:
                refusal = self._take(one, amount, spent)
                if refusal is not None:
                    self.outcome[id(one)] = refusal
                    refused.append(one)
                    continue
            self.rows.append(NewRow("use", use_body(one, amount, day), one.request_id, one.account))
        if refused:
            forget_answers(self.db, [replay_name(one.account, one.retry_key) for one in refused if one.retry_key])
            self.fresh = [one for one in self.fresh if one not in refused]
        if spent:
            self._say_low(spent)

    def _take(self, one: Charge, amount: int, spent: dict[str, int]) -> MofangError | None:
        """Take a charge's money from its allotments; the refusal where another process has taken that back, and spent it."""
        left = self.left
        if amount > left.get(one.account, 0):
            return MofangError("credit-used-up")
        for budget in one.budgets:
            if amount > left[budget.scope]:
                return budget_refusal(budget.scope)
        left[one.account] -= amount
        for budget in one.budgets:
            left[budget.scope] -= amount
            spent[budget.scope] = spent.get(budget.scope, 0) + amount
        return None

    def _say_low(self, spent: dict[str, int]) -> None:
        """A row for each budget that passes its soft line now: once a month, since accounts are locked."""
        month = month_of(self.now_us, self.utc_offset)
        for scope, micros in spent.items():
            soft = self.budgets[scope].soft_micros
            if soft == NONE or not micros:
                continue
            before = used_of(self.db, scope, month)
            if before < soft <= before + micros:
                body = {"scope": scope, "month": month, "micros": before + micros, "soft_micros": soft}
                self.journals.append("limits", [NewRow("low", body, account=scope.partition("/")[0])])

    def _give_back(self, account: str) -> None:
        """Return what is left, unless a request has reserved some of it meanwhile."""
        with self.purses.lock:
            purse = self.purses.by_account[account]
            if purse.reserved or not self.left.get(account):
                return
            purse.left = 0  # the fast path must not reserve from it while the commit runs
        self.rows.append(return_row(account, self.journals.writer, self.left[account]))
        self.left[account] = 0


def use_body(one: Charge, micros: int, day: str) -> dict[str, Any]:
    """A usage row's content: what was answered and what it cost, and nothing of what was asked or said."""
    body = {"request_id": one.request_id, "key": one.key, "model": one.model, "package": one.package, "units": one.units,
            "price": one.price.version if one.price else None, "rate": one.price.rate if one.price else 0, "micros": micros,
            "test": one.test}
    if day:
        body["day"] = day
    if one.repeat:
        body["repeat"] = True
    if one.tokens:
        body["tokens_in"], body["tokens_out"] = one.tokens
    if one.marks:
        body |= one.marks
    if one.budgets:
        body["budgets"] = [budget.scope for budget in one.budgets]
    return body


def replayed(found: Stored, digest: str) -> Stored | MofangError:
    """An earlier answer for a request of this digest, or the refusal of another request under its key."""
    try:
        return same_request(found, digest)
    except MofangError as refusal:
        return refusal


def budget_refusal(scope: str) -> MofangError:
    """The refusal of a budget, with the key that it belongs to (``*``: the whole account)."""
    return MofangError("budget-used-up", whose=scope.partition("/")[2] or "*")
