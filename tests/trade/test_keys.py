"""Keys: recognised by shape, compared by keyed hash, scoped, ended, rotated; never stored readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.core.token import ALPHABET, check_digits
from mofang.trade.accounts.customers import customer_new
from mofang.trade.accounts.keys import (
    DAY_US,
    Pepper,
    check_key,
    key_new,
    key_revoke,
    key_rotate,
    keys,
    new_token,
    token_id,
)


@pytest.fixture
def customer(shop: Shop) -> str:
    return str(shop.act(customer_new, name="Ming").id)


def admitted(shop: Shop, token: str, at_us: int = 0) -> str:
    known = {key.id: key for key in keys(shop.journals.db)}
    return check_key(known, Pepper(shop.secret("keys")), token, at_us or now_us()).id


def refused(shop: Shop, token: str, at_us: int = 0) -> str:
    with pytest.raises(MofangError) as caught:
        admitted(shop, token, at_us)
    return caught.value.code


def test_a_key_opens_the_door_and_is_stored_nowhere(shop: Shop, customer: str) -> None:
    issued = shop.act(key_new, customer="Ming", label="till")
    assert issued.token.startswith(f"mf_live_{issued.id}_") and admitted(shop, issued.token) == issued.id
    secret = issued.token.split("_")[3].encode()
    for path in shop.path.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path
    assert shop.journals.verify() == []


@given(st.booleans(), st.integers(0, 58), st.sampled_from(ALPHABET))
def test_any_changed_character_is_seen(test: bool, place: int, character: str) -> None:
    id, token = new_token(test)
    changed = token[:place] + character + token[place + 1 :]
    if changed == token:
        assert token_id(token) == id
    else:
        with pytest.raises(MofangError, match="check digits"):
            token_id(changed)


@pytest.mark.parametrize("token", ["", "x", "mf_live_", "mf_live_123456789012_" + "a" * 38, "密钥", "a" * 10_000])
def test_what_is_no_key_is_called_so(shop: Shop, token: str) -> None:
    assert refused(shop, token) == "key-mistyped"


def test_a_good_key_of_another_shop_is_unknown(shop: Shop, customer: str) -> None:
    issued = shop.act(key_new, customer="Ming")
    assert refused(shop, new_token(False)[1]) == "key-unknown"
    head = f"mf_live_{issued.id}_" + "0" * 32
    assert refused(shop, head + check_digits(head)) == "key-unknown"


def test_expiry_revocation_and_rotation(shop: Shop, customer: str) -> None:
    short = shop.act(key_new, customer="Ming", days=1)
    assert admitted(shop, short.token) and refused(shop, short.token, now_us() + DAY_US) == "key-expired"
    old = shop.act(key_new, customer="Ming", models=("reviews",), label="app")
    new = shop.act(key_rotate, key=old.id, overlap_days=7)
    assert admitted(shop, old.token) and admitted(shop, new.token) and new.models == ("reviews",)
    assert refused(shop, old.token, now_us() + 7 * DAY_US) == "key-expired"
    assert admitted(shop, new.token, now_us() + 8 * DAY_US)
    shop.act(key_revoke, key=new.token)
    first = shop.act(key_revoke, key=new.id)
    assert refused(shop, new.token) == "key-revoked" and first == shop.act(key_revoke, key=new.id)
    with pytest.raises(MofangError, match="revoked"):
        shop.act(key_rotate, key=new.id)
    assert shop.journals.verify() == []


def test_a_test_customer_gets_test_keys_only(shop: Shop) -> None:
    shop.act(customer_new, name="Trial", test=True)
    with pytest.raises(MofangError) as caught:
        shop.act(key_new, customer="Trial")
    assert caught.value.code == "key-live-refused"
    assert shop.act(key_new, customer="Trial", test=True).token.startswith("mf_test_")


def test_a_key_that_is_not_there(shop: Shop, customer: str) -> None:
    for name in ("nothing", "", "abc"):
        with pytest.raises(MofangError) as caught:
            shop.act(key_revoke, key=name)
        assert caught.value.code == "key-not-found"
