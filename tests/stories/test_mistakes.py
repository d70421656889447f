"""Mistakes of users and of clients: each ends in a code, what happened and what to do; never in a traceback."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mofang.cli.group import run
from tests.stories.conftest import Made
from tests.stories.terminal import Inside, Server, Terminal

WRONG_NAMES = [
    (("modles",), "command-unknown", "'models'"),
    (("customer", "nwe", "x"), "command-unknown", "'customer new'"),
    (("predict", "reviwes", "x"), "name-unknown", "'reviews'"),
    (("predict", "reviews@7", "x"), "name-unknown", "'reviews@1'"),
    (("serve", "revews"), "name-unknown", "'reviews'"),
    (("trace", "rewiews"), "name-unknown", "'reviews'"),
    (("price", "set", "reveiws", "1"), "name-unknown", "'reviews'"),
    (("key", "new", "Book Shp"), "customer-unknown", "'Book Shop'"),
    (("invoice", "Bok Shop"), "customer-unknown", "'Book Shop'"),
    (("train", "reviews", "--familly", "linear"), "setting-unknown", "'--family'"),
    (("train", "reviews", "--family", "linear"), "kind-wrong", "snapshot"),
    (("explain", "snapshoot"), "word-unknown", "'snapshot'"),
]
WRONG_VALUES = [
    (("run", "nowhere.py"), "recipe-missing"),
    (("run", "reviews.py", "--budget", "soon"), "budget-unreadable"),
    (("run", "reviews.py", "--budget", "¥20"), "rate-not-set"),
    (("new", "nowhere.csv"), "source-missing"),
    (("new", "reviews.csv"), "recipe-exists"),
    (("price", "set", "reviews", "cheap"), "amount-unreadable"),
    (("price", "set", "reviews", "1/1000", "--starts", "2020-01-01"), "price-in-the-past"),
    (("customer", "new", "Book Shop"), "customer-exists"),
    (("customer", "new", ""), "setting-refused"),
    (("key", "revoke", "zzzzzzzz"), "key-not-found"),
    (("key", "rotate", "zzzzzzzz", "--lost"), "key-not-found"),
    (("sell", "reviews", "--to", "Book Shop"), "sale-price-needed"),
    (("sell", "reviews", "--to", "Book Shop", "--price", "5"), "yes-needed"),
    (("sell", "reviews", "--to", "Book Shpo", "--price", "5/1000"), "yes-needed"),
    (("price", "set", "reviews", "5"), "yes-needed"),
    (("settings", "sellr", "x"), "setting-not-known"),
    (("settings", "utc-offset", "Beijing"), "offset-unreadable"),
    (("settings", "invoice-language", "fr"), "language-unknown"),
    (("rates", "--machine-hour", "cheap"), "amount-unreadable"),
    (("trace", "INV-2026-01-0001"), "name-unknown"),
    (("trace", "req_01m8174yazpexjj9v07nrzw13q"), "request-unknown"),
    (("predict", "reviews", "x", "--out", "no/such/folder/x"), "file-not-writable"),
    (("invoice", "Book Shop", "--preview", "--out", "."), "file-not-writable"),
    (("--shop", "https://example.com", "status"), "shop-not-joined"),
]


CODE = re.compile(r"✗ (\S.+)\n→ (\S.+)  \[([a-z-]+)\]\n", re.DOTALL)


@pytest.fixture(scope="module")
def office(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """One shop for all mistakes: none of them changes it."""
    folder = tmp_path_factory.mktemp("office") / "company"
    shutil.copytree(made.folder, folder)
    terminal = Inside(folder)
    terminal.type("customer", "new", "Book Shop")
    return terminal


@pytest.fixture
def here(office: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Stand in the office's folder, inside this process: what the terminal calls is one function."""
    monkeypatch.chdir(office.folder)
    monkeypatch.setenv("MOFANG_LANG", "en")
    monkeypatch.delenv("MOFANG_SHOP", raising=False)
    return office


@pytest.mark.parametrize(("words", "code", "nearest"), WRONG_NAMES, ids=lambda one: " ".join(one) if isinstance(one, tuple) else "")
def test_a_wrong_name_is_answered_with_the_nearest(here: Terminal, capsys: pytest.CaptureFixture[str], words: tuple[str, ...],
                                                   code: str, nearest: str) -> None:
    assert run(list(words)) == 1
    found = CODE.fullmatch(capsys.readouterr().err)
    assert found and found[3] == code and nearest in found[1] + found[2]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("words", "code"), WRONG_VALUES, ids=lambda one: " ".join(one) if isinstance(one, tuple) else "")
def test_a_wrong_value_ends_in_a_code(here: Terminal, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                      words: tuple[str, ...], code: str, language: str) -> None:
    monkeypatch.setenv("MOFANG_LANG", language)
    assert run(list(words)) == 1
    found = CODE.fullmatch(capsys.readouterr().err)
    assert found and found[3] == code
    assert bool(re.search("[\u4e00-\u9fff]", found[1])) == (language == "zh")


