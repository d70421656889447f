"""A customer's own model from the order to the proof that it is gone; nobody else ever sees a byte of it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import Made
from tests.stories.terminal import Inside, Server, eventually

CANARY = "KANARIENVOGEL金丝雀"


def own_rows(place: Path, count: int = 120, *, first: int = 0) -> Path:
    """A customer's own words for good and bad, which the base has never read; a canary in every row."""
    chance = random.Random(first + 5)
    good, bad = ("香醇", "顺滑", "省电"), ("嗡嗡响", "冒烟", "漏水")
    rows = [{"评论": f"{CANARY}{first + n}号咖啡机{chance.choice((bad, good)[n % 2])}，{chance.choice(('水箱', '滤网', '把手'))}旁",
             "评价": ("差评", "好评")[n % 2]} for n in range(count)]
    place.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return place


@dataclass
class Sold:
    """The shop in which 甲公司 has a model of its own, its server, and keys of two customers."""

    terminal: Inside
    server: Server
    keys: dict[str, str] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def sold(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sold]:
    folder = tmp_path_factory.mktemp("customise") / "company"
    shutil.copytree(made.folder, folder)
    terminal = Inside(folder)
    terminal.type("price", "set", "reviews", "5.00/1000", "--yes")
    for name in ("甲公司", "乙公司"):
        terminal.type("customer", "new", name)
    found = Sold(terminal, Server(terminal))  # it serves before the model is made
    with found.server:
        found.keys = {name: terminal.token(name) for name in ("甲公司", "乙公司")}
        found.said["new"] = terminal.type("customise", "new", "甲公司", "--base", "reviews@1", "--name", "咖啡", "--price", "500.00")
        terminal.type("customise", "new", "乙公司", "--base", "reviews", "--name", "tea", "--price", "80.00")
        own_rows(folder / "own.jsonl", 80)
        found.said["add"] = terminal.type("customise", "add", "咖啡", "own.jsonl")
        assert eventually(lambda: "reviews" in str(found.server.call("GET", "/v1/models", key=found.keys["甲公司"]).body), 5)
        sent = own_rows(folder / "sent.jsonl", 40, first=1000).read_bytes()
        found.said["sent"] = [found.server.call("POST", "/v1/customisations/%E5%92%96%E5%95%A1/records", sent, key=found.keys["甲公司"],
                                                content_type="application/x-ndjson") for _ in range(2)]
        found.said["run"] = terminal.type("customise", "run", "咖啡", "--json")
        yield found


def test_records_come_by_command_and_by_the_customers_own_key(sold: Sold) -> None:
    assert "set aside until" in sold.said["new"].out and "customise add 咖啡" in sold.said["new"].out
    assert "80 records" in sold.said["add"].out
    first, again = (one.json for one in sold.said["sent"])
    assert (first["taken"], first["records"], first["files"]) == (40, 120, 2), first
    assert again["repeated"] and (again["taken"], again["records"]) == (0, 120), "the same file is taken once"


def test_the_model_is_better_on_the_customers_own_rows_and_charged_once(sold: Sold) -> None:
    told = sold.said["run"].json
    assert told["learnt_from"] == "both" and told["rows"]["own"] == 120 and told["rows"]["base"] > 100
    assert told["figures"]["verdict"] == "better" and told["figures"]["own_right"] > told["figures"]["base_right"]
    assert told["charged_micros"] == 500_000_000 and told["calls"] == "¥5.00/1,000"
    tree = sold.terminal.type("trace", told["entry"]).out
    assert "reviews@1" in tree and "the customer's own" in tree and "evaluat" in tree, tree
    assert sold.terminal.type("customise", "run", "咖啡", status=1).code == "customise-delivered"
    assert sold.terminal.type("verify").status == 0


def test_only_its_own_customer_finds_it(sold: Sold) -> None:
    """To everybody else it is a name that nobody has: in lists, in answers, in what is served."""
    server, mine, other = sold.server, sold.keys["甲公司"], sold.keys["乙公司"]
    body = {"评论": "7号咖啡机冒烟，水箱旁"}
    path = "%E5%92%96%E5%95%A1"
    assert eventually(lambda: server.predict(path, body, mine).status == 200, 5)
    answered = server.predict(path, body, mine).json
    assert answered["answer"]["label"] == "差评" and answered["model"] == "咖啡@1" and answered["price"] == "0.005"
    for name in (path, f"{path}@1"):
        refused, nobody = server.predict(name, body, other), server.predict("nobodys", body, other)
        assert (refused.status, refused.code) == (nobody.status, nobody.code) == (404, "model-unknown")
        assert "咖啡" not in refused.json["error"]["fix"]
    assert "咖啡@1" in str(server.call("GET", "/v1/models", key=mine).json)
    assert "咖啡" not in str(server.call("GET", "/v1/models", key=other).json) and "咖啡" not in str(server.call("GET", "/health").json)
    assert [one["name"] for one in server.call("GET", "/v1/customisations", key=other).json["customisations"]] == ["tea"]
    tried = server.call("POST", f"/v1/customisations/{path}/records", b'{"a": 1}', key=other)
    assert (tried.status, tried.code) == (404, "customise-unknown") and "咖啡" not in tried.json["error"]["fix"].replace("咖啡@", "")
    assert server.call("GET", "/v1/customisations").code == "key-missing"
