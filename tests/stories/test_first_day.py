"""The founder's first day: from a file of records to a paid answer, an invoice and its trace, by typing alone."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mofang.cli.group import run
from tests.stories.conftest import Made
from tests.stories.terminal import Server, Terminal

GOOD, BAD = "房间很好，早餐满意！", "屏幕难看，　客服冷漠"


def test_new_says_what_it_found_and_run_ends_in_a_named_model(made: Made) -> None:
    for words in ("Text classification: 243 records, 2 classes", "评价", "评论", "Next:", "mofang run reviews.py"):
        assert words in made.new.out
    recipe = (made.folder / "reviews.py").read_text(encoding="utf-8")
    assert len(recipe.splitlines()) <= 40 and 'licence="own"' in recipe
    for words in ("test accuracy", "(baseline", "reviews@1 is ready", "Candidates", "here it answers", "mofang serve reviews",
                  "Left out", "empty 1"):
        assert words in made.run.out
    assert "A new shop is made" in made.run.err


def test_run_again_is_quick_and_changes_nothing(terminal: Terminal, made: Made) -> None:
    again = terminal.type("run", "reviews.py", "--budget", "1m", "--json")
    facts = again.json
    assert facts["model"] == "reviews@1" and facts["seconds"] < 2
    assert facts["headline"] == "accuracy" and facts["baseline"] and facts["licences"] == ["own"]
    assert facts["dropped"]["empty"] == 1 and facts["dropped"]["duplicate"] >= 2


def test_predict_takes_a_text_a_file_and_standard_input(terminal: Terminal) -> None:
    assert terminal.type("predict", "reviews", GOOD).out.startswith("好评  0.")
    assert terminal.type("predict", "reviews", "-", given=f"{GOOD}\n{BAD}\n").out.split()[::2] == ["好评", "差评"]
    (terminal.folder / "texts.txt").write_text(f"{BAD}\n\n{GOOD}\n", encoding="utf-8")
    lines = terminal.type("predict", "reviews@1", "texts.txt", "--json").out.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [one["label"] for one in answers] == ["差评", "好评"]
    assert all(abs(sum(one["scores"].values()) - 1) < 1e-5 for one in answers)
    table = (terminal.folder / "reviews.csv").read_text(encoding="utf-8").splitlines()
    (terminal.folder / "whole.csv").write_text("\n".join(table[:-1]), encoding="utf-8")
    done = terminal.type("predict", "reviews", "whole.csv", "--out", "answers.jsonl")
    assert "242 answers in answers.jsonl" in done.err and done.out == ""
    assert len((terminal.folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()) == 242
    refused = terminal.type("predict", "reviews", "reviews.csv", status=1)
    assert refused.code == "row-unreadable" and "row 244" in refused.err, "the empty last row is named"


@pytest.mark.parametrize(("language", "said"), [
    ("en", {"price": "40,000 calls cost ¥200.00", "key": "cannot be shown again", "serve": "Serving on",
            "invoice": "Invoice INV-", "verify": "ledger verified", "total": "total ¥0.03", "status": "4 requests, ¥0.03 earned"}),
    ("zh", {"price": "40,000 次调用收费 ¥200.00", "key": "之后无法再次显示", "serve": "服务已启动",
            "invoice": "账单 INV-", "verify": "账本已核对", "total": "合计 ¥0.03", "status": "4 次请求，收入 ¥0.03"}),
])
def test_from_customer_to_traced_invoice(copied: Callable[[str], Terminal], language: str, said: dict[str, str]) -> None:
    terminal = copied(language)
    terminal.type("customer", "new", "书店")
    assert said["price"] in terminal.type("price", "set", "reviews", "5.00/1000").out
    shown = terminal.type("key", "new", "书店").out
    assert said["key"] in shown and "书店" in shown
    token = next(word for word in shown.split() if word.startswith("mf_live_"))
    secret = token.split("_")[3]
    with Server(terminal, "reviews") as server:
        first = server.predict("reviews", {"text": GOOD}, token, idempotency_key="one")
        assert first.code == "ok", first
        assert {name: first.json[name] for name in ("model", "units", "price", "currency", "test")} == {
            "model": "reviews@1", "units": 1, "price": "0.005", "currency": "CNY", "test": False}
        assert first.json["answer"]["label"] == "好评"
        again = server.predict("reviews", {"text": GOOD}, token, idempotency_key="one")
        assert again.body == first.body and again.headers["idempotent-replayed"] == "true"
        many = server.predict("reviews@1", {"records": [{"text": BAD}, {"评论": GOOD}]}, token)
        assert [one["label"] for one in many.json["answers"]] == ["差评", "好评"] and many.json["price"] == "0.01"
        assert server.predict("reviews", {"评论": "好" * 1_001}, token).json["units"] == 2
        assert as_the_docs_show(BAD, token, f"{server.address}/v1/predict/reviews")["units"] == 1
        used = server.call("GET", "/v1/usage", key=token).json
        assert [(one["model"], one["units"], one["price"]) for one in used["usage"]] == [("reviews@1", 6, "0.03")], used
        assert server.stop() in (0, -signal.SIGTERM)
    _books(terminal, said, first.json["request_id"])
    everything = b"".join(path.read_bytes() for path in terminal.shop.rglob("*") if path.is_file())
    assert secret.encode() not in everything, "a key is shown once and stored nowhere"


def as_the_docs_show(text: str, key: str, address: str) -> dict[str, Any]:
    """The Python of docs/sell.md, run as it stands there."""
    page = Path(__file__).resolve().parents[2] / "docs" / "sell.md"
    found = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)  # noqa: S102
    answer: dict[str, Any] = names["ask"](text, key, address)
    return answer


def _books(terminal: Terminal, said: dict[str, str], request: str) -> None:
    """What the founder does in the evening: invoice, trace, verify, the lists."""
    assert terminal.type("invoice", "书店", status=1).code == "invoice-month-running"
    assert said["total"] in terminal.type("invoice", "书店", "--preview").out
    issued = terminal.type("invoice", "书店", "--early", "--out", "bill.pdf")
    assert said["invoice"] in issued.out
    assert (terminal.folder / "bill.pdf").read_bytes().startswith(b"%PDF-")
    document = terminal.type("invoice", "书店", "--early", "--json", "--out", "bill.json").json
    assert json.loads((terminal.folder / "bill.json").read_text(encoding="utf-8")) == document
    line = document["lines"][0]
    assert (line["model"], line["requests"], line["units"]) == ("reviews@1", 4, 6)
    assert document["total_micros"] == 30_000 and document["customer"]["name"] == "书店"
    traced = terminal.type("trace", document["number"], "1").out
    for words in ("reviews@1", "reviews.csv", "own", "our own shop", request[:17]):
        assert words in traced, words
    assert "reviews.csv" in terminal.type("trace", request[:17]).out, "what the screen shows can be typed"
    assert said["verify"] in terminal.type("verify").out
    assert terminal.type("verify", "--json").json["verified"] is True
    listed = list(csv.DictReader(io.StringIO(terminal.type("invoice", "--csv").out)))
    assert [(one["invoice"], one["customer"], one["total"]) for one in listed] == [(document["number"], "书店", "¥0.03")]
    assert said["status"] in terminal.type().out
    assert terminal.type("status", "--json").json["requests_today"] == 4


def test_every_list_as_table_json_and_csv(terminal: Terminal, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    """Inside this process, to save half a second for each of two dozen commands; what is called is the same."""
    monkeypatch.chdir(terminal.folder)
    monkeypatch.setenv("MOFANG_LANG", "en")

    def typed(*words: str) -> str:
        assert run(list(words)) == 0
        return capsys.readouterr().out

    typed("customer", "new", "Book Shop")
    typed("key", "new", "Book Shop", "--test", "--label", "first")
    typed("price", "set", "reviews", "3.00/1000")
    lists = {"models": "model", "runs": "run", "customer": "customer", "key": "key", "price": "model", "invoice": "invoice",
             "matrix": "verb", "doctor": "name"}
    for name, key in lists.items():
        table, rows = typed(name), json.loads(typed(name, "--json"))
        assert isinstance(rows, list) and table.strip()
        found = list(csv.DictReader(io.StringIO(typed(name, "--csv"))))
        assert [one[key] for one in found] == [str(one[key]) for one in rows], name
    assert json.loads(typed("key", "--json"))[0]["customer"] == "Book Shop"
    assert json.loads(typed("models", "--json"))[0]["headline"].startswith("accuracy ")


def test_a_trace_goes_forwards_too(terminal: Terminal) -> None:
    runs = terminal.type("runs", "--json").json
    collected = next(one["run"] for one in runs if one["stage"] == "collect")
    forward = terminal.type("trace", collected, "--forward").out
    assert "package" in forward and "snapshot" in forward
    assert terminal.type("trace", "reviews", "--json").json["kind"] == "package"


def test_without_a_shop_the_first_screen_says_what_to_type(tmp_path: Path) -> None:
    english = Terminal(tmp_path).type()
    assert "There is no shop here yet." in english.out and "mofang new" in english.out
    assert "这里还没有模坊" in Terminal(tmp_path).type("--lang", "zh").out
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"