def test_exit_statuses_and_json_errors(office: Terminal) -> None:
    """1 for a mistake, 2 for wrong usage; with --json the error is JSON too."""
    done = office.type("run", "nowhere.py", "--json", status=1)
    assert done.json["error"]["code"] == "recipe-missing" and done.json["error"]["fix"] and done.err == ""
    assert "--json" in office.type("verify", "--jsn", status=2).err, "click offers the nearest flag"
    assert office.type("price", "set", "reviews", status=2).out == ""


BROKEN = {
    "nothing": "", "only a head": "text,label\n", "one class": "text,label\n甲,a\n乙,a\n丙,a\n丁,a\n戊,a\n己,a\n",
    "a doubled column": "text,text,label\n甲,甲,a\n乙,乙,b\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_records_that_no_model_can_come_from(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    """Found by ``new`` or, at the latest, by ``run``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOFANG_LANG", "en")
    (tmp_path / "few.csv").write_text(BROKEN[kind], encoding="utf-8")
    if run(["new", "few.csv"]) == 0:
        assert run(["run", "few.py", "--budget", "5s"]) == 1
    assert CODE.search(capsys.readouterr().err)


@pytest.fixture(scope="module")
def served(office: Terminal) -> Iterator[tuple[Server, str]]:
    """The office's server, and a test key."""
    token = office.token("Book Shop", "--test")
    with Server(office, "reviews") as server:
        yield server, token


BAD_BODIES: list[tuple[Any, int, str]] = [
    (b"", 400, "body-not-json"), (b"{", 400, "body-not-json"), (b'{"text": NaN}', 400, "body-not-json"),
    (b'{"text": Infinity}', 400, "body-not-json"), ("\u623f\u95f4".encode("gb18030"), 400, "body-not-json"),
    ([1, 2], 422, "body-wrong-shape"), ("text", 422, "body-wrong-shape"), ({}, 422, "value-missing"),
    ({"text": 5}, 422, "value-wrong-type"), ({"text": None}, 422, "value-wrong-type"), ({"text": "  "}, 422, "text-empty"),
    ({"txet": "x"}, 422, "input-unknown"), ({"text": "x", "more": 1}, 422, "input-unknown"),
    ({"records": []}, 422, "records-empty"), ({"records": [{"text": "x"}, 3]}, 422, "body-wrong-shape"),
    ({"records": [{"text": "x"}] * 1_001}, 413, "records-too-many"), ({"text": "x" * 100_001}, 413, "text-too-long"),
    (b'{"text": "\\ud800"}', 400, "body-not-json"),
]


@pytest.mark.parametrize(("body", "status", "code"), BAD_BODIES, ids=[f"{n} {row[2]}" for n, row in enumerate(BAD_BODIES)])
def test_bad_bodies_are_refused_in_words(served: tuple[Server, str], body: Any, status: int, code: str) -> None:
    server, token = served
    english = server.predict("reviews", body, token)
    chinese = server.predict("reviews", body, token, accept_language="zh-CN,zh;q=0.9")
    assert (english.status, english.code) == (status, code) == (chinese.status, chinese.code)
    assert re.search("[\u4e00-\u9fff]", chinese.json["error"]["what"])


def test_a_body_that_is_too_large_is_refused_before_it_is_read(served: tuple[Server, str]) -> None:
    server, token = served
    head = (f"POST /v1/predict/reviews HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
            f"content-length: {(8 << 20) + 1}\r\n\r\n{{")
    with socket.create_connection(server.place, timeout=20) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"body-too-large"' in answer


@pytest.mark.parametrize(("method", "path", "status", "code"), [
    ("GET", "/", 404, "route-unknown"), ("GET", "/v1/predict/", 404, "route-unknown"), ("GET", "/docs", 404, "route-unknown"),
    ("GET", "/v1/predict/reviews", 405, "method-wrong"), ("POST", "/v1/usage", 405, "method-wrong"),
    ("POST", "/health", 405, "method-wrong"), ("POST", "/v1/predict/revews", 404, "model-unknown"),
    ("POST", "/v1/predict/..%2f..%2fetc%2fpasswd", 404, "route-unknown"),
])
def test_bad_routes(served: tuple[Server, str], method: str, path: str, status: int, code: str) -> None:
    server, token = served
    answer = server.call(method, path, {"text": "x"} if method == "POST" else None, key=token)
    assert (answer.status, answer.code) == (status, code)


def test_a_retry_key_belongs_to_one_request(served: tuple[Server, str]) -> None:
    server, token = served
    assert server.predict("reviews", {"text": "甲"}, token, idempotency_key="k").code == "ok"
    assert server.predict("reviews", {"text": "乙"}, token, idempotency_key="k").code == "retry-key-reused"
    assert server.predict("reviews", {"text": "甲"}, token, idempotency_key="x" * 201).code == "retry-key-invalid"


def test_refused_requests_cost_nothing(served: tuple[Server, str], office: Terminal) -> None:
    server, token = served
    before = server.call("GET", "/v1/usage", key=token).json["usage"]
    assert server.predict("reviews", {"text": ""}, token).status == 422
    assert server.call("GET", "/v1/usage", key=token).json["usage"] == before
    assert json.loads(office.type("verify", "--json").out)["verified"] is True
