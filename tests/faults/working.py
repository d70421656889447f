"""A worker of ``mofang serve --workers`` killed every second under load, over SQLite or PostgreSQL: always the one that has
answered longest, because it has requests in hand.

Some callers send an Idempotency-Key and ask again until they are answered, as a good client does; others ask once. Every
answer must be charged once; what was charged and could not be told any more is counted.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.trade.accounts.lists import customer_names
from mofang.trade.billing.balance import return_expired
from tests.serve.parcels import make_model

CALLERS = 4
MICROS = 5000  # of one call at 5.00/1000
AGAIN = ("worker-lost", "retry-in-progress")
START_S = 60.0


@dataclass
class Told:
    """What the callers saw, and what the supervisor said."""

    kills: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)  # of single attempts, by code; "ok" of the answered
    keyed: dict[str, str] = field(default_factory=dict)  # request by Idempotency-Key
    tries: Counter[str] = field(default_factory=Counter)  # failed attempts by Idempotency-Key
    single: list[str] = field(default_factory=list)  # requests of those who ask once
    single_lost: int = 0
    replays: int = 0
    undelivered: int = 0
    back_s: list[float] = field(default_factory=list)
    gap_s: float = 0.0  # the longest time in which nobody was answered

    @property
    def line(self) -> str:
        """The figures in one line."""
        back = sorted(self.back_s) or [0.0]
        return (f"kills {self.kills}  answered {self.outcomes['ok']}  refused worker-lost {self.outcomes['worker-lost']}  "
                f"repeated and answered {len(self.tries)}  replayed {self.replays}  charged but not told {self.undelivered} of "
                f"{self.single_lost} that asked once and were refused  back after p50 {back[len(back) // 2]:.1f} s, "
                f"most {back[-1]:.1f} s  longest silence {self.gap_s:.1f} s")


class Workers:
    """``mofang serve reviews --workers 2`` in a process of its own."""

    def __init__(self, shop: Path, count: int) -> None:
        environment = {**os.environ, "MOFANG_LANG": "en"}
        self.said = (shop.parent / "supervisor.txt").open("w+", encoding="utf-8")
        self.process = subprocess.Popen([sys.executable, "-m", "mofang", "--shop", str(shop), "serve", "reviews", "--workers",
                                         str(count), "--port", "0", "--admin-port", "0"], env=environment, text=True,
                                        stdout=subprocess.PIPE, stderr=self.said, start_new_session=True)
        assert self.process.stdout is not None
        found = [re.search(r"http://127\.0\.0\.1:(\d+)", self.process.stdout.readline()) for _ in range(2)]
        assert found[0] and found[1], (shop.parent / "supervisor.txt").read_text()
        self.port, self.admin = (int(one[1]) for one in found if one)

    @property
    def pids(self) -> list[int]:
        """The workers that live, the oldest first."""
        pid = self.process.pid
        found = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return sorted(found, key=_started)

    def stop(self) -> str:
        """SIGTERM; what the supervisor said."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(START_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.said.seek(0)
        text = self.said.read()
        self.said.close()
        return text


def _started(pid: int) -> int:
    """When a process began, in ticks; what has just ended comes last."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19])
    except OSError:
        return 2**62


def sold(shop: Shop) -> dict[str, str]:
    """Keys of two customers: who repeats, and who asks once."""
    from mofang.trade.sale import sell

    return {name: shop.act(sell, model="reviews", to=name, price="5.00/1000", credit="1000000").issued.token
            for name in ("repeats", "once")}


def attempt(port: int, held: list[Any], key: str, body: str, retry: str) -> tuple[str, str, bool]:
    """One attempt on a kept connection: its code, the request's id, whether it is a replay."""
    if not held:
        held.append(http.client.HTTPConnection("127.0.0.1", port, timeout=30))
    named = {"authorization": f"Bearer {key}", **({"idempotency-key": retry} if retry else {})}
    try:
        held[0].request("POST", "/v1/predict/reviews", body, named)
        answer = held[0].getresponse()
        told = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as fault:
        held.pop().close()
        return f"broken: {type(fault).__name__}", "", False
    if answer.status == 200:
        return "ok", told["request_id"], answer.getheader("idempotent-replayed") == "true"
    held.pop().close()
    return str(told["error"]["code"]), "", False


