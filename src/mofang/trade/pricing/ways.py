"""What each way of selling earned and left: metered keys, subscriptions, leases, customers' own models, solutions.

Earned is what the lines of bills say, and of what stands on no bill yet what its bill would say: after discounts, before tax.
Use of a model to which the customer subscribes in that month belongs to the subscription, use of a customer's own model to the
customisation of its base. A charge made once belongs to the model that its source entry in the ledger leads to; of a solution's
price each of its models has an equal part.

Serving is the machine's time and energy for the units that this shop answered, by what was measured at packaging; what a lease
or a solution answers, it answers on the customer's machine. Making is the cost of all runs behind all versions of a model, shared
by what was earned with it; a customer's own model bears besides what its own runs cost. None stands for what is not known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mofang.core.clock import day_of
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import Customer, credit_notes, customers
from mofang.trade.accounts.lists import open_books, shop_offset
from mofang.trade.accounts.terms import subscriptions
from mofang.trade.billing.claims import invoices_of
from mofang.trade.billing.issuing import documents
from mofang.trade.billing.oneoff import oneoffs
from mofang.trade.customs.orders import customs
from mofang.trade.pricing.costs import by_model, money_of, serving_cost

MILLION = 1_000_000
WAYS = ("metered", "subscription", "lease", "customisation", "solution", "other")


@dataclass(frozen=True)
class Way:
    """What one way of selling a model to a customer earned and cost, in micros; ``units`` are those that this shop answered."""

    way: str
    customer: str
    model: str
    units: int
    earned: int
    given_back: int
    serving: int | None
    making: int | None

    @property
    def margin(self) -> int | None:
        """What is left; None while a cost is not known."""
        if self.serving is None or self.making is None:
            return None
        return self.earned - self.given_back - self.serving - self.making

    def facts(self) -> dict[str, Any]:
        """As JSON and CSV have it."""
        return {"way": self.way, "customer": self.customer, "model": self.model, "units": self.units,
                "earned_micros": self.earned, "given_back_micros": self.given_back, "serving_micros": self.serving,
                "making_micros": self.making, "margin_micros": self.margin}


@dataclass
class _Sum:
    units: int = 0
    earned: int = 0
    given_back: int = 0
    own_making: int | None = 0  # what was made for this alone
    served: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # units by the package that answered them


@dataclass(frozen=True)
class _Part:
    """A line of a bill, or its part that belongs to one model."""

    way: str
    model: str
    line: int
    micros: int
    units: int = 0
    package: str = ""
    discounted: bool = True


def by_way(shop: Shop, model: str = "", tick: Callable[[], None] = lambda: None) -> list[Way]:
    """What every way of selling earned and left, by way, customer and model; of one model, if named. Test keys are left out."""
    db = open_books(shop)
    reader, names = _Reader(shop), {}
    for who in customers(db):
        if not who.test:
            names[who.id] = who.name
            for document, again in _documents(shop, who):
                reader.read(who.id, document, again=again)
            reader.unlined(who.id)
        tick()
    lines = {one.name: one for one in by_model(shop)}
    earned: dict[str, list[int]] = defaultdict(lambda: [0, 0])  # by model: so far, and in all
    for (_, _, name), one in reader.sums.items():
        earned[name][1] += one.earned
    found = []
    for (way, account, name), one in sorted(reader.sums.items(), key=lambda item: (WAYS.index(item[0][0]), item[0])):
        making = lines[name].making if name in lines else 0 if not name else None
        before, of = earned[name]
        part = None if making is None or one.own_making is None else _part(making, before, of, one.earned) + one.own_making
        earned[name][0] += one.earned
        if model in ("", name):
            found.append(Way(way, names[account], name, one.units, one.earned, one.given_back, reader.serving(one), part))
    return found


def totals(ways: list[Way]) -> list[Way]:
    """One line for each way that is among them."""
    return [whole([one for one in ways if one.way == name], name) for name in WAYS if any(one.way == name for one in ways)]


def whole(ways: list[Way], name: str = "all") -> Way:
    """All of them as one line."""
    return Way(name, "", "", sum(one.units for one in ways), sum(one.earned for one in ways), sum(one.given_back for one in ways),
               _sum(one.serving for one in ways), _sum(one.making for one in ways))


def _sum(values: Iterable[int | None]) -> int | None:
    found = list(values)
    return None if None in found else sum(one or 0 for one in found)


def _part(whole: int, before: int, of: int, own: int) -> int:
    """The share of ``whole`` that falls to ``own`` out of ``of``, after ``before``: all shares together are the whole."""
    return whole * (before + own) // of - whole * before // of if of else 0


def _documents(shop: Shop, who: Customer) -> Iterator[tuple[dict[str, Any], bool]]:
    """A customer's bills and what stands on none yet; True where fees of the month stand on an earlier one already."""
    billed = {claim.period for claim in invoices_of(shop.control, who.id)}
    seen: set[str] = set()
    for document in documents(shop, who.id, _open_months(shop, who, billed)):
        month = document["period"]["name"]
        yield document, month in seen
        seen.add(month)


