"""Labelling over HTTP: the whole way of a page, what each role may see, and refusals in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mofang.core.shop import Shop
from mofang.data.labelling.projects import find_project
from tests.data.labelling.asking import pictures, project, texts
from tests.web.consoling import Consoling, member


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consoling]:
    folder: Path = tmp_path_factory.mktemp("labels")
    shop = Shop.open(folder / "shop")
    project(shop, texts(shop, folder, 8), overlap=2, guidelines="# 好还是坏")
    project(shop, pictures(shop, folder), "photos", kind="boxes")
    running = Consoling(shop)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def tokens(console: Consoling) -> dict[str, str]:
    return {name: member(console.shop, name, *roles) for name, roles in (("甲", ("label",)), ("乙", ("label",)), ("管", ("label", "train")), ("看", ("look",)))}


def ask(console: Consoling, token: str, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = console.call(method, f"/api/label{path}", body, token=token)
    assert answer[0] == status, answer
    return json.loads(answer[2])


def test_a_page_asks_answers_and_changes(console: Consoling, tokens: dict[str, str]) -> None:
    told = ask(console, tokens["甲"], "GET", "/reviews")
    assert told["keys"] == {"1": "好", "2": "坏"} and told["guidelines_text"] == "# 好还是坏"
    assert told["answers_by_key"]["2"] == {"label": "坏"}
    first = ask(console, tokens["甲"], "POST", "/reviews/next", {"count": 2})
    assert [one["task"] for one in first["tasks"]] == [0, 1] and first["tasks"][0]["values"]["text"].startswith("第0条")
    answered = ask(console, tokens["甲"], "POST", "/reviews/answer", {"task": 0, "answer": {"label": "好"}, "ms": 800, "next": 1, "besides": [1]})
    assert answered["next"]["tasks"][0]["task"] == 2 and not answered["changed"]
    assert ask(console, tokens["甲"], "POST", "/reviews/answer", {"task": 0, "answer": {"label": "坏"}})["changed"]
    ask(console, tokens["甲"], "POST", "/reviews/skip", {"task": 1, "why": "不懂"})
    ask(console, tokens["甲"], "POST", "/reviews/comment", {"task": 2, "text": "两种意思"})
    assert ask(console, tokens["甲"], "POST", "/reviews/back", {})["returned"] == 1
    seen = ask(console, tokens["乙"], "GET", "/reviews/progress")
    assert (seen["answers"], seen["skipped"], seen["own"]) == (1, 1, None)
    assert ask(console, tokens["甲"], "GET", "/reviews/progress")["own"]["answers"] == 1
    assert {one["name"] for one in ask(console, tokens["乙"], "GET", "")} == {"reviews", "photos"}
    rows = console.shop.control.rows("select person from label_answer")
    assert rows == [("甲",)] and console.shop.verify() == []


def test_pictures_are_shown_to_whoever_was_given_them(console: Consoling, tokens: dict[str, str]) -> None:
    assert ask(console, tokens["乙"], "GET", "/photos/media/0", status=409)["error"]["code"] == "label-not-given"
    task = ask(console, tokens["乙"], "POST", "/photos/next", {})["tasks"][0]
    assert task["media"] == ["image"]
    status, headers, data = console.call("GET", f"/api/label/photos/media/{task['task']}", token=tokens["乙"])
    assert status == 200 and headers["content-type"] == "image/png" and data.startswith(b"\x89PNG")
    assert headers["x-content-type-options"] == "nosniff" and "default-src 'none'" in headers["content-security-policy"]
    assert console.call("GET", "/api/label/photos/media/2", token=tokens["管"])[0] == 200
    outside = {"task": task["task"], "answer": {"boxes": [{"x": 39, "y": 0, "width": 5, "height": 5, "label": "好"}]}}
    assert ask(console, tokens["乙"], "POST", "/photos/answer", outside, status=422)["error"]["code"] == "label-answer"
    inside = {"task": task["task"], "answer": {"boxes": [{"x": 1, "y": 1, "width": 5.5, "height": 5, "label": "好"}]}}
    assert ask(console, tokens["乙"], "POST", "/photos/answer", inside)["answer"]["boxes"][0]["width"] == 5.5


@pytest.mark.parametrize(("path", "body", "status"), [
    ("/nothing/next", {}, 404), ("/reviews/next", {"count": 0}, 422), ("/reviews/next", {"count": 10**9}, 422), ("/reviews/next", [], 422),
    ("/reviews/answer", {"task": -1, "answer": {}}, 422), ("/reviews/answer", {"task": 7, "answer": {"label": "好"}}, 409),
    ("/reviews/answer", {"task": 10**9, "answer": {"label": "好"}}, 404), ("/reviews/answer", {"task": 0, "answer": "好"}, 422),
    ("/reviews/answer", {"task": 0, "answer": {"label": "好"}, "by": "乙"}, 422), ("/reviews/skip", {"task": 5}, 409),
    ("/reviews/comment", {"task": 0, "text": ""}, 422), ("/reviews/back", {"tasks": [2**60]}, 422)])
def test_what_is_refused(console: Consoling, tokens: dict[str, str], path: str, body: Any, status: int) -> None:
    error = ask(console, tokens["乙"], "POST", path, body, status)["error"]
    assert error["what"] and error["fix"]


def test_only_who_labels_gets_in(console: Consoling, tokens: dict[str, str]) -> None:
    assert ask(console, tokens["看"], "GET", "/reviews", status=403)["error"]["code"] == "not-permitted"
    commands = {"label agreement reviews": "not-permitted", "label next reviews": "ok", "label work reviews": "command-at-server"}
    for line, code in commands.items():
        assert console.code(console.call("POST", "/api/commands", {"argv": line.split()}, token=tokens["乙"])) == code, line
    assert find_project(console.shop, "reviews").state == "open"
