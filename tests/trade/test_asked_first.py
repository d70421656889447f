"""Whoever is asked to say yes is asked about something that can be done: mistakes are said before the question."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from mofang.core.errors import MofangError, wordings
from mofang.core.language import Language
from mofang.core.nearest import nearest
from mofang.core.shop import Shop
from tests.many import make_many
from tests.stories.terminal import Inside


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    """A shop with customers, models and a bill."""
    place = tmp_path_factory.mktemp("asked")
    make_many(place / "shop", usage=60, runs=60, invoices=False)
    (place / "terms.md").write_text("Support for a year.\n", encoding="utf-8")
    terminal = Inside(place)
    terminal.type("invoice", "Book Shop", "--early", "--clock-checked")
    return terminal


def positions(terminal: Inside) -> list[int]:
    shop = Shop.open(terminal.shop, make=False)
    journals = ("customers", "keys", "members", "charges", "leases")
    return [*(shop.journals.position(one) for one in journals), shop.ledger.head()[0]]


MAKE = "solution make desk --models reviews --terms terms.md --to 甲公司 --price 10.00"
MISTAKES = [
    ("credit INV-2020-01-0099 1 --units 1 --why wrong", "invoice-unknown"),
    ("credit NUMBER 99 --units 1 --why wrong", "invoice-line-unknown"),
    ("credit NUMBER 1 --units 99999999 --why wrong", "credit-beyond-line"),
    ("credit NUMBER 1 --units 1 --why no", "setting-refused"),
    ("customer credit-note Nobody 1.00 --reason wrong", "customer-unknown"),
    ("customer credit-note 甲公司 90000.00 --reason wrong", "credit-note-too-large"),
    ("customer keep Nobody --days 9", "customer-unknown"),
    ("member remove Nobody 李雷", "customer-unknown"),
    ("member remove 甲公司 李雷", "member-unknown"),
    ("customise delete nobodys", "customise-unknown"),
    ("lease new reviews --to Nobody --until 30d", "customer-unknown"),
    ("lease new nothing --to 甲公司 --until 30d", "name-unknown"),
    (MAKE.replace("甲公司", "Nobody"), "customer-unknown"),
    (MAKE.replace("terms.md", "none.md"), "solution-text"),
    (MAKE.replace("10.00", "ten"), "amount-unreadable"),
    (MAKE.replace("10.00", "900000.00"), "solution-unpaid"),
    (MAKE.replace("--models reviews", "--models nothing"), "name-unknown"),
    ("sell nothing --to 甲公司 --price 5", "name-unknown"),
    ("price set nothing 5", "name-unknown"),
    ("key revoke 123456789012", "key-not-found"),
    ("lease revoke lse_none", "lease-unknown"),
]


@pytest.mark.parametrize(("typed", "code"), MISTAKES, ids=[typed.replace(" ", "-")[:50] for typed, _ in MISTAKES])
def test_a_mistake_is_said_before_the_question(sold: Inside, typed: str, code: str) -> None:
    number = sold.type("invoice", "--json").json[0]["invoice"]
    before = positions(sold)
    done = sold.type(*typed.replace("NUMBER", number).split(), status=None)
    assert done.status != 0 and done.code == code, done
    assert positions(sold) == before


@pytest.mark.parametrize("typed", [
    "credit NUMBER 1 --units 2 --why wrong", "customer credit-note 甲公司 0.01 --reason wrong", "customer keep 甲公司 --days 9"])
def test_what_can_be_done_is_asked_and_nothing_is_done_before_the_answer(sold: Inside, typed: str) -> None:
    number = sold.type("invoice", "--json").json[0]["invoice"]
    before = positions(sold)
    assert sold.type(*typed.replace("NUMBER", number).split(), status=None).code == "yes-needed"
    assert positions(sold) == before and sold.type("verify", "--json").json["wrong"] == []
    assert sold.type(*typed.replace("NUMBER", number).split(), "--yes").status == 0
    assert positions(sold) != before


def test_where_nothing_is_near_none_is_named() -> None:
    assert nearest("x", []) == "-"
    found = MofangError("customise-unknown", name="x", nearest=nearest("x", []))
    assert found.worded("en")[0] == "There is no customisation 'x'." and found.worded("zh")[0] == "没有名为“x”的客户定制。"
    assert "the nearest is acme" in MofangError("customise-unknown", name="x", nearest="acme").what


def test_every_wording_reads_well_without_a_nearest() -> None:
    counted, languages = 0, get_args(Language)
    for code, entry in wordings().items():
        for language in languages:
            if "{nearest" not in "".join(entry[language]):
                continue
            counted += 1
            names = re.findall(r"\{(\w+)", "".join(text for one in languages for text in entry[one]))
            error = MofangError(code, **{name: "-" if name == "nearest" else "x" for name in names})
            for text in error.worded(language):
                assert "-'" not in text and not re.search(r"(nearest|近的|Did you mean)(?! that)", text), (code, text)
                assert not re.search(r"[.。;；,，]\s*[.。;；,，]", text) and (not text or text[-1] in ".。?？)）`\"'x"), (code, text)
    assert counted > 60
