"""docs/deploy.md as a person follows it, on two machines, and the same service with its workers killed under load."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import Made
from tests.stories.terminal import Terminal, eventually

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deploy.md"
pytestmark = pytest.mark.cluster


@dataclass
class Company:
    """The maker's folder with two versions of the model, and the bare server beside it."""

    home: Terminal
    server: Terminal
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    port: int = 0
    key: str = ""

    def up(self, line: str) -> None:
        """``mofang up`` in a terminal of its own: there is no systemd here, so it goes on in the foreground."""
        self.running.append(self.server.start(*shlex.split(line)[1:], "--port", "0", "--yes", start_new_session=True))
        said = ""
        while "Serving on" not in said:
            line = self.running[-1].stdout.readline()  # type: ignore[union-attr]
            assert line, self.running[-1].communicate()
            said += line
        assert "no systemd" in said and "only from this machine" in said
        self.port = int(re.findall(r"http://127\.0\.0\.1:(\d+)", said)[-1])

    @property
    def workers(self) -> list[int]:
        """The processes that answer."""
        parent = self.running[-1].pid
        return [int(one) for one in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.fixture(scope="module")
def company(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    from mofang.core.shop import Shop
    from mofang.serve.remeasure import remeasure

    home = Terminal(tmp_path_factory.mktemp("maker"))
    shutil.copytree(made.folder, home.folder, dirs_exist_ok=True)
    shop = Shop.open(home.shop, make=False)
    again = shop.run(remeasure, shop.find("reviews@1"), objective="latency")
    assert str(shop.name("reviews", again)) == "reviews@2"
    found = Company(home, Terminal(tmp_path_factory.mktemp("server")))
    yield found
    for one in found.running:
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGTERM)
        one.communicate(timeout=60)


class Load:
    """Callers on kept connections that ask until they are told to stop."""

    def __init__(self, company: Company, callers: int = 4) -> None:
        self.company = company
        self.told: list[tuple[int, str, str]] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(callers)]
        for one in self._threads:
            one.start()

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.company.port, timeout=30)
        while not self._end.is_set():
            body = json.dumps({"text": f"第{number}单，房间很好 {len(self.told)}"})
            try:
                connection.request("POST", "/v1/predict/reviews", body, {"authorization": f"Bearer {self.company.key}"})
                answer = connection.getresponse()
                said = json.loads(answer.read())
                self.told.append((answer.status, said.get("model") or said["error"]["code"], said.get("request_id", "")))
            except (OSError, http.client.HTTPException) as fault:
                self.told.append((0, type(fault).__name__, ""))
                connection.close()
            time.sleep(0.002)

    def met(self, release: str) -> bool:
        """Whether a release has answered by now."""
        return any(name == release for _, name, _ in self.told)

    def stop(self) -> Counter[tuple[int, str]]:
        self._end.set()
        for one in self._threads:
            one.join()
        return Counter(one[:2] for one in self.told)


