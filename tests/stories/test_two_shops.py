"""Train in one shop, sell in another: by typing alone, in two folders that share nothing but one file."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stories.terminal import Inside, Server, Terminal

ROOT = Path(__file__).resolve().parents[2]
GOOD = "房间很好，早餐满意！"


@pytest.fixture
def file(terminal: Terminal) -> Path:
    """The model in a file, written by the shop that trained it."""
    terminal.type("rates", "--machine-hour", "¥3")
    shown = terminal.type("export", "reviews").out
    fingerprint = re.search(r"mofang import reviews-1\.mofang --from ([0-9a-f-]{39})", shown)
    assert fingerprint and fingerprint[1] in terminal.type("fingerprint").out
    return terminal.folder / "reviews-1.mofang"


def sold(seller: Terminal) -> tuple[str, str]:
    """One paid answer and its invoice: the request's id and the invoice's number."""
    seller.type("customer", "new", "书店")
    seller.type("price", "set", "reviews", "5.00/1000")
    token = seller.token("书店")
    with Server(seller, "reviews") as server:
        answer = server.predict("reviews", {"text": GOOD}, token)
        assert answer.code == "ok" and answer.json["answer"]["label"] == "好评" and answer.json["model"] == "reviews@1"
    number = seller.type("invoice", "书店", "--early", "--json", "--out", "bill.json").json["number"]
    return answer.json["request_id"], number


def nodes(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """All steps of a trace."""
    return [tree, *(one for below in tree.get("below", []) for one in nodes(below))]


def test_trained_here_sold_there_traced_back(terminal: Terminal, file: Path, tmp_path: Path) -> None:
    seller = Inside(tmp_path / "server", "zh")
    shutil.copy(file, seller.folder / "from-the-office.mofang")
    refused = seller.type("import", "from-the-office.mofang", status=1)
    assert refused.code == "yes-needed" and "--yes" in refused.err
    fingerprint = terminal.type("fingerprint", "--json").json["fingerprint"]
    assert seller.type("import", "from-the-office.mofang", "--from", "0" * 32, "--yes", status=1).code == "signer-other"
    shown = seller.type("import", "from-the-office.mofang", "--from", fingerprint, "--yes").out
    for words in ("reviews@1", fingerprint, "第一次见", "准确率", "own", "reviews.csv", "回答与对方一致", "mofang serve reviews"):
        assert words in shown, words
    assert seller.type("predict", "reviews", GOOD).out == terminal.type("predict", "reviews", GOOD).out
    assert seller.type("models", "--json").json[0]["licences"] == "own"
    request, number = sold(seller)
    for name in ((number, "1"), (request,)):
        traced = seller.type("trace", *name).out
        for words in ("reviews.csv", "许可证：own", "our own shop", "snapshot", "evaluation", "@ shop_", fingerprint[:9], "保存在模坊"):
            assert words in traced, words
    assert "其他模坊的成本" in seller.type("trace", number, "1").out
    steps = nodes(seller.type("trace", number, "1", "--json").json)
    snapshot = next(one for one in steps if one["stage"] == "snapshot")
    at_home = nodes(terminal.type("trace", "reviews", "--json").json)
    assert snapshot["entry"] in [one["entry"] for one in at_home] and snapshot["shop"]
    assert snapshot["digest"] == next(one for one in at_home if one["entry"] == snapshot["entry"])["digest"]
    forward = seller.type("trace", snapshot["entry"][:20], "--forward").out
    assert "由 import 得到" in forward and "reviews@1" in forward
    assert "账本已核对" in seller.type("verify").out
    assert "reviews-1.mofang" in terminal.type("trace", "reviews", "--forward").out, "at home one sees that it left"


def test_a_changed_table_of_the_other_shop_is_named(terminal: Terminal, file: Path, tmp_path: Path) -> None:
    from tests.stories.test_tamper import change

    seller = Inside(tmp_path / "server")
    seller.type("import", str(file), "--yes")
    assert change(seller.folder / "shop" / "ledger.db", "update foreign_entry set view=replace(view, '\"own\"', '\"CC0\"')")
    assert "other shops' entries" in seller.type("verify", status=3).out


def test_the_page_about_two_shops_does_what_it_says(copied: Callable[[str], Terminal], tmp_path: Path) -> None:
    """The commands of docs/two-shops.md, in order, each block in the shop that its first line names."""
    page = (ROOT / "docs" / "two-shops.md").read_text(encoding="utf-8").partition("## 中文")[0]
    office, server = copied("en"), Inside(tmp_path / "server")
    done = 0
    fingerprint = ""
    for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL):
        here = office if block.startswith("# office") else server
        for line in [one for one in block.splitlines() if one.startswith("mofang ")]:
            words = re.sub(r"\s+#.*$", "", line).replace("FINGERPRINT", fingerprint).split()[1:]
            if words[0] in ("serve",):
                continue
            said = here.type(*words).out
            if words[0] == "fingerprint":
                fingerprint = said.split()[1]
            if words[0] == "export":
                shutil.copy(office.folder / "reviews-1.mofang", server.folder)
            done += 1
    assert done >= 7


@pytest.mark.cluster
def test_into_a_shop_that_lies_in_postgresql(terminal: Terminal, file: Path, tmp_path: Path, postgres_url: str) -> None:
    from mofang.core.shop import Shop

    seller = Inside(tmp_path / "server")
    Shop.make(seller.folder / "shop", postgres_url)
    shown = seller.type("import", str(file), "--yes").out
    assert "reviews@1 is here" in shown
    _, number = sold(seller)
    assert "held by shop" in seller.type("trace", number, "1").out
    assert seller.type("verify", "--json").json["verified"]
