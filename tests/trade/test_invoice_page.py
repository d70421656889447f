"""The page of a bill: many lines, long figures and any writing are set so that they can be read, in the same bytes each time."""

from __future__ import annotations

from typing import Any

import pypdfium2
import pytest

from mofang.trade.accounts.agreed import customer_agree
from mofang.trade.billing import page
from mofang.trade.billing.fapiao import fapiao_rows
from mofang.trade.pricing.prices import price_set
from tests.trade.bookkeeping import NOVEMBER, Desk, books

__all__ = ["books"]  # a fixture


def line(at: int, micros: int = 617_280_000, **more: Any) -> dict[str, Any]:
    return {"line": at, "kind": "usage", "model": "评论情感分析@3", "package": "run_01JZZZZZZZZZZZZZZZZZZZZZZZ", "price_version": 2,
            "price_micros": 5_000_000_000, "units": 123_456, "requests": 1234, "late": 0, "exact_micros": micros + 3951,
            "amount_micros": micros, "merkle_root": "ab12" * 16, "seals": []} | more  # fmt: skip


def bill(lines: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    exact, total = (sum(one[name] for one in lines) for name in ("exact_micros", "amount_micros"))
    return {"format": 2, "number": "INV-2026-11-0042", "issued_us": NOVEMBER, "seller": {"name": "模坊", "rows": []}, "currency": "CNY",
            "period": {"name": "2026-10", "from_us": NOVEMBER - 31 * 86_400_000_000, "to_us": NOVEMBER, "utc_offset": "+08:00"},
            "ledger": {"entries": 12, "head": "9f" * 32}, "account": "acc_01JZZZ", "customer": {"name": "甲公司", "rows": []}, "lines": lines,
            "minor_micros": 10_000, "exact_micros": exact, "rounding_micros": total - exact, "total_micros": total} | more  # fmt: skip


def texts(pdf: bytes) -> list[str]:
    """What stands on each page, without its breaks."""
    document = pypdfium2.PdfDocument(pdf)
    return ["".join(one.get_textpage().get_text_range().split()) for one in document]


@pytest.mark.parametrize("language", ["zh", "en"])
def test_what_a_bill_says_can_be_read(language: page.Language) -> None:
    lines = [line(1, steps=[{"included": 1000}, {"units": 900, "rate": 8_000_000_000}], late=12, repeats=4),
             {"line": 2, "kind": "discount", "rate_ppm": 125_000, "base_micros": 10**9, "exact_micros": -125 * 10**6, "amount_micros": -125 * 10**6},
             {"line": 3, "kind": "other", "what": "שלום مرحبا *a* #b[c] $d$ \\ @e <f>", "exact_micros": 10**6, "amount_micros": 10**6},
             {"line": 4, "kind": "tax", "name": "增值税", "rate_ppm": 60_000, "base_micros": 10**9, "exact_micros": 6 * 10**7,
              "amount_micros": 6 * 10**7}]  # fmt: skip
    credits = [{"note": "n", "reason": "INV-2026-10-0031 / 2: 回答不完整", "amount_micros": -10**6}]
    document = bill(lines, credits=credits)
    made = page.render(document, language)
    assert made == page.render(document, language)
    (text,) = texts(made)
    assert {"zh": "账单", "en": "Invoice账单"}[language] in text and "-¥125.00" in text and "回答不完整" in text and "-¥1.00" in text
    assert "*a*#b[c]$d$\\@e<f>" in text, "a customer's words are never markup"
    assert {"zh": "税增值税6%", "en": "Tax增值税6%"}[language] in text and {"zh": "折扣12.5%", "en": "Discount12.5%"}[language] in text
    (preview,) = texts(page.render(document | {"number": ""}, language))
    assert "PREVIEW" in preview and "INV-2026-11-0042/" not in preview


def test_long_figures_leave_room_for_words() -> None:
    long = line(1, 999_999_999_999_990_000, units=10**15, price_micros=1, model="名字很长的模型" * 12 + "@17")
    found = texts(page.render(bill([long, *(line(at) for at in range(2, 9))]), "zh"))
    assert len(found) <= 2 and "名字很长的模型" * 2 in found[0] and "¥999,999,999,999.99" in found[0]


def test_a_bill_of_many_lines_is_a_small_file() -> None:
    made = page.render(bill([line(at, 10_000 * at) for at in range(1, 401)]), "zh")
    assert len(made) < 300_000 and len(texts(made)) < 60


def test_the_shares_of_a_tax_can_be_paid_in_yen(books: Desk) -> None:
    shop = books.shop
    from mofang.trade.accounts.customers import customer_new

    account = shop.act(customer_new, name="日本", credit="100000", currency="JPY").id
    for model, rate in (("words", "7"), ("numbers", "11")):
        books.prices[model] = shop.act(price_set, model=model, price=rate, currency="JPY")
    shop.act(customer_agree, customer="日本", tax="10%")
    books.use(3, model="words@1", at_us=NOVEMBER, account=account)
    books.use(5, model="numbers@1", account=account)
    from mofang.trade.billing.issuing import invoice_issue

    shop.act(invoice_issue, customer="日本", period="2026-11", early=True)
    rows = fapiao_rows(shop, "2026-11")
    assert [row["tax"] for row in rows] == ["5", "3"] and all("." not in row["total"] for row in rows)