def english() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8").split("## 中文")[0], re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_the_page_leads_from_a_package_to_a_canary_and_back(company: Company) -> None:
    home, server = company.home, company.server
    request, load = "", None
    for line in english():
        words = shlex.split(line)[1:]
        if words[0] == "package":
            home.type(*words)
            _holds_no_records(home.folder / words[-1], home)
            shutil.copy(home.folder / words[-1], server.folder / words[-1])
            home.type("package", "reviews@2", "--out", "r2.mofang")
            shutil.copy(home.folder / "r2.mofang", server.folder / "r2.mofang")
        elif words[0] == "up":
            dry = server.type(*words, "--dry-run").out
            assert "every signature and digest holds" in dry and "ExecStart=" in dry and not server.shop.exists()
            company.up(line)
        elif words[:2] == ["replay", "REQUEST"]:
            done = server.type(*(request if one == "REQUEST" else one for one in words))
            assert "the same as then" in done.out and "this is what was answered then" in done.out, done
        else:
            done = server.type(*words)
            if words[0] == "sell":
                company.key = next(word for word in done.out.split() if word.startswith("mf_live_"))
                time.sleep(1.0)  # what was decided holds within a second
                load = Load(company)
            elif words[:2] == ["release", "reviews@2"] and "--canary" in words:
                assert load is not None
                assert eventually(partial(load.met, "reviews@2"), 20)
            elif words[:2] == ["customer", "keep"]:
                assert load is not None
                told = load.stop()
                load = None
                assert {status for status, _ in told} == {200} and len(told) == 2, told
                request = _ask_once(company, {"text": "第9单，早餐很差"}, server.folder / "body.json")
    rows = server.type("deploy", "status", "--json").json
    assert [(one["release"], one["share"], one["judged"]) for one in rows] == [("reviews@2", 100.0, 1)]
    wrong = server.folder / "wrong.json"
    wrong.write_text('{"text": "第9单，早餐很好"}', encoding="utf-8")
    assert server.type("replay", request, "--input", "wrong.json", status=1).code == "input-differs"
    assert "corrections-of-reviews" in server.type("label").out
    assert server.type("release", "reviews@1", "--force", status=1).code == "release-why"


def _ask_once(company: Company, body: dict[str, Any], file: Path) -> str:
    time.sleep(1.0)  # what was set holds within a second
    file.write_text(json.dumps(body, ensure_ascii=False, indent=3), encoding="utf-8")
    connection = http.client.HTTPConnection("127.0.0.1", company.port, timeout=30)
    connection.request("POST", "/v1/predict/reviews", json.dumps(body), {"authorization": f"Bearer {company.key}"})
    found = json.loads(connection.getresponse().read())
    connection.close()
    return str(found["request_id"])


def _holds_no_records(parcel: Path, home: Terminal) -> None:
    """No row of the records travels, however the file is opened."""
    from mofang.serve.border import open_parcel

    folder = parcel.parent / "opened"
    folder.mkdir()
    open_parcel(parcel, folder, lambda _n: None)
    texts = [line.split(",")[0].encode() for line in (home.folder / "reviews.csv").read_text(encoding="utf-8").splitlines()[1:40]]
    inside = parcel.read_bytes() + b"".join(one.read_bytes() for one in folder.rglob("*") if one.is_file())
    assert len(inside) > 10_000 and not any(text in inside for text in texts if len(text) > 20)
    shutil.rmtree(folder)


def test_workers_are_killed_and_replaced_under_load(company: Company) -> None:
    """Every request is answered, or refused once with a code; nothing is charged twice; reloading loses nothing."""
    assert company.port, "the page's service goes on"
    before = len(_uses(company))
    load = Load(company)
    for _ in range(4):
        time.sleep(0.7)
        killed = company.workers[0]
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda killed=killed: killed not in company.workers and len(company.workers) == 2, 5)
    assert eventually(lambda: load.told[-1][0] == 200, 5)
    told = load.stop()
    assert set(told) <= {(200, "reviews@2"), (503, "worker-lost")} and told[200, "reviews@2"] > 100, told
    rows = _uses(company)[before:]
    answered = {request for status, _, request in load.told if status == 200}
    assert len(answered) == told[200, "reviews@2"] and len(set(rows)) == len(rows) and answered <= set(rows)
    assert len(rows) - len(answered) <= told[503, "worker-lost"], "at most what was charged and could not be said"

    first, load = company.workers, Load(company)
    os.kill(company.running[-1].pid, signal.SIGHUP)
    assert eventually(lambda: len(company.workers) == 2 and not set(first) & set(company.workers), 40)
    assert set(load.stop()) == {(200, "reviews@2")}
    assert company.server.type("verify").status == 0


def _uses(company: Company) -> list[str]:
    reader = sqlite3.connect(f"file:{company.server.shop / 'meter.db'}?mode=ro", uri=True, timeout=10)
    try:
        return [row[0] for row in reader.execute("select id from journal where journal='usage' and kind='use' order by position")]
    finally:
        reader.close()
