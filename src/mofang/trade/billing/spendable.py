"""What a customer may still be charged at once: the balance, less what was charged once already."""

from __future__ import annotations

from datetime import UTC, datetime

from mofang.core.clock import day_of, shift
from mofang.core.database import Database
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.lists import shop_offset
from mofang.trade.billing.balance import balance_of, lock_accounts
from mofang.trade.billing.oneoff import oneoffs


def spendable(shop: Shop, db: Database, account: str) -> int:
    """Prepaid money and this month's credit, less use, holds and single charges, in micros; never below nothing.

    Call it in the transaction that then charges or sets aside: the account is locked until its end.
    """
    lock_accounts(db, [account])
    at_us, offset = now_us(), shop_offset(shop)
    balance = balance_of(db, account, at_us, offset)
    day = day_of(at_us, offset)
    begins = datetime(int(day[:4]), int(day[5:7]), 1, tzinfo=UTC) - shift(offset)
    begins_us = int(begins.timestamp()) * 1_000_000
    charged = oneoffs(db, account)
    month = sum(one.micros for one in charged if one.at_us >= begins_us)
    prepaid = max(0, balance.prepaid - (sum(one.micros for one in charged) - month))
    return max(0, prepaid + balance.credit - balance.month - balance.held - month)
