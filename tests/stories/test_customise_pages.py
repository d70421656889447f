"""docs/customise.md and docs/solution.md as a person follows them, and what is refused on the way."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.billing.balance import balance_of
from mofang.trade.billing.oneoff import oneoffs
from mofang.trade.customs import orders as trade
from mofang.trade.customs.room import FILE_BYTES_MOST, open_room, read_rows
from mofang.trade.customs.room import own_rows as own_rows_of
from mofang.trade.customs.terms import forbidding
from tests.stories.conftest import Made
from tests.stories.terminal import Inside
from tests.stories.test_customise import own_rows, plain_texts

DOCS = Path(__file__).resolve().parents[2] / "docs"
INPUTS = [{"name": "评论", "role": "text"}, {"name": "n", "role": "number"}]


@pytest.fixture(scope="module")
def company(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Inside:
    folder = tmp_path_factory.mktemp("pages") / "company"
    shutil.copytree(made.folder, folder)
    rows = [json.loads(line) for line in own_rows(folder / "own.jsonl", 100).read_text(encoding="utf-8").splitlines()]
    lines = ["评论,评价", *(f"{row['评论']},{row['评价']}" for row in rows)]
    (folder / "own.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "terms.md").write_text("Support for a year.\n", encoding="utf-8")
    return Inside(folder)


def blocks(page: str, language: int = 0) -> list[list[str]]:
    text = (DOCS / page).read_text(encoding="utf-8").split("## 中文")[language]
    return [shlex.split(line)[1:] for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def test_the_page_leads_from_an_order_to_the_proof(company: Inside) -> None:
    said = {" ".join(words[:2]): company.type(*words).out for words in blocks("customise.md")}
    assert "charged once: ¥500.00" in said["customise run"] and "delivered" in said["customise status"]
    assert "acme-reviews" in said["customise"] and "mf_live_" in said["key new"]
    assert "was deleted on" in said["customise check"] and "ledger verified" in said["verify"]
    company.type("invoice", "Acme", "--early")
    number = company.type("invoice", "--json").json[0]["invoice"]
    tree = company.type("trace", number, "1").out
    assert "customised" in tree and "reviews@1" in tree and "the customer's own" in tree and "own.jsonl" in tree, "also after deletion"
    shop = Shop.open(company.shop, make=False)
    assert balance_of(shop.control, shop.control.rows("select account from account")[0][0], now_us()).held == 0


def test_the_page_of_solutions(company: Inside) -> None:
    company.type("customer", "limit", "Acme", "¥90000")
    for language in (0, 1):
        for words in blocks("solution.md", language):
            if words[:2] != ["customer", "new"]:
                company.type(*words)
    assert (company.folder / "desk" / "models" / "reviews-1.mofang").is_file()


def test_settled_by_what_was_used(company: Inside) -> None:
    """Without a price the estimate is the most; less was used, less is charged, and the rest can be spent again."""
    assert company.type("customise", "new", "Acme", "--base", "reviews@1", "--name", "甲方", status=1).code == "customise-rate-missing"
    company.type("rates", "--machine-hour", "¥36")
    quoted = company.type("customise", "new", "Acme", "--base", "reviews@1", "--name", "甲方", "--margin", "50", "--json").json
    shop = Shop.open(company.shop, make=False)
    order = trade.find_custom(shop.control, "甲方")
    assert quoted["basis"] == "used" and order.hour_micros == 54_000_000 and order.held == order.micros
    assert order.micros == -(-order.estimated_s * 54_000_000 // 3600 // 10_000) * 10_000
    company.type("customise", "add", "甲方", "own.csv")
    told = company.type("customise", "run", "甲方", "--learn", "own", "--json").json
    seconds = shop.ledger.get(told["entry"]).body["measures"]["used_s"]
    assert told["learnt_from"] == "own" and 0 < told["charged_micros"] <= order.micros
    assert told["charged_micros"] == min(order.micros, trade.whole(-int(-seconds // 1) * 54_000_000, "CNY"))


def test_what_is_charged_cannot_be_spent_again(company: Inside) -> None:
    company.type("customer", "new", "prepaid", "--credit", "0")
    company.type("customer", "top-up", "prepaid", "100.00", "--reference", "bank 7")
    order = ("customise", "new", "prepaid", "--base", "reviews@1", "--name")
    company.type(*order, "first", "--price", "60.00")
    assert refused(company, *order[1:], "second", "--price", "60.00") == "customise-unpaid", "the first holds it"
    make = ("solution", "make", "s", "--models", "reviews@1", "--terms", "terms.md", "--to", "prepaid", "--out", "p.solution", "--yes")
    company.type(*make, "--price", "40.00")
    assert company.type(*make[:2], "s2", *make[3:], "--price", "0.01", status=1).code == "solution-unpaid"
    company.type("customise", "delete", "first", "--yes")
    assert refused(company, *order[1:], "third", "--price", "60.01") == "customise-unpaid"
    company.type(*order, "fourth", "--price", "60.00")


def refused(company: Inside, *words: str) -> str:
    done = company.type("customise", *words, status=None)
    assert done.status != 0, done
    return done.code


def test_orders_that_are_refused(company: Inside) -> None:
    company.type("customer", "new", "poor", "--credit", "0")
    company.type("customer", "new", "tester", "--test")
    before = Shop.open(company.shop, make=False).journals.position("custom")
    new = ("--base", "reviews@1", "--price", "10.00")
    for words, code in ((("poor", *new), "customise-unpaid"), (("tester", *new), "customise-test-customer"),
                        (("nobody", *new), "customer-unknown"), (("Acme", *new, "--name", "reviews"), "customise-name-taken"),
                        (("Acme", *new, "--name", "甲方"), "customise-name-taken"), (("Acme", *new, "--name", "../up"), "name-invalid"),
                        (("Acme", "--base", "nothing", "--price", "1.00"), "name-unknown"),
                        (("Acme", "--base", "reviews", "--price", "-5"), "amount-negative"),
                        (("Acme", "--base", "reviews", "--price", "0.001"), "customise-price")):
        assert refused(company, "new", *words) == code, words
    assert refused(company, "run", "nobodys") == refused(company, "status", "nobodys") == "customise-unknown"
    assert Shop.open(company.shop, make=False).journals.position("custom") == before, "nothing was written"


def test_a_quote_that_expired_and_a_base_that_is_gone(company: Inside) -> None:
    company.type("customise", "new", "Acme", "--base", "reviews@1", "--name", "late", "--price", "10.00", "--days", "2")
    assert refused(company, "run", "late") == "customise-no-records"
    company.type("customise", "add", "late", "own.csv")
    with mock.patch("mofang.trade.customs.delivery.now_us", lambda: now_us() + 3 * trade.DAY_US):
        assert refused(company, "run", "late") == refused(company, "add", "late", "own.jsonl") == "customise-quote-expired"
    company.type("customise", "quote", "late", "--price", "12.00")
    shop = Shop.open(company.shop, make=False)
    order = trade.find_custom(shop.control, "late")
    held = shop.control.rows("select micros from allotment where worker=?", (trade.holder(order.id),))
    assert held == [(12_000_000,)], "the old hold was given back"
    part = shop.find("reviews@1").part("graph/model.onnx").digest
    home, aside = shop.store.path(part), company.folder / "aside"
    home.rename(aside)
    assert refused(company, "run", "late") == refused(company, "quote", "late", "--price", "1.00") == "customise-base-gone"
    aside.rename(home)
    few = own_rows(company.folder / "few.jsonl", 8)
    company.type("customise", "new", "Acme", "--base", "reviews@1", "--name", "few", "--price", "1.00")
    company.type("customise", "add", "few", few.name)
    assert refused(company, "run", "few") == "customise-too-few"
    (company.folder / "new.jsonl").write_text(few.read_text(encoding="utf-8").replace("差评", "中评") * 3, encoding="utf-8")
    company.type("customise", "add", "few", "new.jsonl")
    assert refused(company, "run", "few", "--learn", "both") == "customise-labels"
    assert company.type("verify").status == 0


HOSTILE: list[tuple[bytes, str, str]] = [
    (b"", "csv", "customise-file"), (b"\xff\xfe\x00", "csv", "customise-file"), (b"{", "jsonl", "customise-file"),
    (b"[" * 100_000, "json", "customise-file"), (b"1\n", "jsonl", "customise-row"), (b"[]", "json", "customise-file"),
    ("评论,n,评价,more\na,1,b,c\n".encode(), "csv", "customise-columns"), ("评论,评价\na,b\n".encode(), "csv", "customise-columns"),
    ("评论,n,评价\na,1,b,extra\n".encode(), "csv", "customise-columns"), ("评论,n,评价\na,one,b\n".encode(), "csv", "customise-row"),
    ("评论,n,评价\n ,1,b\n".encode(), "csv", "customise-row"), ("评论,n,评价\na,1,\n".encode(), "csv", "customise-row"),
    ('{"评论": ["a"], "n": 1, "评价": "b"}'.encode(), "jsonl", "customise-row"),
    ('{"评论": true, "n": 1, "评价": "b"}'.encode(), "jsonl", "customise-row"),
    ('评论,n,评价\n"a,1,b\n'.encode(), "csv", "customise-file"), (b"x", "exe", "customise-file"),
    (b"x" * (FILE_BYTES_MOST + 1), "csv", "customise-file"), ("评论,n,评价\n".encode(), "csv", "customise-file"),
    (json.dumps({"评论": "x" * 100_001, "n": 1, "评价": "b"}).encode(), "jsonl", "customise-row"),
]


@pytest.mark.parametrize(("data", "kind", "code"), HOSTILE, ids=[f"{kind}-{code}-{at}" for at, (_, kind, code) in enumerate(HOSTILE)])
def test_files_that_are_refused_whole(data: bytes, kind: str, code: str) -> None:
    with pytest.raises(MofangError) as refusal:
        read_rows(data, kind, INPUTS, "评价")
    assert refusal.value.code == code


def test_rows_are_read_alike_from_every_form() -> None:
    wanted: list[dict[str, Any]] = [{"评论": "好", "n": 1.5, "评价": "a"}, {"评论": "坏", "n": None, "评价": "b"}]
    forms = {"csv": "评论,n,评价\r\n好,1.5,a\r\n坏,,b\r\n", "tsv": "\ufeff评论\tn\t评价\n好\t1.5\ta\n坏\t\tb\n",
             "jsonl": "\n".join(map(json.dumps, wanted)), "json": json.dumps({"records": wanted})}
    for kind, text in forms.items():
        assert read_rows(text.encode(), kind, INPUTS, "评价") == wanted, kind


@pytest.mark.parametrize(("said", "refused"), [
    ("MIT", False), ("CC-BY-4.0", False), ("CC-BY-NC-4.0", True), ("CC-BY-ND-4.0", True), ("CC BY-NC-ND", True), ("Apache-2.0", False),
    ("research only", True), ("仅供研究使用", True), ("不得商用", True), ("内部数据", False), ("own", False), ("incorporated", False),
])
def test_licences_that_forbid_it(said: str, refused: bool) -> None:
    assert bool(forbidding([said])) == refused == bool(forbidding([], [{"terms": said}]))


@pytest.mark.cluster  # teaches twice
def test_a_person_is_erased_out_of_a_room(company: Inside) -> None:
    """Out of the file that was given and of every step made of it; the rest can be taught again."""
    rows = own_rows(company.folder / "people.jsonl", 60).read_text(encoding="utf-8").splitlines()
    rows[7] = json.dumps({"评论": "张三丰说咖啡机冒烟，水箱旁", "评价": "差评"}, ensure_ascii=False)
    (company.folder / "people.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    company.type("customer", "new", "Lake Office", "--credit", "100")
    company.type("customise", "new", "Lake Office", "--base", "reviews@1", "--name", "people", "--price", "1.00")
    company.type("customise", "add", "people", "people.jsonl")
    company.type("customise", "run", "people")
    done = company.type("erase", "张三丰", "--yes", status=None)
    assert done.status == 0, done
    shop = Shop.open(company.shop, make=False)
    custom = trade.find_custom(shop.control, "people")
    room = open_room(shop, custom)
    held = [data for _, data in plain_texts(room)]
    assert held and not [data for data in held if "张三丰".encode() in data], "no byte of the room shows the person"
    assert len(list(own_rows_of(room))) == 59 and company.type("verify").status == 0
    assert room.named("people@1", "package") and room.find("people@1").read_json("package.json")["labels"]
    company.type("customise", "quote", "people", "--price", "1.00")
    assert company.type("customise", "run", "people", "--json").json["version"] == 2


def test_declined_cut_off_and_deleted_halfway(company: Inside) -> None:
    """A model that is worse is not charged; a power cut before the charge leads to one charge, one in a deletion to its end."""
    company.type("customise", "new", "Acme", "--base", "reviews@1", "--name", "cut", "--price", "3.00")
    company.type("customise", "add", "cut", "own.csv")
    worse = {"test_rows": 9, "base_right": 9, "own_right": 1, "verdict": "worse"}
    with mock.patch("mofang.trade.customs.teaching.beside_base", lambda *_: worse):
        said = company.type("customise", "run", "cut").out
    shop = Shop.open(company.shop, make=False)
    order = trade.find_custom(shop.control, "cut")
    assert "nothing is charged" in said and (order.state, order.version, order.held) == ("declined", 0, 0)
    sql = "select micros from allotment where worker=?"
    assert shop.control.rows(sql, (trade.holder(order.id),)) == [], "a declined order holds nothing"

    def charges() -> list[int]:
        return [one.micros for one in oneoffs(shop.control, order.account) if one.what.startswith("cut@")]

    with mock.patch("mofang.trade.customs.delivery._settled", side_effect=KeyboardInterrupt):
        company.type("customise", "run", "cut", status=None)
    assert charges() == [] and trade.find_custom(shop.control, "cut").state == "declined"
    told = company.type("customise", "run", "cut", "--json").json
    assert (told["version"], told["state"], charges()) == (1, "delivered", [3_000_000])
    entries = [one for one in shop.ledger.entries("done") if (one.body.get("foreign") or {}).get("room") == order.id]
    assert [one.id for one in entries] == [told["entry"]], "one delivery, one entry"
    assert shop.control.rows(sql, (trade.holder(order.id),)) == [], "nothing is held"

    with mock.patch("mofang.trade.customs.deletion._entered", side_effect=KeyboardInterrupt):
        company.type("customise", "delete", "cut", "--yes", status=None)
    assert trade.find_custom(shop.control, "cut").state == "deleting" and not (company.shop / "custom" / order.id).exists()
    assert refused(company, "run", "cut") == refused(company, "add", "cut", "own.csv") == "customise-deleted"
    assert company.type("verify").status == 0
    company.type("customise", "delete", "cut", "--yes")
    assert company.type("customise", "check", "cut-deleted.json").status == 0
    assert trade.find_custom(shop.control, "cut").state == "deleted" and company.type("verify").status == 0
