"""Customers: names, limits, and payments in advance that are booked once."""

from __future__ import annotations

import pytest

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_limit, customer_new, customer_top_up, customers, find_customer
from mofang.trade.billing.balance import Balance, balance_of

YUAN = 1_000_000


def code_of(call: object, *args: object, **settings: object) -> str:
    with pytest.raises(MofangError) as caught:
        call(*args, **settings)  # type: ignore[operator]
    return caught.value.code


def test_a_new_customer_has_a_thousand_on_credit(any_shop: Shop) -> None:
    made = any_shop.act(customer_new, name="小明书店")
    assert find_customer(any_shop.control, "小明书店") == made == find_customer(any_shop.control, made.id[:12])
    assert balance_of(any_shop.control, made.id, now_us()).available == 1000 * YUAN
    any_shop.act(customer_limit, customer="小明书店", credit="¥250.50")
    assert balance_of(any_shop.control, made.id, now_us()).available == 250_500_000
    assert code_of(any_shop.act, customer_new, name="小明书店") == "customer-exists"
    assert [one.name for one in customers(any_shop.control)] == ["小明书店"]
    assert any_shop.journals.verify() == []


def test_the_same_payment_twice_is_one_payment(any_shop: Shop) -> None:
    made = any_shop.act(customer_new, name="Li", credit="0")
    first = any_shop.act(customer_top_up, customer="Li", amount="100", reference="transfer 7")
    again = any_shop.act(customer_top_up, customer="Li", amount="100.00", reference="transfer 7")
    assert not first.repeated and again.repeated
    assert balance_of(any_shop.control, made.id, now_us()).available == 100 * YUAN
    top_up = {"customer": "Li", "reference": "transfer 7"}
    assert code_of(any_shop.act, customer_top_up, amount="101", **top_up) == "top-up-differs"
    assert code_of(any_shop.act, customer_top_up, customer="Li", amount="0", reference="x") == "top-up-empty"
    assert code_of(any_shop.act, customer_top_up, customer="Li", amount="-5", reference="x") == "amount-negative"
    assert any_shop.journals.verify() == []


def test_a_wrong_name_is_answered_with_the_nearest(shop: Shop) -> None:
    assert code_of(shop.act, customer_limit, customer="nobody", credit="1") == "customers-none"
    shop.act(customer_new, name="bookshop")
    with pytest.raises(MofangError, match="bookshop"):
        shop.act(customer_limit, customer="bokshop", credit="1")
    assert code_of(shop.act, customer_new, name="dollars", credit="$5") == "currency-other"
    assert code_of(shop.act, customer_new, name=" padded ") == "setting-refused"


@pytest.mark.parametrize(("balance", "prepaid", "available"), [
    (Balance(credit=50, topped_up=100, debited=0, month=0, held=0), 100, 150),
    (Balance(credit=50, topped_up=100, debited=150, month=150, held=0), 100, 0),
    (Balance(credit=50, topped_up=100, debited=150, month=0, held=0), 0, 50),       # next month: new credit
    (Balance(credit=50, topped_up=200, debited=150, month=0, held=20), 50, 80),
    (Balance(credit=0, topped_up=100, debited=60, month=10, held=15), 50, 25),      # purely prepaid
    (Balance(credit=50, topped_up=0, debited=500, month=50, held=0), 0, 0),         # purely on credit
])
def test_what_is_free_to_spend(balance: Balance, prepaid: int, available: int) -> None:
    assert (balance.prepaid, balance.available) == (prepaid, available)
