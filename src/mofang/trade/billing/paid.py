"""Money in: payments by whatever way, booked once each; and money paid in advance that is to be used by a day.

A payment is booked to the customer's balance: it pays what is owed and what will be. The reference (of the bank, WeChat,
Alipay or Stripe) is the payment's name: the same one twice is one payment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

from mofang.core.action import Act, action, turn
from mofang.core.clock import day_of
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import Journals, NewRow
from mofang.core.money import format_micros, parse_amount
from mofang.core.rule import Rule
from mofang.trade.accounts.customers import find_customer
from mofang.trade.accounts.lists import open_books, shop_offset
from mofang.trade.billing.balance import lock_accounts

Way = Literal["transfer", "wechat", "alipay", "stripe", "cash", "other"]
Reference = Annotated[str, Rule(min_length=1, max_length=200)]
Until = Annotated[str, Rule(pattern=r"^(20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]))?$")]


@dataclass(frozen=True)
class Payment:
    """A payment as it was booked; ``until`` is the last day on which it can be used ("" has no end)."""

    customer: str
    reference: str
    micros: int
    at_us: int
    way: str = ""
    until: str = ""
    lapsed_micros: int = 0
    repeated: bool = False


@action(may="money")
def pay(act: Act, *, customer: str, amount: str, reference: Reference, by: Way = "transfer", until: Until = "") -> Payment:
    """Book a payment of a customer. The same reference twice is one payment.

    ``until`` is the last day, on the shop's clock, on which money paid in advance can be used: what is left then lapses.
    Raises ``top-up-differs`` where the reference was booked with another amount, ``top-up-empty`` and ``payment-until``.
    """
    with turn(act, "customers") as db:
        found = find_customer(db, customer)
        micros = parse_amount(amount, found.currency)
        for one in payments(db, found.id):
            if one.reference == reference:
                if one.micros != micros:
                    raise MofangError("top-up-differs", reference=reference, booked=format_micros(one.micros, found.currency))
                return Payment(**{**one.__dict__, "repeated": True})
        if micros == 0:
            raise MofangError("top-up-empty")
        if until and (not _is_day(until) or until < day_of(now_us(), shop_offset(act.shop))):
            raise MofangError("payment-until", until=until)
        body: dict[str, Any] = {"reference": reference, "micros": micros, "way": by, **({"until": until} if until else {})}
        row = act.record("customers", NewRow("top-up", body, account=found.id))[0]
    return Payment(found.id, reference, micros, row.at_us, by, until)


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def payments(db: Database, account: str = "") -> list[Payment]:
    """All payments, or one customer's, oldest first."""
    condition, params = (" where topup.account=?", (account,)) if account else ("", ())
    sql = f"""select topup.account, topup.reference, micros, at_us, coalesce(way, ''), coalesce(until, ''),
        coalesce(lapsed_micros, 0)
        from topup left join topup_more on topup_more.account=topup.account and topup_more.reference=topup.reference{condition}
        order by at_us, topup.reference"""
    return [Payment(*row) for row in db.rows(sql, params)]


def lapse_due(journals: Journals, today: str) -> int:
    """Take from balances what was paid in advance, is unused, and could be used until a day before ``today``; how many payments.

    Money that ends sooner is used first, so what is left of a payment is what is left of the balance beyond all payments that
    end later or never, and beyond what servers have set aside. Run it as often as you like.
    """
    db = journals.db
    late = "select account, reference from topup_more where until<>'' and until<? and lapsed_us=0 order by account"
    accounts = sorted({row[0] for row in db.rows(late, (today,))})
    lapsed = 0
    for account in accounts:
        with db.transaction():
            journals.append("customers", [], writer="hand")  # its turn
            lock_accounts(db, [account])
            lapsed += _lapse(journals, account, today)
    return lapsed


def _lapse(journals: Journals, account: str, today: str) -> int:
    db = journals.db
    sql = """select topped_up_micros - coalesce((select sum(micros) from usage_day where account=?), 0)
        - coalesce((select sum(micros) from oneoff where account=?), 0),
        coalesce((select sum(micros) from allotment where account=?), 0) from account where account=?"""
    unused, held = (int(micros) for micros in db.rows(sql, (account,) * 4)[0])
    left = max(0, unused - max(0, held))
    open_ = [one for one in payments(db, account) if not one.lapsed_micros or not one.until]
    ended = {row[0] for row in db.rows("select reference from topup_more where account=? and lapsed_us<>0", (account,))}
    open_ = [one for one in open_ if one.reference not in ended]
    notes = int(db.rows("select coalesce(sum(micros), 0) from credit_note where account=?", (account,))[0][0])
    left = max(0, left - notes - sum(one.micros for one in open_ if not one.until))  # what never ends is used last
    rows = []
    for one in sorted((one for one in open_ if one.until), key=lambda one: (one.until, one.reference), reverse=True):
        rest = min(one.micros, left)
        left -= rest
        if one.until < today:
            rows.append(NewRow("lapse", {"reference": one.reference, "micros": rest}, account=account))
    journals.append("customers", rows, writer="hand")
    return len(rows)


def lapse(shop: Any) -> int:
    """``lapse_due`` for a shop, as of now on its own clock."""
    open_books(shop)
    return lapse_due(shop.journals, day_of(now_us(), shop_offset(shop)))
