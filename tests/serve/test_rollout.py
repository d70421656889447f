"""Canary, shadow and rollback in a running server, with every request answered and charged once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from bench._noop_server import ANSWER, stock

from mofang.core.errors import MofangError
from mofang.core.journal import NewRow
from mofang.core.shop import Shop
from mofang.serve.batching import Batcher
from mofang.serve.deploy import deploy_rollback, looks_of, route_of, seen_of
from mofang.serve.rollout import Rollout
from mofang.serve.routing import Route, Rule, Share
from mofang.trade.kept import Cabinet, kept_of
from mofang.trade.looked import Marks, answered
from mofang.trade.released import report, status_rows
from mofang.trade.request.desk import Desk
from mofang.trade.request.directory import Directory
from mofang.trade.request.meter import Meter
from mofang.trade.request.model import Served
from mofang.web.predict import PredictApp
from tests.web.serving import Answer, Fixed, InThread, Serving

Predict = Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]]


def good(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [ANSWER for _ in records]


def other(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**ANSWER, "label": "neg"} for _ in records]


def broken(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    raise ValueError("planted")


def slow(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    time.sleep(0.08)
    return good(records)


class Following(Serving):
    """A server of ``noop`` in two releases that follows the journal, as ``wire.py`` joins it."""

    def __init__(self, shop: Shop, second: Predict) -> None:
        self.opened: list[str] = []
        again = shop.journals.db.again
        self.models = {"noop@1": Fixed(good), "noop@2": Fixed(second)}
        directory = Directory(again(), shop.secret("keys"))
        marks = Marks(shop.secret("inputs"), Cabinet(shop), lambda account: directory.picture.keep.get(account, 0))
        self.desk = Desk(directory, Meter(again()), [self._served("noop@1")], again(), marks=marks)
        self.desk.rollout = Rollout(again(), self.desk.router, self, poll_s=0.02)
        InThread.__init__(self)
        self.begin(PredictApp(self.desk))

    def _served(self, name: str) -> Served:
        model = self.models[name]
        return Served(name, f"run_{name}", model, Batcher(model.predict, batch_max=4))

    def ready(self, release: str) -> None:
        if release not in self.models:
            raise MofangError("name-unknown", name=release, nearest="noop@1")
        if release not in self.desk.served:
            self.desk.served[release] = self._served(release)

    def ask(self, release: str, records: list[dict[str, Any]], done: Any) -> None:
        self.desk.served[release].batcher.submit(records, done, deadline_s=time.monotonic() + 10)


@pytest.fixture
def sold(tmp_path: Path) -> Shop:
    return stock(tmp_path / "sold")


@pytest.fixture
def start(sold: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Predict], Following]]:
    monkeypatch.setattr("mofang.serve.rollout.TELL_S", 0.05)
    made: list[Following] = []

    def build(second: Predict) -> Following:
        made.append(Following(sold, second))
        return made[-1]

    yield build
    for one in made:
        one.stop()
    assert sold.journals.verify() == []


def put(shop: Shop, route: Route) -> None:
    shop.journals.record("deploy", [NewRow("route", {"route": route.to_dict(), "by": "test"})])


def canary(share: int = 3000, trial: str = "trial_1", **rule: Any) -> Route:
    return Route("noop", (Share("noop@1", 10_000 - share), Share("noop@2", share)), "canary", trial=trial, version=1,
                 history=(), rule=Rule(**{"after": 60, "errors": 0.2, "slower": 3.0, **rule}))


class Load:
    """Callers that ask without a pause until they are told to stop."""

    def __init__(self, server: Serving, token: str, callers: int = 4) -> None:
        self.answers: list[Answer] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(server, token), daemon=True) for _ in range(callers)]
        for one in self._threads:
            one.start()

    def _ask(self, server: Serving, token: str) -> None:
        while not self._end.is_set():
            self.answers.append(server.predict(token, {"text": f"{len(self.answers)}"}))

    def until(self, come: Callable[[], bool], seconds: float = 20.0) -> None:
        until = time.monotonic() + seconds
        while not come() and time.monotonic() < until:
            time.sleep(0.02)
        assert come()

    def stop(self) -> Counter[tuple[str, str]]:
        self._end.set()
        for one in self._threads:
            one.join()
        return Counter((one.code, one.json.get("model", "")) for one in self.answers)


def uses(shop: Shop) -> list[dict[str, Any]]:
    return [row.body for row in shop.journals.rows("usage") if row.kind == "use"]


def now(shop: Shop) -> Route:
    found = route_of(shop.control, "noop")
    assert found is not None
    return found


def test_a_good_canary_is_promoted_and_rolled_back_without_a_failed_request(sold: Shop, start: Any) -> None:
    server, token = start(good), (sold.path / "live").read_text()
    load = Load(server, token)
    load.until(lambda: len(load.answers) > 20)
    put(sold, canary())
    load.until(lambda: now(sold).stable == "noop@2")
    assert now(sold).by == "canary" and now(sold).why == "promote: as-good" and now(sold).history == ("noop@1",)
    load.until(lambda: load.answers[-1].json["model"] == "noop@2")
    sold.act(deploy_rollback, model="noop", why="the owner's wish")
    load.until(lambda: all(one.json["model"] == "noop@1" for one in load.answers[-8:]))
    told = load.stop()
    assert set(told) == {("ok", "noop@1"), ("ok", "noop@2")}, told
    rows = uses(sold)
    assert Counter(one["model"] for one in rows) == {name: count for (_, name), count in told.items()}
    assert {one["request_id"] for one in rows} == {one.json["request_id"] for one in load.answers}
    assert all(one["package"] == f"run_{one['model']}" for one in rows)
    found = report(sold, "noop")
    assert found["decisions"][-1]["decision"] == "promote" and found["arms"][0]["release"] == "noop@2"
    with pytest.raises(MofangError) as refused:
        sold.act(deploy_rollback, model="noop")
    assert refused.value.code == "rollback-nowhere"


@pytest.mark.parametrize(("second", "reason"), [(broken, "errors"), (slow, "latency"), (other, "agreement")])
def test_a_bad_canary_is_taken_back(sold: Shop, start: Any, second: Predict, reason: str) -> None:
    server, token = start(second), (sold.path / "test").read_text()
    load = Load(server, token)
    put(sold, canary(5000, after=100_000))
    load.until(lambda: now(sold).stable == "noop@1" and len(now(sold).shares) == 1)
    assert now(sold).why.startswith("rollback: ") and reason in now(sold).why, now(sold).why
    time.sleep(1.5)  # servers follow within a second, and what they had begun is answered
    asked = len(load.answers)
    load.until(lambda: len(load.answers) > asked + 20)
    told = load.stop()
    assert not any(code != "ok" for code, _ in told) or second is broken
    assert {one.json.get("model") for one in load.answers[asked:]} == {"noop@1"}
    assert looks_of(sold.control, "trial_1")[1] == "rollback"
    rows = {one["release"]: one for one in status_rows(sold)}
    assert list(rows) == ["noop@1"] and rows["noop@1"]["decision"] == "rollback" and reason in rows["noop@1"]["reasons"]


def test_a_shadow_never_answers_and_is_never_charged(sold: Shop, start: Any) -> None:
    server, token = start(other), (sold.path / "live").read_text()
    put(sold, Route("noop", (Share("noop@1", 10_000),), shadow="noop@2", trial="trial_s", version=1))
    time.sleep(0.2)
    answers = [server.predict(token) for _ in range(30)]
    assert all(one.status == 200 and one.json["model"] == "noop@1" and one.json["answer"] == ANSWER for one in answers)
    until = time.monotonic() + 5
    while seen_of(sold.control, "trial_s").get("noop@2") is None or seen_of(sold.control, "trial_s")["noop@2"].compared < 20:
        assert time.monotonic() < until
        time.sleep(0.02)
    found = seen_of(sold.control, "trial_s")["noop@2"]
    assert found.same == 0 and found.requests == found.compared
    assert [one["model"] for one in uses(sold)] == ["noop@1"] * 30


def test_a_release_that_cannot_be_opened_leaves_the_old_one_answering(sold: Shop, start: Any) -> None:
    server, token = start(good), (sold.path / "live").read_text()
    put(sold, Route("noop", (Share("noop@9", 10_000),), trial="trial_9", version=1, history=("noop@1",)))
    until = time.monotonic() + 5
    while now(sold).stable != "noop@1":
        assert server.predict(token).status == 200 and time.monotonic() < until
    assert now(sold).why == "rollback: name-unknown" and server.predict(token).json["model"] == "noop@1"


def test_a_retry_meets_its_first_answer_whatever_was_released_meanwhile(sold: Shop, start: Any) -> None:
    server, token = start(good), (sold.path / "live").read_text()
    first = server.predict(token, idempotency_key="order-1")
    put(sold, Route("noop", (Share("noop@2", 10_000),), trial="trial_2", version=1, history=("noop@1",)))
    until = time.monotonic() + 5
    while server.predict(token).json["model"] != "noop@2":
        assert time.monotonic() < until
    again = server.predict(token, idempotency_key="order-1")
    assert again.body == first.body and again.headers["idempotent-replayed"] == "true"


def test_what_was_asked_is_marked_always_and_kept_only_where_the_plan_says_so(sold: Shop, start: Any) -> None:
    from mofang.trade.accounts.customers import customer_keep
    from mofang.trade.kept import forget_due

    server, token = start(good), (sold.path / "live").read_text()
    first = server.predict(token, {"text": "不要保存"}).json["request_id"]
    sold.act(customer_keep, customer="tester", days=30)
    until = time.monotonic() + 5
    while True:
        second = server.predict(token, {"text": "可以保存的句子"}).json["request_id"]
        if kept_of(sold, second) is not None:
            break
        assert time.monotonic() < until
        time.sleep(0.05)
    assert kept_of(sold, first) is None and answered(sold, first).input
    assert kept_of(sold, second) == {"records": [{"text": "可以保存的句子"}], "answers": [ANSWER]}
    marks = Marks(sold.secret("inputs"))
    assert answered(sold, second).input == marks.of_records([{"text": "可以保存的句子"}]) != answered(sold, first).input
    assert Marks(b"another shop's secret, 32 bytes..").of_records([{"text": "x"}]) != marks.of_records([{"text": "x"}])
    for name in ("meter.db", "meter.db-wal", "ledger.db"):
        path = sold.path / name
        assert not path.exists() or "可以保存的句子".encode() not in path.read_bytes()
    assert forget_due(sold.control, 2**60) >= 1 and kept_of(sold, second) is None


def test_an_erased_person_goes_out_of_what_was_kept(sold: Shop, start: Any) -> None:
    from mofang.core.personal import Sought
    from mofang.core.tombstones import Tombstones
    from mofang.trade.accounts.customers import customer_keep
    from mofang.trade.kept import forget_person

    sold.act(customer_keep, customer="tester", days=30)
    server, token = start(good), (sold.path / "live").read_text()
    named = server.predict(token, {"text": "张小明住在三号房"}).json["request_id"]
    another = server.predict(token, {"text": "房间很好"}).json["request_id"]
    marks = Tombstones.__new__(Tombstones)
    assert forget_person(sold, Sought(marks, ("张小明",), dry=True)) == {"kept requests": 1}
    assert forget_person(sold, Sought(marks, ("张小明",))) == {"kept requests": 1}
    assert kept_of(sold, named) is None and kept_of(sold, another) is not None
