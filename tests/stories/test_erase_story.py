"""One person through a whole shop, and out of it again: data, models, labels, sales, and what lies outside."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from mofang.core.run import leased
from mofang.core.shop import Shop
from tests.data.erasing import traces, unpacked
from tests.stories.terminal import Done, Inside, Server

PERSON, NOTE = "张伟", "青铜钥匙藏在梧桐树洞里"
RECIPE = '''
"""reviews: what guests say."""
from mofang.recipe import augment, baseline, clean, collect, evaluate, export, package, snapshot, train

NAME = "reviews"


def main(shop, budget):
    records = shop.run(collect, source="评论.csv", licence="own", text=("评论",), label="评价", person="客户", categories=("城市",))
    cleaned = shop.run(clean, records)
    data = shop.run(snapshot, cleaned / "kept", task="text_classification", label="评价", inputs=("评论",), validation=0.2, test=0.2)
    grown = shop.run(augment, data)
    model = shop.run(train, grown, family="linear")
    graph = shop.run(export, model)
    evidence = shop.run(evaluate, graph, data / "test", shop.run(baseline, data), resamples=100)
    return shop.run(package, graph, evidence, seconds=0.02)
'''
WORDS = {"good": ("很好", "满意", "干净", "热情"), "bad": ("很差", "失望", "肮脏", "冷漠")}
THINGS = ("房间", "早餐", "前台", "服务", "位置", "电梯", "窗户", "毛巾")


def write_source(path: Path, rows: int = 200) -> None:
    """Reviews of forty people; every twentieth is the planted person's, with a sentence that nobody else wrote."""
    chance = random.Random(5)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["客户", "评论", "评价", "城市"])
        for row in range(rows):
            words = "，".join(chance.choice(THINGS) + chance.choice(WORDS["bad" if row % 2 else "good"]) for _ in range(4))
            planted = row % 10 == 3 or row % 20 == 6
            text = f"{NOTE}{row}，{words}" if planted else f"第{row}单，{words}"
            writer.writerow([PERSON if planted else f"客户{row % 40}", text, ("好评", "差评")[row % 2],
                             "青石村" if planted else ("上海", "北京")[row % 3 == 0]])


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A company in which the planted person stands everywhere."""
    terminal = Inside(tmp_path_factory.mktemp("founder") / "company")
    write_source(terminal.folder / "评论.csv")
    (terminal.folder / "reviews.py").write_text(RECIPE, encoding="utf-8")
    terminal.type("run", "reviews.py")
    terminal.type("collect", "--source", "评论.csv", "--licence", "own", "--text", "评论", "--label", "评价", "--person", "客户",
                  "--categories", "城市", "--name", "records")
    terminal.type("protect", "records", "--name", "safe")
    terminal.type("clean", "safe/kept", "--near-duplicate", "0", "--name", "safe-clean")
    cut = ("--label", "评价", "--validation", "0.2", "--test", "0.2")
    terminal.type("snapshot", "records", "--task", "text_classification", "--inputs", "评论", *cut, "--name", "other")
    terminal.type("snapshot", "records", "--task", "table_classification", "--inputs", "城市", *cut, "--name", "towns")
    terminal.type("features", "towns", "--name", "towns-features")
    terminal.type("train", "towns-features", "--name", "towns-model")
    terminal.type("assess", "other", "--name", "report")
    terminal.type("diff", "records", "other/train")
    terminal.type("export", "records", "--format", "csv", "--out", "outside")
    terminal.type("export", "reviews", "--out", "reviews.mofang")
    label(terminal)
    return terminal.folder


@pytest.fixture
def terminal(stocked: Path, tmp_path: Path) -> Inside:
    """A copy of the company for one test."""
    shutil.copytree(stocked, tmp_path / "company")
    return Inside(tmp_path / "company")


def label(terminal: Inside) -> None:
    """A project in words: answered in the queue, remarked upon, imported in bulk, decided and put together."""
    from mofang.data.labelling import queue

    terminal.type("label", "new", "mood", "records", "--kind", "text", "--overlap", "2")
    tasks = json.loads(terminal.type("label", "next", "mood", "--count", "8").out)["tasks"]
    shop = Shop(terminal.shop)
    for one in tasks:
        said = NOTE if NOTE in str(one) else "普通"
        terminal.type("label", "answer", "mood", str(one["task"]), json.dumps({"text": f"{said}{one['task']}"}, ensure_ascii=False))
        shop.act(queue.label_comment, project="mood", task=one["task"], text=f"{PERSON}说的：{said}")
    lines = [{"record": one["record"], "person": "wang", "answer": {"text": one["values"]["评论"][:12]}} for one in rows_of(terminal)]
    (terminal.folder / "wang.jsonl").write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in lines), encoding="utf-8")
    terminal.type("label", "import", "mood", "wang.jsonl")
    terminal.type("label", "adjudicate", "mood", str(tasks[3]["task"]), json.dumps({"text": NOTE}, ensure_ascii=False))
    terminal.type("label", "aggregate", "mood")
    terminal.type("label", "export", "mood", "mood.json", "--format", "label-studio")


def rows_of(terminal: Inside) -> list[dict[str, Any]]:
    """The collected records as tasks show them."""
    from mofang.data.records import RecordReader

    found = Shop(terminal.shop).find("records")
    return [{"record": row["id"], "values": row} for batch in RecordReader(found).batches() for row in batch.rows()]


def left(terminal: Inside) -> list[str]:
    """Where anything of the planted person can still be read: files as they lie, and all that the shop's keys open."""
    shop = Shop(terminal.shop)
    found = traces(terminal.shop, *(one.decode() for word in (PERSON, NOTE) for one in spelled(word)))
    for digest in sorted(name for name in shop.store.held() if len(name) == 64):
        with shop.store.open(digest) as file:
            data = unpacked(file.read())
        if any(one in data for word in (PERSON, NOTE) for one in spelled(word)):
            found += [f"{entry.body['output']['kind']} {entry.kind}/{part[0]}" for entry in shop.ledger.entries()
                      for part in entry.body.get("output", {}).get("parts", ()) if part[2] == digest] or [digest]
    return found


