"""Selling and looking back: one command to sell, a day on one screen, and a way back from each slip."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mofang.core.clock import day_of
from mofang.core.identity import now_us
from mofang.core.journal import NewRow
from mofang.core.shop import Shop
from tests.stories.conftest import Made
from tests.stories.terminal import Inside, Server, Terminal, eventually

BODY = {"text": "房间很干净，早餐满意"}
SAID = {
    "en": {"new": "(new customer)", "calls": "40,000 calls cost ¥200.00", "once": "cannot be shown again", "again": "no second one was made",
           "slip": "For a thousand calls write 5/1000", "back": "{money} given back", "served": "refused, 0 errors, p99",
           "credit": "credit note: wrong price", "unset": "rate not set"},
    "zh": {"new": "（新客户）", "calls": "40,000 次调用收费 ¥200.00", "once": "之后无法再次显示", "again": "没有再签发第二个",
           "slip": "若指每千次，请写成 5/1000", "back": "退还 {money}", "served": "次，出错 0 次，p99",
           "credit": "冲减：wrong price", "unset": "未设费率"},
}


@pytest.fixture
def terminal(copied: Callable[[str], Terminal]) -> Terminal:
    """A copy of the folder, in English, without a process for each command."""
    return Inside(copied("en").folder)


def token_in(text: str) -> str:
    return next(word for word in text.split() if word.startswith("mf_"))


def until(server: Server, key: str, price: str) -> list[str]:
    """Ask until an answer costs this; what each answer on the way cost."""
    found: list[str] = []
    assert eventually(lambda: found.append(server.predict("reviews", BODY, key).json["price"]) or found[-1] == price, 2)
    return found


def status(terminal: Terminal) -> dict[str, Any]:
    found: dict[str, Any] = terminal.type("status", "--json").json
    return found


@pytest.mark.parametrize("language", ["en", "zh"])
def test_sold_in_one_command_mispriced_and_put_right(copied: Callable[[str], Terminal], language: str) -> None:
    terminal, said = Inside(copied(language).folder, language), SAID[language]
    first = terminal.type("sell", "reviews", "--to", "书店", "--price", "5.00/1000", "--label", "first").out
    assert all(said[name] in first for name in ("new", "calls", "once")) and "mofang serve reviews" in first
    live = token_in(first)
    again = terminal.type("sell", "reviews", "--to", "书店", "--price", "5/1000").out
    assert said["again"] in again and "mf_" not in again
    assert [len(terminal.type(name, "--json").json) for name in ("customer", "key", "price")] == [1, 1, 1]
    with Server(terminal, "reviews") as server:
        pasted = shlex.split(next(line for line in first.splitlines() if line.startswith("curl ")))
        assert pasted[1].endswith("/v1/predict/reviews") and pasted[3] == f"authorization: Bearer {live}"
        answer = server.call("POST", "/v1/predict/reviews", json.loads(pasted[5]), key=live)
        assert answer.code == "ok" and re.fullmatch(r"req_\w{26}", answer.json["request_id"])
        assert {name: answer.json[name] for name in ("model", "units", "price")} == {"model": "reviews@1", "units": 1, "price": "0.005"}
        test = terminal.token("书店", "--test")
        assert eventually(lambda: server.predict("reviews", BODY, test).code == "ok", 2)
        assert server.predict("reviews", BODY, "mf_live_unknown").code == "key-mistyped"
        refused = terminal.type("price", "set", "reviews", "5", status=1)
        assert refused.code == "yes-needed" and said["slip"] in refused.err, "a slip is shown, and nothing waits"
        terminal.type("price", "set", "reviews", "5", "--yes")
        paid = [answer.json["price"], *until(server, live, "5"), *until(server, live, "5")]
        terminal.type("price", "set", "reviews", "5.00/1000", "--yes")
        paid += until(server, live, "0.005")
        wrong = paid.count("5") * 5
        assert eventually(lambda: status(terminal)["live"][0]["refused"] and status(terminal)["live"][0]["requests"] > len(paid), 3)
        screen = terminal.type().out
        assert said["served"] in screen and said["unset"] in screen and server.address in screen, screen
        told = status(terminal)["live"][0]
        assert told["models"] == ["reviews@1"] and told["refused"]["key-mistyped"] == 1
        before = server.call("GET", "/v1/usage", key=live).json["available"]
        note = ("customer", "credit-note", "书店", str(wrong), "--reason", "wrong price")
        assert terminal.type(*note, status=1).code == "yes-needed"
        assert said["back"].format(money=f"¥{wrong}.00") in terminal.type(*note, "--yes").out
        terminal.type(*note, "--yes")
        assert float(server.call("GET", "/v1/usage", key=live).json["available"]) == pytest.approx(float(before) + wrong)
    assert said["credit"] in terminal.type("invoice", "书店", "--preview").out
    document = terminal.type("invoice", "书店", "--early", "--json").json
    assert document["exact_micros"] == round(sum(map(float, paid)) * 1_000_000)
    assert document["total_micros"] == document["exact_micros"] + document["rounding_micros"] - wrong * 1_000_000
    assert sum(line["requests"] for line in document["lines"]) == len(paid), "test keys are metered and never invoiced"
    assert terminal.type("verify", "--json").json["verified"] is True
    told = status(terminal)
    assert (told["requests_today"], told["earned_today_micros"]) == (len(paid), document["exact_micros"])
    assert told["test_requests_today"] >= 1 and told["unbilled_micros"] == 0


def test_a_lost_key_is_replaced_and_ends_at_once(terminal: Terminal) -> None:
    lost = token_in(terminal.type("sell", "reviews", "--to", "书店", "--price", "5/1000").out)
    assert "mofang key rotate KEY --lost" in terminal.type("key").out
    id = lost.split("_")[2]
    assert terminal.type("key", "rotate", id, "--lost", status=1).code == "yes-needed"
    fresh = token_in(terminal.type("key", "rotate", id, "--lost", "--yes").out)
    with Server(terminal, "reviews") as server:
        assert server.predict("reviews", BODY, lost).code == "key-expired"
        assert server.predict("reviews", BODY, fresh).code == "ok"
    shown = terminal.type("sell", "reviews", "--to", "书店")
    assert fresh.split("_")[2] in shown.out and "no second one" in shown.out


def test_nothing_is_half_sold(terminal: Terminal) -> None:
    """A refusal leaves no customer, no price and no key behind."""
    for words, code in (((), "sale-price-needed"), (("--price", "¥"), "amount-unreadable"), (("--price", "$5/1000"), "currency-other"),
                        (("--price", "5/1000", "--credit", "much"), "amount-unreadable"),
                        (("--price", "5/1000", "--label", "x" * 101), "setting-refused")):
        assert terminal.type("sell", "reviews", "--to", "书店", *words, status=1).code == code
    assert [terminal.type(name, "--json").json for name in ("customer", "key", "price")] == [[], [], []]
    terminal.type("customer", "new", "tester", "--test")
    assert terminal.type("sell", "reviews", "--to", "tester", "--price", "5/1000", status=1).code == "key-live-refused"
    assert terminal.type("price", "--json").json == []
    sold = terminal.type("sell", "reviews@1", "--to", "Book Shop", "--price", "￥５/1k", "--credit", "0", "--json").json
    assert (sold["rate"], sold["credit_micros"], sold["new_customer"]) == (5_000_000_000, 0, True) and sold["token"]


def test_settings_stand_on_bills_and_the_clock_is_the_shops(terminal: Terminal) -> None:
    for name, value in (("seller", "艾可美科技有限公司"), ("address", "北京市海淀区 1 号"), ("tax-id", "91110108MA00000000"),
                        ("utc_offset", "+14"), ("invoice-language", "zh")):
        terminal.type("settings", name, value)
    assert {one["name"]: one["value"] for one in terminal.type("settings", "--json").json}["utc-offset"] == "+14:00"
    live = token_in(terminal.type("sell", "reviews", "--to", "书店", "--price", "5/1000").out)
    with Server(terminal, "reviews") as server:
        assert server.predict("reviews", BODY, live).code == "ok"
        used = server.call("GET", "/v1/usage", key=live).json
    today = day_of(now_us(), "+14:00")
    assert used["month"] == today[:7] and [one["day"] for one in used["usage"]] == [today]
    assert status(terminal)["requests_today"] == 1, "today on the shop's own clock"
    document = terminal.type("invoice", "书店", "--early", "--json").json
    assert document["seller"] == {"name": "艾可美科技有限公司", "rows": ["北京市海淀区 1 号", "税号 91110108MA00000000"]}
    assert document["period"]["utc_offset"] == "+14:00"
    terminal.type("settings", "tax-id", "")
    history = [row for row in Shop.open(terminal.folder / "shop").journals.rows("settings") if row.kind == "setting"]
    assert len(history) == 6 and history[-1].body["before"] == "91110108MA00000000" and history[-1].body["by"]
    assert terminal.type("verify", "--json").json["wrong"] == []


def test_rates_turn_seconds_into_money(terminal: Terminal) -> None:
    terminal.type("sell", "reviews", "--to", "书店", "--price", "5/1000")
    line = next(one for one in terminal.type("costs", "--json").json if one["name"] == "reviews")
    assert line["making"] == line["margin"] == "rate not set" and line["making_micros"] is None and line["making_s"] > 0
    assert "¥0.25" in terminal.type("rates", "--machine-hour", "¥3", "--kwh", "0.8").out
    terminal.type("rates", "--machine-hour", "6")
    assert [one["machine_hour"] for one in terminal.type("rates", "--json").json] == ["¥6.00", "¥3.00"], "with history"
    line = next(one for one in terminal.type("costs", "--json").json if one["name"] == "reviews")
    assert line["estimated"] and line["making_micros"] >= round(line["making_s"] * 6_000_000 / 3600) > 0
    assert line["margin_micros"] == -line["making_micros"] - (line["serving_micros"] or 0)
    months = terminal.type("costs", "--by", "month", "--json").json
    assert len(months) >= 1 and sum(one["making_s"] for one in months) == pytest.approx(line["making_s"], abs=0.1)
    assert terminal.type("costs", "--by", "customer", "--csv").out.startswith("name,")
    assert status(terminal)["spent_month_micros"] > 0


def test_two_people_issue_one_invoice(terminal: Terminal) -> None:
    live = token_in(terminal.type("sell", "reviews", "--to", "书店", "--price", "5/1000").out)
    with Server(terminal, "reviews") as server:
        assert server.predict("reviews", BODY, live).code == "ok"
    before = terminal.type("verify", "--json").json["entries"]
    terminal.type("invoice", "书店", "--preview")
    assert terminal.type("verify", "--json").json["entries"] == before, "a preview seals nothing"
    both = [terminal.start("invoice", "书店", "--early", "--json") for _ in range(2)]
    documents = [json.loads(one.communicate(timeout=60)[0]) for one in both]
    assert documents[0] == documents[1] and len(terminal.type("invoice", "--json").json) == 1


def test_a_clock_that_went_back_stops_bills_and_is_said(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.type("sell", "reviews", "--to", "书店", "--price", "5/1000")
    shop = Shop.open(terminal.folder / "shop")
    monkeypatch.setattr("mofang.core.journal.now_us", lambda: now_us() + 7_200_000_000)
    shop.journals.record("settings", [NewRow("setting", {"name": "seller", "value": "x"})])
    refused = terminal.type("invoice", "书店", "--early", status=1)
    assert refused.code == "clock-behind" and "--clock-checked" in refused.err
    assert terminal.type("invoice", "书店", "--early", "--clock-checked", status=1).code == "usage-none"
    assert "clock-behind" in [one["code"] for one in status(terminal)["alerts"]]
    assert "2.0 hours behind" in terminal.type().out


def test_the_screen_says_what_to_look_at(terminal: Terminal) -> None:
    assert status(terminal)["alerts"] == [], "a first day is no reason to alarm"
    terminal.type("customer", "new", "Book Shop", "--credit", "0")
    terminal.token("Book Shop")
    told = status(terminal)
    assert [one["code"] for one in told["alerts"]] == ["price-missing"] and told["next"][0] == "mofang price set reviews 5.00/1000"
    subprocess.run(["git", "init", "-q", "."], cwd=terminal.folder, check=True)
    subprocess.run(["git", "add", "-f", "shop/mofang.json"], cwd=terminal.folder, check=True)
    told = status(terminal)
    assert "in-git" in [one["code"] for one in told["alerts"]] and len(told["next"]) <= 3
    place = terminal.folder / "shop" / "mofang.json"
    settings = json.loads(place.read_text(encoding="utf-8"))
    place.write_text(json.dumps({**settings, "made_us": settings["made_us"] - 8 * 86_400_000_000}), encoding="utf-8")
    assert {"backup-never", "verify-old"} <= {one["code"] for one in status(terminal)["alerts"]}
    terminal.type("verify")
    terminal.type("backup", "--quick")
    assert {one["code"] for one in status(terminal)["alerts"]} == {"price-missing", "in-git"}
    assert "within the hour; backup within the hour" in terminal.type().out


def test_a_killed_run_and_a_killed_server_on_the_screen(made: Made, tmp_path: Path) -> None:
    terminal = Inside(tmp_path)
    for name in ("reviews.csv", "reviews.py"):
        shutil.copy(made.folder / name, tmp_path / name)
    running = terminal.start("run", "reviews.py", "--budget", "1m", start_new_session=True)
    parts = tmp_path / "shop" / "scratch"
    assert eventually(lambda: any(parts.glob("*/resume.json")), 60), running.communicate()
    running.kill()
    running.communicate()
    writer = Shop.open(tmp_path / "shop").ledger.db
    writer.run("update lease set until_us=0")
    told = status(terminal)
    assert told["unfinished"][-1]["resume"] == told["next"][0] == "mofang run reviews.py --budget 1m"
    (tmp_path / "below").mkdir()
    elsewhere = Inside(tmp_path / "below")
    assert status(elsewhere)["next"][0] == f"cd {tmp_path} && mofang run reviews.py --budget 1m"
    assert "reviews@1 is ready" in terminal.type(*told["next"][0].split()[1:]).out
    assert status(terminal)["unfinished"] == []
    server = Server(terminal, "reviews")
    assert eventually(lambda: bool(status(terminal)["live"]), 5)
    server.process.send_signal(signal.SIGKILL)
    server.stop()
    assert status(terminal)["live"] == [], "a killed server is not live"


def test_in_the_wrong_folder_the_way_is_shown(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type("models")
    lost = Inside(tmp_path / "lost")
    for words in (("models",), ("customer", "new", "x"), ("sell", "reviews", "--to", "x"), ("invoice",)):
        refused = lost.type(*words, status=1)
        assert refused.code == "shop-elsewhere" and f"cd {terminal.folder}" in refused.err
    assert f"cd {terminal.folder}" in lost.type().out and list(lost.folder.iterdir()) == [], "looking makes nothing"
    above = Inside(tmp_path, "zh")
    shown = above.type().out
    assert f"下级文件夹里有一个：{terminal.folder / 'shop'}" in shown
    assert above.type("runs", status=1).code == "shop-elsewhere"
    assert lost.type("--shop", "nowhere", "models", status=1).code == "shop-missing"
