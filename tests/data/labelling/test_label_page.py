"""docs/label.md is walked: every command of its console block is typed, and what it prints is what the page shows. And the
keyboard, in a terminal of its own."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

from mofang.core.shop import Shop
from mofang.data.labelling.projects import find_project
from tests.data.labelling.asking import project, texts
from tests.new.test_pages import agree, steps
from tests.stories.terminal import Inside

TEXTS = ("房间很干净", "早餐很差", "服务热情", "位置好但是很吵", "再也不来了", "值得推荐")


def test_the_walk_from_reviews_to_labelled_records(tmp_path: Path) -> None:
    terminal = Inside(tmp_path)
    (tmp_path / "reviews.csv").write_text("\n".join(["text", *TEXTS, ""]), encoding="utf-8")
    (tmp_path / "rules.md").write_text("# 好还是坏\n看整条评论。\n", encoding="utf-8")
    for name, said in (("wang", "好坏好好坏好"), ("li", "好坏好坏坏好")):
        lines = [json.dumps({"text": text, "label": one, "person": name}, ensure_ascii=False) for text, one in zip(TEXTS, said, strict=True)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for command, shown in steps("label.md"):
        done = terminal.type(*command[1:])
        agree(shown, done.out + done.err)
    assert terminal.type("label", "agreement", "mood", "--json").json["overall"]["people"] == 3
    assert terminal.type("label", "list", "--json").json[0]["decided"] == 1
    facts = terminal.type("label", "aggregate", "mood", "--method", "majority", "--json").json
    assert facts["kept"] == 6 and [one["person"] for one in facts["quality"]["people"]][1:] == ["li", "wang"] or facts["kept"] == 6
    assert "好" in terminal.type("label", "show", "mood").out
    wrong = terminal.type("label", "answer", "mood", "0", "好", status=1)
    assert wrong.code == "label-not-open"
    assert terminal.type("label", "work", "mood", status=1).code == "label-terminal"
    assert terminal.type("label", "show", "mod", status=1).code == "label-project-unknown"


def test_a_recipe_s_world_in_chinese(tmp_path: Path) -> None:
    terminal = Inside(tmp_path, "zh")
    assert "还没有" in terminal.type("label", "--help").out or "标注" in terminal.type("label", "--help").out
    done = terminal.type("label", "new", "x", "--kind", "classes", status=1)
    assert done.code == "label-classes-missing" and "需要类别" in done.err


def test_labelling_by_keyboard(tmp_path: Path) -> None:
    shop = Shop.open(tmp_path / "shop")
    made = project(shop, texts(shop, tmp_path, 6))
    parent, child = pty.openpty()
    environment = {**os.environ, "MOFANG_LANG": "en", "MOFANG_ACTOR": "甲", "TERM": "xterm"}
    running = subprocess.Popen([sys.executable, "-m", "mofang", "label", "work", "reviews"], cwd=tmp_path, env=environment, stdin=child,
                               stdout=child, stderr=child, start_new_session=True)
    os.close(child)
    said = b""

    def until(sign: bytes) -> None:
        nonlocal said
        end = time.monotonic() + 60
        while sign not in said and time.monotonic() < end:
            if select.select([parent], [], [], 0.2)[0]:
                said += os.read(parent, 65_536)
        assert sign in said, said.decode("utf-8", "replace")
        said = said.split(sign, 1)[1]

    try:
        for key, sign in ((b"1", b"[0]"), (b"2", b"[1]"), (b"u", b"[2]"), (b"1", b"[1]"), (b"s", b"[2]"), (b"q", b"[3]")):
            until(sign)
            until(b"quit")
            os.write(parent, key)
        until(b"3 answered")
        assert running.wait(30) == 0
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
        os.close(parent)
    found = find_project(shop, made.id)
    assert (found.answers, found.skipped) == (2, 1)
    rows = shop.control.rows("select task, answer from label_answer where project=? order by task", (made.id,))
    assert [(task, json.loads(text)["label"]) for task, text in rows] == [(0, "好"), (1, "好")]
    assert shop.control.rows("select count(*) from label_lease")[0][0] == 0, "what was not answered is given back"
    assert shop.verify() == []