def spelled(word: str) -> tuple[bytes, ...]:
    """A word in plain, and as JSON escapes it."""
    return word.encode(), json.dumps(word)[1:-1].encode(), json.dumps(json.dumps(word)[1:-1])[1:-1].encode()


def sell(terminal: Inside) -> Done:
    """Sold, asked by the person too, and billed."""
    sold = terminal.type("sell", "reviews", "--to", "书店", "--price", "5/1000")
    token = next(word for word in sold.out.split() if word.startswith("mf_"))
    with Server(terminal, "reviews") as server:
        body = {"评论": f"我是{PERSON}，{NOTE}，房间很好"}
        one = server.predict("reviews", body, token, idempotency_key="zhang-1")
        assert one.code == "ok" and server.predict("reviews", body, token, idempotency_key="zhang-1").body == one.body
    return terminal.type("invoice", "书店", "--early", "--json")


def test_one_person_leaves_the_whole_shop(terminal: Inside) -> None:
    number = sell(terminal).json["number"]
    terminal.type("export", "--all", "--out", "company-export")
    assert left(terminal) != [] and traces(terminal.shop, NOTE) == [], "plain nowhere on the disk, readable with the keys"
    looked = terminal.type("erase", PERSON, "--dry-run", "--json").json
    told = terminal.type("erase", PERSON, "--yes", "--why", "request 7", "--json").json
    assert left(terminal) == [] and terminal.type("verify", "--json").json["verified"] is True
    kinds = {one["kind"] for one in told["artifacts"]}
    assert {"records", "cleaned", "protected", "survey", "snapshot", "assessment", "evaluation", "answers", "brought", "tasks",
            "model", "difference"} <= kinds, kinds
    assert {name for one in told["models"] for name in one["names"]} == {"towns-model@1"}
    assert [one["names"] for one in told["packages"]] == [["reviews@1"]] and "mofang run reviews.py" in told["again"]
    assert {one["file"] for one in told["exports"]} == {"reviews.mofang", "outside", "mood.json", "company-export"}
    assert [one["number"] for one in told["invoices"]] == [number] and told["customers"] == ["书店"]
    assert told["labels"] == ["mood"] and told["records"] == looked["records"] > 10
    assert any("encoder/table.json" in one["fitted"] for one in told["models"]), "a village of one person stands in the levels"


def test_the_screen_says_whom_to_tell(terminal: Inside) -> None:
    terminal.type("sell", "reviews", "--to", "书店", "--price", "5/1000")
    said = terminal.type("erase", PERSON, "--yes").out
    for words in ("not removed from weights", "package reviews@1: train it again", "have a key for it: 书店", "lose these tasks: mood",
                  "outside left this shop", "reviews.mofang left this shop", "encoder/", "mofang run reviews.py"):
        assert words in said, words


def test_not_while_a_run_is_at_work_and_while_a_server_answers(terminal: Inside) -> None:
    shop = Shop(terminal.shop)
    token = next(word for word in terminal.type("sell", "reviews", "--to", "书店", "--price", "5/1000").out.split() if word.startswith("mf_"))
    with leased(shop, "f" * 64), Server(terminal, "reviews") as server:
        start = {"stage": "clean", "version": 1, "settings": {}, "inputs": []}
        shop.ledger.append("start", "f" * 64, shop.actor, start)
        assert terminal.type("erase", PERSON, "--yes", status=1).code == "erase-while-running"
        assert server.predict("reviews", {"评论": "房间很好"}, token).code == "ok"
    with Server(terminal, "reviews") as server:
        before = server.predict("reviews", {"评论": "房间很好"}, token).json
        terminal.type("erase", PERSON, "--yes")
        after = server.predict("reviews", {"评论": "房间很好"}, token)
        assert after.code == "ok" and {**after.json, "request_id": ""} == {**before, "request_id": ""}, "serving goes on, weights as they are"
    with Server(terminal, "reviews") as server:
        assert server.predict("reviews", {"评论": "房间很好"}, token).code == "ok", "and starts again"
    assert left(terminal) == []
    terminal.type("verify")


def test_the_day_after(terminal: Inside) -> None:
    terminal.type("erase", PERSON, "--yes")
    said = terminal.type("run", "reviews.py").out
    assert "reviews@2" in said, said
    assert left(terminal) == []
    terminal.type("verify")
