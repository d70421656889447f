"""What a customer may still be charged at once: the balance, with the account locked until it is charged."""

from __future__ import annotations

from mofang.core.database import Database
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.lists import shop_offset
from mofang.trade.billing.balance import balance_of, lock_accounts


def spendable(shop: Shop, db: Database, account: str) -> int:
    """Prepaid money and this month's credit, less use, holds and single charges, in micros; never below nothing.

    Call it in the transaction that then charges or sets aside: the account is locked until its end.
    """
    lock_accounts(db, [account])
    return max(0, balance_of(db, account, now_us(), shop_offset(shop)).available)


def lacking(shop: Shop, account: str, micros: int) -> int:
    """How far a charge would go beyond what a customer may spend now, in micros; its calls are refused after such a charge."""
    with shop.control.transaction():
        return max(0, micros - spendable(shop, shop.control, account))