class Load:
    """The callers, until told to stop."""

    def __init__(self, port: int, keys: dict[str, str]) -> None:
        self.told, self.port, self.keys = Told(), port, keys
        self._over, self._lock, self._last_s = threading.Event(), threading.Lock(), time.monotonic()
        self._threads = [threading.Thread(target=self._call, args=(number,), daemon=True) for number in range(CALLERS)]
        for one in self._threads:
            one.start()

    def _call(self, number: int) -> None:
        held: list[Any] = []
        for at in self._numbers():
            body = json.dumps({"text": f"第{number}单，房间很好 {at}"})
            if number % 2:
                self._once(held, body)
            else:
                self._until_answered(held, body, f"{number}-{at}")
            time.sleep(0.002)

    def _numbers(self) -> Iterator[int]:
        at = 0
        while not self._over.is_set():
            at += 1
            yield at

    def _once(self, held: list[Any], body: str) -> None:
        code, request, _ = attempt(self.port, held, self.keys["once"], body, "")
        with self._lock:
            self._seen(code)
            if code == "ok":
                self.told.single.append(request)
            else:
                self.told.single_lost += 1

    def _until_answered(self, held: list[Any], body: str, retry: str) -> None:
        while True:
            code, request, again = attempt(self.port, held, self.keys["repeats"], body, retry)
            with self._lock:
                self._seen(code)
                if code == "ok":
                    self.told.keyed[retry] = request
                    self.told.replays += again
                    return
                self.told.tries[retry] += 1
                if code not in AGAIN:
                    return
            time.sleep(0.02)

    def _seen(self, code: str) -> None:
        self.told.outcomes[code] += 1
        if code == "ok":
            now = time.monotonic()
            self.told.gap_s, self._last_s = max(self.told.gap_s, now - self._last_s), now

    def stop(self) -> Told:
        """The callers end; what they saw."""
        self._over.set()
        for one in self._threads:
            one.join(60)
        return self.told


def working(folder: Path, seconds: float, url: str = "", *, count: int = 2, every_s: float = 1.0) -> tuple[Told, list[str]]:
    """Kill a worker every second for so long; the figures, and everything that is wrong."""
    shop = Shop.open(folder / "shop", database=url)
    make_model(shop, folder)
    keys = sold(shop)
    running = Workers(shop.path, count)
    try:
        time.sleep(1.0)  # both are there
        load = Load(running.port, keys)
        until, kills = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            time.sleep(every_s)
            with suppress(ProcessLookupError, IndexError):
                os.kill(running.pids[0], signal.SIGKILL)
                kills += 1
        time.sleep(6.0)  # back within five seconds
        alive = _metric(running.admin, "mofang_processes")
        told = load.stop()
    finally:
        said = running.stop()
    told.kills = kills
    told.back_s = [float(one) for one in re.findall(r"is ready, ([\d.]+) s after", said)]
    wrong = books(shop, told)
    wrong += [f"{code}: {many} times" for code, many in told.outcomes.items() if code not in ("ok", *AGAIN)]
    wrong += [f"{alive} workers answer, of {count}"] if alive != count else []
    wrong += [f"a worker was back after {most} s"] if (most := max(told.back_s, default=0.0)) > 5 else []
    return told, wrong


def _metric(port: int, name: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    return int(re.findall(rf"^{name} (\d+)$", page, re.M)[0])


def books(shop: Shop, told: Told) -> list[str]:
    """Where the books say something else than the callers."""
    rows = [row for row in shop.journals.rows("usage") if row.kind == "use"]
    names = customer_names(shop)
    by = {name: [row.id for row in rows if names[row.account] == name] for name in ("repeats", "once")}
    wrong = shop.journals.verify()
    if sorted(by["repeats"]) != sorted(told.keyed.values()):
        wrong.append(f"{len(by['repeats'])} rows for {len(told.keyed)} requests that were repeated until answered")
    missing = set(told.single) - set(by["once"])
    wrong += [f"{len(missing)} answers that nobody charged"] if missing else []
    told.undelivered = len(by["once"]) - len(told.single)
    if not 0 <= told.undelivered <= told.single_lost or len(set(by["once"])) != len(by["once"]):
        wrong.append(f"{told.undelivered} charged and not told, of {told.single_lost} that were refused")
    debited = int(shop.control.rows("select sum(micros) from usage_day")[0][0])
    if debited != MICROS * len(rows):
        wrong.append(f"{debited} micros debited for {len(rows)} requests")
    return_expired(shop.journals, now_us() + 10**12)
    if held := shop.control.rows("select coalesce(sum(micros), 0) from allotment")[0][0]:
        wrong.append(f"{held} micros stay set aside")
    return wrong
