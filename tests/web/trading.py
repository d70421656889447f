"""A shop in which everything was sold that can be sold: hostile and long names, use over months, bills in every state."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mofang.core.action import Act
from mofang.core.clock import day_of
from mofang.core.identity import new_id, now_us
from mofang.core.journal import NewRow
from mofang.core.money import charge
from mofang.core.shop import Shop
from mofang.trade.accounts.agreed import customer_agree, customer_subscribe
from mofang.trade.accounts.customers import customer_limit, customer_new
from mofang.trade.accounts.keys import key_new, key_revoke
from mofang.trade.accounts.limits import limit_set
from mofang.trade.accounts.members import member_add
from mofang.trade.billing.issuing import invoice_issue
from mofang.trade.billing.oneoff import charge as charge_once
from mofang.trade.billing.paid import pay
from mofang.trade.customs.orders import JOURNAL as CUSTOM
from mofang.trade.leases.book import JOURNAL as LEASES
from mofang.trade.leases.licence import Licence, new_lease_id
from mofang.trade.pricing.prices import Price, price_set
from mofang.trade.shown.customers import open_all
from mofang.trade.telling.sending import outbox_add

DAY_US = 86_400_000_000
CLOCKED = ("core.journal", "trade.billing.issuing", "trade.pricing.prices", "trade.accounts.agreed", "trade.billing.paid")
HOSTILE = '<script>alert("1")</script> & \u202emoc.live'
LONG = "北京市海淀区中关村科学城人工智能应用与数据要素流通创新发展研究院有限责任公司（集团）华北分公司智能客服事业部"
PLAIN = "Acme 艾可美"


@contextmanager
def at(moment_us: int) -> Iterator[None]:
    """The clock of the books, for a while."""
    counted = itertools.count(moment_us)
    with pytest.MonkeyPatch.context() as patch:
        for module in CLOCKED:
            patch.setattr(f"mofang.{module}.now_us", lambda: next(counted))
        patch.setattr("mofang.trade.billing.issuing.behind_us", lambda *_: 0)
        yield


class Trading:
    """The shop, and how its customers use it."""

    def __init__(self, path: Path) -> None:
        self.shop = Shop.open(path)
        open_all(self.shop)
        self.now_us = now_us()
        self.numbers = itertools.count()
        self.carried: dict[tuple[str, str], int] = {}
        self.prices: dict[str, Price] = {}
        self.ids: dict[str, str] = {}

    def customer(self, name: str, **settings: Any) -> str:
        """A customer's id."""
        self.ids[name] = self.shop.act(customer_new, name=name, **settings).id
        return self.ids[name]

    def price(self, model: str, **plan: Any) -> None:
        """Another version of a price."""
        self.prices[model] = self.shop.act(price_set, model=model, **plan)

    def use(self, account: str, model: str, *units: int, key: str = "k1") -> list[str]:
        """Answered requests, as the meter writes them; their ids."""
        price, rows = self.prices[model.partition("@")[0]], []
        for count in units:
            micros, self.carried[account, model] = charge(count, price.rate, self.carried.get((account, model), 0))
            id = f"req_{next(self.numbers):08d}"
            body = {"request_id": id, "key": key, "model": model, "package": "run_0000000000000000000000pack", "units": count,
                    "test": False, "price": price.version, "rate": price.rate, "micros": micros}
            rows.append(NewRow("use", body, id=id, account=account))
        with self.shop.control.transaction():
            self.shop.journals.append("usage", rows)
        return [row.id or "" for row in rows]

    def month(self, back: int) -> str:
        """A month by how many are between."""
        year, number = map(int, day_of(self.now_us)[:7].split("-"))
        whole = year * 12 + number - 1 - back
        return f"{whole // 12}-{whole % 12 + 1:02d}"


