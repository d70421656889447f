"""docs/four-ways.md, typed line by line by somebody who has nothing else: one model sold in every way, to the last cent."""

from __future__ import annotations

import calendar
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mofang.core.clock import day_of
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.billing.balance import balance_of
from mofang.trade.leases.licence import DAY_US
from mofang.trade.leases.runner import Leased
from tests.new.test_pages import agree
from tests.stories.conftest import hasten
from tests.stories.terminal import Done, Inside, Server, eventually

PAGE = Path(__file__).resolve().parents[2] / "docs" / "four-ways.md"
NUMBER, CODE, TOKEN = r"INV-\d{4}-\d\d-\d{4}", r"(?:[a-z2-7]{4}-){7}[a-z2-7]{4}", r"mf_live_\w+"


@dataclass
class Step:
    """One line of the page: what is typed, what it should print, where, and when."""

    words: list[str]
    shown: list[str]
    away: bool
    later: bool


def steps() -> Iterator[Step]:
    text = PAGE.read_text(encoding="utf-8").split("## 中文")[0]
    for away, block in re.findall(r"(<!-- at the customer's -->\n)?```console\n(.*?)```", text, re.DOTALL):
        for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            typed, *shown = piece.rstrip("\n").split("\n")
            command, _, remark = typed.partition("  #")
            yield Step(shlex.split(command), [line for line in shown if line.strip()], bool(away), "after the last day" in remark)


@dataclass
class Walk:
    """Two folders of one machine, the server that runs on, and what the screen showed."""

    seller: Inside
    customer: Inside
    shown: dict[str, str] = field(default_factory=dict)  # what stands for KEY, CODE, INVOICE
    said: list[tuple[str, Done]] = field(default_factory=list)
    server: Server | None = None

    def type(self, step: Step) -> None:
        words = [re.sub("KEY|CODE|INVOICE", lambda found: self.shown[found[0]], one) for one in step.words]
        if words[:2] == ["mofang", "serve"]:
            self.server = Server(self.seller, *words[2:])
            done = Done(0, f"Serving on {self.server.address.rsplit(':', 1)[0]}:8080", "")
        elif words[0] == "curl":
            done = self.curl(words)
        elif step.away:
            with away(later_us=8 * DAY_US if step.later else 0):
                done = self.customer.type(*words[1:], status=None)
        else:
            done = self.seller.type(*words[1:], status=None)
            if words[1] == "new":
                hasten(self.seller.folder / "reviews.py")
        for name, pattern in (("KEY", TOKEN), ("CODE", CODE), ("INVOICE", NUMBER)):
            if found := re.search(pattern, done.out):
                self.shown[name] = found[0]
        agree(step.shown, done.out + done.err)
        assert (done.status == 0) != any(line.startswith("✗") for line in step.shown), (step, done)
        self.said.append((" ".join(step.words), done))
        for name, here, there in (("reviews.lease", self.seller, self.customer), ("use.json", self.customer, self.seller)):
            if (here.folder / name).exists() and not (there.folder / name).exists():
                shutil.copyfile(here.folder / name, there.folder / name)

    def curl(self, words: list[str]) -> Done:
        """What curl would send."""
        assert self.server is not None
        headers = dict(line.split(": ", 1) for line in (words[at + 1] for at, one in enumerate(words) if one == "-H"))
        data = (self.seller.folder / words[words.index("-d") + 1].removeprefix("@")).read_bytes()
        path = words[1].removeprefix("http://127.0.0.1:8080")
        server, answers = self.server, []

        def answered() -> bool:  # a new key and a new model are known within a second
            answers.append(server.call("POST", path, data, **{name.replace("-", "_"): value for name, value in headers.items()}))
            return answers[-1].status not in (401, 404)

        assert eventually(answered, 5) and answers[-1].status == 200, answers[-1]
        return Done(0, answers[-1].body.decode(), "")

    def of(self, begins: str) -> Done:
        return next(done for typed, done in self.said if typed.startswith(begins))


