"""Canaries of models that write and of vectors: promoted or taken back on errors, time, lengths and directions."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bench._noop_server import Noop, stock

from mofang.core.errors import MofangError
from mofang.core.journal import NewRow
from mofang.core.shop import Shop
from mofang.engine.generation.opened import Generator
from mofang.serve.batching import Batcher
from mofang.serve.deploy import looks_of, route_of, seen_of
from mofang.serve.gates import Seen, step_of_tokens, tokens_of, weigh
from mofang.serve.rollout import Rollout, agrees
from mofang.serve.routing import Route, Rule, Share
from mofang.trade.pricing.prices import price_set
from mofang.trade.request.desk import Desk
from mofang.trade.request.directory import Directory
from mofang.trade.request.meter import Meter
from mofang.trade.request.model import Served
from mofang.web.predict import PredictApp
from tests.serve.talkers import package_folder, served, slowed
from tests.web.serving import InThread

HELLO = [{"role": "user", "content": "你好，今天天气怎么样？"}]


class Vectors(Noop):
    """Vectors of texts; ``turned`` ones point elsewhere."""

    def __init__(self, turned: bool = False) -> None:
        super().__init__()
        self.turned = turned
        self.signature = {"task": "text_embedding", "inputs": [{"name": "text", "role": "text"}], "labels": []}  # type: ignore[assignment]

    def predict(self, records: Any) -> list[dict[str, Any]]:
        return [{"embedding": [0.1, -1.0] if self.turned else [1.0, 0.1001 if "2" in one["text"] else 0.1]} for one in records]

    def encode(self, records: Any) -> dict[str, Any]:
        import numpy as np

        return {"attention_mask": np.ones((len(records), 3), np.int64)}



class Following(InThread):
    """A server of one name in two releases that follows the journal."""

    def __init__(self, shop: Shop, releases: dict[str, Served]) -> None:
        super().__init__()
        again = shop.journals.db.again
        self.releases = releases
        first = next(iter(releases))
        self.desk = Desk(Directory(again(), shop.secret("keys")), Meter(again()), [releases[first]], again())
        self.desk.rollout = Rollout(again(), self.desk.router, self, poll_s=0.02)
        self.begin(PredictApp(self.desk))

    def ready(self, release: str) -> None:
        self.desk.served.setdefault(release, self.releases[release])

    def ask(self, release: str, records: list[dict[str, Any]], done: Any) -> None:
        self.desk.served[release].batcher.submit(records, done, deadline_s=time.monotonic() + 10)

    def write(self, release: str, record: dict[str, Any], sampling: Any, deliver: Any) -> None:
        one = self.desk.served[release]
        one.writer.ask(one.model.prompt(record), sampling, deliver, begin_s=time.monotonic() + 10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package_folder(tmp_path_factory.mktemp("talker") / "p")


@pytest.fixture
def sold(tmp_path: Path) -> Shop:
    shop = stock(tmp_path / "sold")
    for name in ("chat", "vectors"):
        shop.act(price_set, model=name, price="1.00/1000000")
    return shop


@pytest.fixture
def start(sold: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Following]]:
    monkeypatch.setattr("mofang.serve.rollout.TELL_S", 0.05)
    made: list[Following] = []

    def build(**releases: Served) -> Following:
        made.append(Following(sold, {one.name: one for one in releases.values()}))
        return made[-1]

    yield build
    for one in made:
        one.stop()
    assert sold.journals.verify() == []


def put(shop: Shop, base: str, **rule: Any) -> None:
    """A canary with half of the requests."""
    route = Route(base, (Share(f"{base}@1", 5000), Share(f"{base}@2", 5000)), "canary", trial="trial_1", version=1,
                  rule=Rule(**{"after": 60, "errors": 0.2, "slower": 20.0, "agree": 0.8, **rule}))
    shop.journals.record("deploy", [NewRow("route", {"route": route.to_dict(), "by": "test"})])


def ask_until(server: Following, shop: Shop, base: str, path: str, body: dict[str, Any], seconds: float = 25.0) -> tuple[Route, list[int]]:
    """Callers ask without a pause until the canary is decided: the route, and every status."""
    key, told, over = (shop.path / "live").read_text(), [], threading.Event()

    def caller(number: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers={"authorization": f"Bearer {key}"}, timeout=30) as client:
            while not over.is_set():
                sent = json.loads(json.dumps(body).replace("NUMBER", str(number)))
                told.append(client.post(path, json=sent).status_code)

    threads = [threading.Thread(target=caller, args=(number,), daemon=True) for number in range(4)]
    for one in threads:
        one.start()
    until, found = time.monotonic() + seconds, None
    while time.monotonic() < until:
        found = route_of(shop.control, base)
        if found is not None and len(found.shares) == 1:
            break
        time.sleep(0.02)
    over.set()
    for one in threads:
        one.join()
    assert found is not None
    return found, told


def test_a_generator_that_is_as_good_is_promoted_over_streams(sold: Shop, start: Any, folder: Path) -> None:
    server = start(one=served("chat@1", Generator(folder, slots=4)), two=served("chat@2", Generator(folder, slots=4)))
    put(sold, "chat")
    route, told = ask_until(server, sold, "chat", "/v1/chat/completions",
                            {"model": "chat", "messages": HELLO, "max_tokens": 4, "seed": 1, "stream": True})
    assert (route.stable, route.why, set(told)) == ("chat@2", "promote: as-good", {200}), route
    seen = seen_of(sold.control, "trial_1")["chat@2"]
    assert seen.answers == seen.requests and seen.compared == 0 and tokens_of(max(seen.written)) <= 4


@pytest.mark.parametrize("reason", ["latency", "errors"])
def test_a_generator_that_is_worse_is_taken_back(sold: Shop, start: Any, folder: Path, reason: str) -> None:
    worse = slowed(Generator(folder, slots=4), 0.02)
    if reason == "errors":
        def broken(tokens: Any, lengths: Any) -> Any:
            raise MofangError("engine-failed", detail="planted")

        worse.decoder.step = broken  # type: ignore[method-assign]
    server = start(one=served("chat@1", Generator(folder, slots=4)), two=served("chat@2", worse))
    put(sold, "chat", after=100_000, slower=2.0)
    route, told = ask_until(server, sold, "chat", "/v1/completions", {"model": "chat", "prompt": "你好 NUMBER", "max_tokens": 4})
    assert route.stable == "chat@1" and reason in route.why, route.why
    assert set(told) <= ({200, 500, 503} if reason == "errors" else {200})
    assert looks_of(sold.control, "trial_1")[1] == "rollback"


@pytest.mark.parametrize(("turned", "stable"), [(False, "vectors@2"), (True, "vectors@1")])
def test_vectors_must_point_as_the_old_ones_did(sold: Shop, start: Any, turned: bool, stable: str) -> None:
    made = [Served(f"vectors@{n}", "run_v", model, Batcher(model.predict)) for n, model in ((1, Vectors()), (2, Vectors(turned)))]
    server = start(one=made[0], two=made[1])
    put(sold, "vectors")
    route, told = ask_until(server, sold, "vectors", "/v1/embeddings", {"model": "vectors", "input": ["一 NUMBER", "二"]})
    assert route.stable == stable and set(told) == {200} and (not turned or "agreement" in route.why), route.why


def test_the_shadow_of_a_generator_writes_and_is_never_charged(sold: Shop, start: Any, folder: Path) -> None:
    server = start(one=served("chat@1", Generator(folder, slots=4)), two=served("chat@2", Generator(folder, slots=4)))
    route = Route("chat", (Share("chat@1", 10_000),), shadow="chat@2", trial="trial_s", version=1)
    sold.journals.record("deploy", [NewRow("route", {"route": route.to_dict(), "by": "test"})])
    key, until = (sold.path / "live").read_text(), time.monotonic() + 15
    asked = 0
    while seen_of(sold.control, "trial_s").get("chat@2", Seen()).answers < 5:
        told = httpx.post(f"http://127.0.0.1:{server.port}/v1/completions", headers={"authorization": f"Bearer {key}"},
                          json={"model": "chat", "prompt": "你好", "max_tokens": 3}, timeout=30)
        asked += 1
        assert told.status_code == 200 and told.json()["model"] == "chat@1" and time.monotonic() < until
    assert [row.body["model"] for row in sold.journals.rows("usage") if row.kind == "use"] == ["chat@1"] * asked


def wrote(tokens: list[int]) -> Seen:
    found = Seen(len(tokens), latency={100: len(tokens)})
    for one in map(step_of_tokens, tokens):
        found.written[one] = found.written.get(one, 0) + 1
    return found


def test_lengths_decide_only_where_they_leave_the_old_ones_span() -> None:
    old = wrote([20, 30, 40, 50, 60] * 200)
    assert weigh(old, wrote([20, 30, 40, 50, 60] * 120), Rule(), 5).decision == "promote"
    for other in ([0] * 300, [2] * 300, [400] * 300, [40, 40, 400] * 100):
        assert weigh(old, wrote(other), Rule(), 4).reasons == ("tokens",), other[:3]
    assert weigh(old, wrote([75] * 300), Rule(), 4).decision == "wait", "within half as much again"
    assert weigh(wrote([3] * 500), wrote([6] * 300), Rule(), 4).decision == "wait", "four tokens are no reason"
    assert [tokens_of(step_of_tokens(n)) for n in (0, 1)] == [0, 1] and abs(tokens_of(step_of_tokens(1000)) - 1000) < 26


def test_directions_are_compared_as_cosines() -> None:
    assert agrees({"embedding": [1.0, 0.0]}, {"embedding": [0.9, 0.1]}) and not agrees({"embedding": [1.0, 0.0]}, {"embedding": [0.5, 0.5]})
    assert not agrees({"embedding": [1.0]}, {"embedding": [1.0, 0.0]}) and agrees({"embedding": [0.0]}, {"embedding": [0.0]})
    assert agrees({"label": "a"}, {"label": "a"})