def stocked(path: Path) -> Trading:
    """The whole shop."""
    made = Trading(path)
    with at(made.now_us - 100 * DAY_US):
        made.price("reviews", price="5.00/1000")
        made.price("tickets", tiers="0-1000:0.01, 1000-:0.005", included=100, minimum="50")
        for name, settings in ((PLAIN, {}), (HOSTILE, {"credit": "1000000"}), (LONG, {"credit": "0"}), ("New & idle", {}), ("Tests", {"test": True})):
            made.customer(name, **settings)
        made.shop.act(customer_agree, customer=PLAIN, discount="10%", tax="6%", tax_name="增值税", segment="教育")
        made.shop.act(customer_subscribe, customer=PLAIN, model="reviews", monthly="99", included=1000)
    for back in range(95, 0, -6):
        with at(made.now_us - back * DAY_US):
            made.use(made.ids[PLAIN], "reviews@1", 1, 400 + 37 * back, 3)
            made.use(made.ids[HOSTILE], "tickets@2", 90 + back)
    _bill(made)
    with at(made.now_us - DAY_US):
        made.shop.act(pay, customer=LONG, amount="500", reference="WX-4200001", by="wechat")
        made.use(made.ids[LONG], "reviews@1", 120)
        made.shop.act(customer_limit, customer=LONG, credit="10")
        made.price("reviews", price="4.00/1000")
    _people(made)
    _besides(made)
    return made


def _bill(made: Trading) -> None:
    """Bills of three months: the oldest is paid, the next in part; one of another customer is open."""
    for back in (3, 2, 1):
        for who in (PLAIN, HOSTILE):
            made.shop.act(invoice_issue, customer=who, period=made.month(back))
    made.shop.act(pay, customer=PLAIN, amount="220", reference="BANK/2026/11 <i>", by="transfer")
    made.shop.act(outbox_add, name="books", url="http://127.0.0.1:9/hook", allow_private=("127.0.0.1:9",))
    made.shop.act(pay, customer=PLAIN, amount="1.5", reference="ALI-1", by="alipay", until=day_of(made.now_us + 90 * DAY_US))


def _people(made: Trading) -> None:
    act = made.shop.act
    act(member_add, customer=PLAIN, name="林娜 <b>", role="accounts")
    act(key_new, customer=PLAIN, label="server <1>")
    act(key_new, customer=PLAIN, member="林娜 <b>", days=30)
    act(key_revoke, key=act(key_new, customer=PLAIN, test=True).id)
    act(limit_set, customer=PLAIN, rate="600/minute", concurrency=8, budget="1000", soft="800")


def _besides(made: Trading) -> None:
    """A lease, an order and a solution, as their actions write them down."""
    shop, who = made.shop, made.ids[PLAIN]
    act = Act(shop, shop.actor)

    def entered(decision: str, **body: Any) -> str:
        key = f"{decision}:{new_id('run')}"
        return shop.ledger.append("decision", key, shop.actor, {"decision": decision, "inputs": [], **body}).id

    licence = Licence(new_lease_id(), 1, str(shop.settings["id"]), PLAIN, "reviews@1", "0" * 64, (), ("predict",), made.now_us,
                      made.now_us - DAY_US, made.now_us + 20 * DAY_US, 7 * DAY_US, 2, 10_000, made.now_us + DAY_US, ())
    entry = entered("lease", lease=licence.id)
    with act.transaction():
        act.record(LEASES, NewRow("new", {"licence": licence.to_dict(), "package": entry, "entry": entry, "currency": "CNY",
                                          "overage": 2_000_000_000, "mark": "0.01"}, account=who))
        charge_once(act, who, "lease", "reviews@1, 2026", 5_000_000_000, "CNY", entry)
    order = new_id("ctm")
    base = entered("package")
    with act.transaction():
        act.record(CUSTOM, NewRow("order", {"custom": order, "name": "acme-reviews", "base": "reviews@1", "entry": base}, account=who))
        act.record(CUSTOM, NewRow("quote", {"custom": order, "basis": "used", "micros": 800_000_000, "hour_micros": 9_000_000,
                                            "estimated_s": 1200, "expires_us": made.now_us + 9 * DAY_US}, account=who))
        act.record(CUSTOM, NewRow("records", {"custom": order, "records": 1234, "bytes": 98_765}, account=who))
    sold = entered("solution", settings={"name": "service-desk", "customer": who, "models": ["reviews@1", "tickets@2"],
                                         "limits": {"instances": "2 <b>"}, "texts": {"terms.md": "a" * 64}}, licences=["CC-BY-4.0"])
    charge_once(act, who, "solution", "service-desk", 20_000_000_000, "CNY", sold)
    made.ids |= {"lease": licence.id, "custom": order, "solution": sold}