@contextmanager
def away(later_us: int) -> Iterator[None]:
    """The customer's machine: no connection can be made, and perhaps it is later."""

    def refuse(*_: object) -> None:
        raise AssertionError("a leased model asked for the network")

    defaults = Leased.__init__.__kwdefaults__
    assert defaults is not None
    with mock.patch.object(socket.socket, "connect", refuse), mock.patch.dict(defaults, {"clock": lambda: now_us() + later_us}):
        yield


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    place = tmp_path_factory.mktemp("four-ways")
    walk = Walk(Inside(place / "seller"), Inside(place / "clinic"))
    snippet = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    subprocess.run([sys.executable, "-c", snippet], cwd=walk.seller.folder, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOFANG_LEASES", str(place / "home"))
        patch.setenv("HOME", str(place / "nobody"))
        try:
            for step in steps():
                walk.type(step)
            yield walk
        finally:
            if walk.server is not None:
                walk.server.stop()


def bills(walk: Walk) -> dict[str, dict[str, Any]]:
    """The newest bill of each customer."""
    return {one["customer"]: walk.seller.type("invoice", one["customer"], "--early", "--json").json
            for one in walk.seller.type("invoice", "--json").json}


def test_every_bill_to_the_last_cent(walked: Walk) -> None:
    """Of the subscription the share of the month's days, rounded once, and the units beyond its share of them."""
    day = day_of(now_us())
    of = calendar.monthrange(int(day[:4]), int(day[5:7]))[1]
    days = of - int(day[8:]) + 1
    over = 150 - 100 * days // of
    fee, overage = round(Fraction(3000 * days, of)), round(Fraction(over * 5, 10))  # in cents, half to even
    found = {name: [(line["kind"], line["amount_micros"]) for line in bill["lines"]] for name, bill in bills(walked).items()}
    assert found == {
        "Book Shop": [("usage", 750_000)],
        "Hotel": [("usage", overage * 10_000), ("subscription", fee * 10_000)],
        "Clinic": [("lease", 300_000_000), ("lease", 2_000_000)],
        "Coffee Co": [("usage", 750_000), ("customisation", 500_000_000)],
        "Acme": [("solution", 20_000_000_000)]}


def test_every_line_leads_to_licence_and_cost(walked: Walk) -> None:
    for name, bill in bills(walked).items():
        for line in bill["lines"]:
            told = walked.seller.type("trace", bill["number"], str(line["line"])).out
            told = " ".join(told.split())
            assert "licences: own" in told and re.search("their cost: (≈ )?¥", told), (name, line, told)
            assert "cost, own / total" in told and "reviews.csv" in told, (name, line, told)
            assert "our own shop" in told, "where the records came from"


def test_what_each_way_earned_is_what_was_billed(walked: Walk) -> None:
    found = walked.seller.type("price", "suggest", "reviews", "--json").json
    billed = {name: bill["total_micros"] for name, bill in bills(walked).items()}
    ways = {one["way"]: one for one in found["ways"]}
    assert {one["customer"]: one["earned_micros"] for one in found["ways"]} == billed
    assert list(ways) == ["metered", "subscription", "lease", "customisation", "solution"]
    assert [ways[name]["units"] for name in ways] == [150, 150, 0, 150, 0]
    for one in found["ways"]:
        assert one["margin_micros"] == one["earned_micros"] - one["serving_micros"] - one["making_micros"]
    shop = Shop.open(walked.seller.shop, make=False)
    own = shop.ledger.get(next(line["source_entry"] for line in bills(walked)["Coffee Co"]["lines"] if "charge" in line))
    extra = own.body["cost"]["own"]["micros"]
    assert sum(one["making_micros"] for one in found["ways"]) == found["making"] + extra > extra > 0
    assert ways["lease"]["serving_micros"] == ways["solution"]["serving_micros"] == 0, "they answer on the customer's machine"
    assert found["cpu_s"] > 0 and found["energy_wh"] > 0
    lines = walked.seller.type("price", "--suggest", "reviews", "--csv").out.splitlines()
    assert lines[0].startswith("way,customer,model,units,earned_micros") and len(lines) == 6
    assert walked.seller.type("costs", "--by", "way", "--json").json == found["ways"]
    walked.seller.language = "zh"
    try:
        told = walked.seller.type("price", "suggest", "reviews").out
        assert all(word in told for word in ("按量", "订阅", "租约", "定制", "解决方案", "合计", "分摊的制作成本")), told
    finally:
        walked.seller.language = "en"


def test_the_lease_ended_and_the_money_was_spent_once(walked: Walk) -> None:
    ended = [done for typed, done in walked.said if typed.startswith("mofang lease predict")]
    assert [done.code for done in ended] == ["ok", "ok", "lease-ended"]
    assert [json.loads(line)["label"] for line in ended[0].out.splitlines()] == ["好评"]
    assert not (walked.customer.folder / "shop").exists(), "the customer has no shop"
    shop = Shop.open(walked.seller.shop, make=False)
    names = dict(shop.control.rows("select name, account from account"))
    left = {name: balance_of(shop.control, account, now_us()).left for name, account in names.items()}
    totals = {name: bill["total_micros"] for name, bill in bills(walked).items()}
    assert left == {name: (100_000_000 if name == "Book Shop" else 0) - total for name, total in totals.items()}
    for name, account in names.items():
        found = balance_of(shop.control, account, now_us())
        charged = sum(line["amount_micros"] for line in bills(walked)[name]["lines"] if "charge" in line)
        assert found.charged == found.charged_month == charged
    assert walked.seller.type("verify", "--json").json["wrong"] == []