def _open_months(shop: Shop, who: Customer, billed: set[str]) -> list[str]:
    """Months in which something may stand on no bill yet: those with use, charges or a subscription and no bill, and this one."""
    offset = shop_offset(shop)
    now = day_of(now_us(), offset)[:7]
    used = shop.control.rows("select distinct substr(day, 1, 7) from usage_day where account=? and test=0", (who.id,))
    months = {row[0] for row in used} | {day_of(one.at_us, offset)[:7] for one in oneoffs(shop.control, who.id)}
    for one in subscriptions(shop.control, who.id):
        month = one.first[:7]
        while month <= min(one.last[:7] or now, now):
            months.add(month)
            month = f"{int(month[:4]) + int(month[5:]) // 12}-{int(month[5:]) % 12 + 1:02d}"
    return sorted((months - billed) | ({now} if months or billed else set()))


class _Reader:
    """Adds up the lines of bills by way, customer and model."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.sums: dict[tuple[str, str, str], _Sum] = defaultdict(_Sum)
        self.packages = {one.entry: one.name for one in shop.names("package")}
        self.own = {one.name: one.base.partition("@")[0] for one in customs(shop.control)}
        self.bases = {one.name: one.entry for one in customs(shop.control)}
        self.given: dict[tuple[str, int], int] = defaultdict(int)
        for number, line, micros in shop.control.rows("select number, line, micros from line_credit"):
            self.given[number, int(line)] += int(micros)
        self._leads: dict[str, tuple[str, ...]] = {}

    def read(self, account: str, document: dict[str, Any], *, again: bool) -> None:
        """One bill: its discount is taken off the lines that it was worked out from, its tax is left out."""
        lines = document["lines"]
        parts = [part for line in lines for part in self._parts(line, lines, again=again)]
        cut = -sum(line["amount_micros"] for line in lines if line.get("kind") == "discount")
        base = sum(line["base_micros"] for line in lines if line.get("kind") == "discount")
        tax = sum(line["rate_ppm"] for line in lines if line.get("kind") == "tax")
        before = 0
        for part in parts:
            one = self.sums[part.way, account, part.model]
            off = _part(cut, before, base, part.micros) if part.discounted else 0
            before += part.micros if part.discounted else 0
            one.earned += part.micros - off
            one.units += part.units
            if part.units and part.package:
                one.served[part.package] += part.units
            if (back := self.given.get((document["number"], part.line), 0)) and part.line:
                whole = sum(other.micros for other in parts if other.line == part.line) or 1
                one.given_back += back * MILLION // (MILLION + tax) * part.micros // whole
        for line in lines:
            if line.get("kind") == "customisation":
                self._bear(account, line)

    def _parts(self, line: dict[str, Any], lines: list[dict[str, Any]], *, again: bool) -> list[_Part]:
        kind, micros, at = line.get("kind", "usage"), line["amount_micros"], line["line"]
        model = line.get("model", "").partition("@")[0]
        if kind == "usage":
            if model in self.own and self.packages.get(line["package"]) != model:
                return [_Part("customisation", self.own[model], at, micros, line["units"], self.bases[model])]
            fees = {other["model"] for other in lines if other.get("kind") == "subscription"}
            return [_Part("subscription" if model in fees else "metered", model, at, micros, line["units"], line["package"])]
        if kind in ("subscription", "minimum"):
            way = "subscription" if kind == "subscription" else "metered" if model else "other"
            return [] if again else [_Part(way, model, at, micros, discounted=kind == "subscription" or bool(model))]
        if "charge" not in line:
            return []
        led = self.leads(line["source_entry"]) or ("",)
        return [_Part(kind, name, at, _part(micros, place, len(led), 1), discounted=False) for place, name in enumerate(led)]

    def leads(self, entry: str) -> tuple[str, ...]:
        """The models that a ledger entry leads to: the first named packages among what it was made from."""
        if entry not in self._leads:
            found, waiting, seen = set(), [entry], set[str]()
            while waiting:
                id = waiting.pop()
                if id in seen:
                    continue
                seen.add(id)
                if id in self.packages:
                    found.add(self.packages[id])
                    continue
                try:
                    body = self.shop.ledger.get(id).body
                except MofangError as error:
                    if error.code != "entry-unknown":
                        raise
                    continue
                waiting += [one["entry"] for one in body.get("inputs", ())]
                waiting += [body[name] for name in ("returned", "of") if body.get(name)]
            self._leads[entry] = tuple(sorted(found))
        return self._leads[entry]

    def _bear(self, account: str, line: dict[str, Any]) -> None:
        """A customer's own model bears what its own runs cost."""
        led = self.leads(line["source_entry"])
        if not led:
            return
        one = self.sums["customisation", account, led[0]]
        own = self.shop.ledger.get(line["source_entry"]).body.get("cost", {}).get("own", {})
        micros = own.get("micros")
        if micros is None:
            micros = money_of(self.shop, own.get("wall_s", 0.0), own.get("energy_wh", 0.0))
        one.own_making = None if None in (micros, one.own_making) else (one.own_making or 0) + (micros or 0)

    def unlined(self, account: str) -> None:
        """Credit notes that name no line of a bill."""
        lined = {row[0] for row in self.shop.control.rows("select id from line_credit where account=?", (account,))}
        for note in credit_notes(self.shop.control, account):
            if note.id not in lined:
                self.sums["other", account, ""].given_back += note.micros

    def serving(self, one: _Sum) -> int | None:
        """What answering cost; nothing where this shop answered nothing."""
        return _sum(serving_cost(self.shop, package, units) if self.shop.ledger.by_prefix(package, 1) else None
                    for package, units in one.served.items())
