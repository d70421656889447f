"""Plain predictions take a way of their own: it must say, charge and refuse what the general way does, and nothing else."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from bench._noop_server import ANSWER, stock

from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_new
from mofang.trade.accounts.keys import key_new, key_revoke
from mofang.web import straight
from mofang.web.straight import Straight
from tests.stories.terminal import eventually
from tests.web.serving import Fixed, Serving

GENERAL = {"mofang-deadline-ms": "30000"}  # a header that the plain way leaves to the general one


class Gated(Fixed):
    """Answers when the gate is open, and tells where it ran."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.gate = threading.Event()
        self.gate.set()
        self.seen: list[str] = []
        self.threads: set[str] = set()

    def answer(self, records: Any) -> list[dict[str, Any]]:
        self.gate.wait(20)
        self.threads.add(threading.current_thread().name)
        self.seen += [record["text"] for record in records]
        return [{**ANSWER, "text": record["text"]} for record in records]


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return stock(tmp_path_factory.mktemp("straight") / "sold")


@pytest.fixture(scope="module")
def model() -> Gated:
    return Gated()


@pytest.fixture(scope="module")
def serving(sold: Shop, model: Gated) -> Iterator[Serving]:
    made = Serving(sold, {"noop@1": model})
    yield made
    made.stop()
    assert sold.journals.verify() == []


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Which requests took the plain way: True where it was gone to its end."""
    found: list[bool] = []
    run = Straight.run

    def noted(one: Straight) -> bool:
        found.append(run(one))
        return found[-1]

    monkeypatch.setattr(Straight, "run", noted)
    return found


def key_of(shop: Shop) -> str:
    return (shop.path / "live").read_text()


def request(key: str, body: bytes, path: str = "/v1/predict/noop", version: str = "1.1", **more: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in more.items())
    return (f"POST {path} HTTP/{version}\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{lines}\r\n").encode() + body


def talk(port: int, data: bytes, answers: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
    """Send bytes on one connection; the answers that come."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(data)
        return [answer_from(one) for _ in range(answers)]


def answer_from(one: socket.socket) -> tuple[int, dict[str, str], bytes]:
    got = b""
    while b"\r\n\r\n" not in got:
        got += one.recv(1)
    top, _, _ = got.partition(b"\r\n\r\n")
    headers = dict(line.decode().split(": ", 1) for line in top.split(b"\r\n")[1:])
    body = b""
    while len(body) < int(headers["content-length"]):
        body += one.recv(int(headers["content-length"]) - len(body))
    return int(top[9:12]), headers, body


def test_both_ways_say_and_charge_the_same(serving: Serving, sold: Shop, taken: list[bool]) -> None:
    key = key_of(sold)
    assert serving.predict(key).status == 200 and taken == [False], "the first waits until money is set aside"
    taken.clear()
    before = len(sold.journals.rows("usage"))
    told = [serving.predict(key, {"text": "房间很干净"}, **more) for more in ({}, GENERAL)]
    assert taken == [True]
    for one in told:
        assert one.status == 200 and one.json["request_id"] == one.headers["mofang-request-id"]
    plain, general = ({**one.json, "request_id": ""} for one in told)
    assert plain == general and plain["answer"]["text"] == "房间很干净"
    assert set(told[0].headers) == set(told[1].headers)
    uses = [row.body for row in sold.journals.rows("usage")[before:] if row.kind == "use"]
    assert [one["request_id"] for one in uses] == [one.json["request_id"] for one in told]
    assert uses[0]["units"] == uses[1]["units"] == 1 and uses[1]["repeat"] is True


def test_what_is_not_plain_goes_the_general_way(serving: Serving, sold: Shop, taken: list[bool]) -> None:
    key, good = key_of(sold), {"text": "好"}
    body = json.dumps(good).encode()
    for data in (request(key, body, idempotency_key="one"), request(key, body, mofang_arrays="1"), request(key, body, "/v1/predict/noop?a=1"),
                 request(key, body, "/v1/predict/no%6fp"), request(key, body, version="1.0"), request(key, body, expect="100-continue"),
                 f"POST /v1/predict/noop HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ntransfer-encoding: chunked\r\n\r\n"
                 f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", serving.port), timeout=20) as one:
            one.sendall(data)
            status, _, answer = answer_from(one) if b"expect:" not in data else (200, {}, b"noop")
            assert status == 200 and b"noop" in answer, data[:80]
    assert taken == []
    large = serving.predict(key, {"records": [{"text": "好" * 900}] * 40})
    assert large.status == 200 and taken == [] and len(large.json["answers"]) == 40


def test_who_has_a_model_of_that_name_or_limits_is_answered_the_general_way(
        serving: Serving, sold: Shop, taken: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    class Own:
        def __init__(self) -> None:
            self.models: dict[str, Any] = {}

        def release(self, account: str, model: str) -> str:
            return "own-1@1"

        async def find(self, account: str, model: str) -> Any:
            return serving.desk.served["noop"]

    assert serving.predict(key_of(sold)).status == 200 and taken == [True]
    monkeypatch.setattr(serving.desk, "own", Own())
    assert serving.predict(key_of(sold)).status == 200 and taken == [True, False]


def test_refusals_are_the_general_ways(serving: Serving, sold: Shop, taken: list[bool]) -> None:
    revoked = sold.act(key_new, customer="tester")
    sold.act(key_revoke, key=revoked.id)
    time.sleep(0.6)
    key = key_of(sold)
    for given, body, path, status, code in (
            ("", b'{"text": "a"}', "noop", 401, "key-missing"), ("mf_live_x", b'{"text": "a"}', "noop", 401, "key-mistyped"),
            (revoked.token, b'{"text": "a"}', "noop", 401, "key-revoked"), (key, b"{", "noop", 400, "body-not-json"),
            (key, b'{"txt": "a"}', "noop", 422, "input-unknown"), (key, b"", "noop", 400, "body-not-json"),
            (key, b'{"text": "a"}', "noop@9", 404, "model-unknown"), (key, b'{"text": "a"}', "..", 404, "model-unknown")):
        (found, _, told), = talk(serving.port, request(given, body, f"/v1/predict/{path}"))
        error = json.loads(told)["error"]
        assert (found, error["code"]) == (status, code), told
    assert True not in taken
    assert serving.call("GET", "/v1/predict/noop", key=key).status == 405


def test_answers_leave_in_the_order_of_the_questions(serving: Serving, sold: Shop) -> None:
    key, data = key_of(sold), b""
    for number in range(12):
        more = GENERAL if number % 3 == 1 else {}
        data += request(key, json.dumps({"text": f"question {number}"}).encode(), **{name.replace("-", "_"): value for name, value in more.items()})
    found = talk(serving.port, data, 12)
    assert [json.loads(body)["answer"]["text"] for _, _, body in found] == [f"question {number}" for number in range(12)]
    (status, headers, _), = talk(serving.port, request(key, b'{"text": "last"}', connection="close"))
    assert status == 200 and headers["connection"] == "close"


def rested(batcher: Any) -> None:
    """Wait until the pace of the last batch is noted, which is a moment after its answers left."""
    noted = 0.0
    while not noted or noted != batcher._record_s:
        noted = batcher._record_s
        time.sleep(0.1)


def test_a_light_model_runs_where_its_records_come_from(serving: Serving, sold: Shop, model: Gated) -> None:
    batcher = serving.desk.served["noop"].batcher
    key = key_of(sold)
    serving.predict(key)  # money may have to be set aside first, which goes the general way

    def engines(record_s: float) -> int:
        """How many engine threads a request met while a record is believed to take so long; what is learnt late may undo that."""
        rested(batcher)
        batcher._record_s, model.threads = record_s, set()
        assert serving.predict(key).status == 200 and model.threads
        return len([name for name in model.threads if name.startswith("engine")])

    assert eventually(lambda: engines(1e-6) == 0, 10)
    assert eventually(lambda: engines(0.01) == len(model.threads) == 1, 10)


def test_who_hangs_up_is_left_out_and_pays_nothing(serving: Serving, sold: Shop, model: Gated) -> None:
    key, before = key_of(sold), len(sold.journals.rows("usage"))
    batcher = serving.desk.served["noop"].batcher
    batcher._record_s = 0.01
    model.gate.clear()
    callers = []
    for number in range(9):
        one = socket.create_connection(("127.0.0.1", serving.port))
        one.sendall(request(key, json.dumps({"text": f"gone {number}"}).encode()))
        callers.append(one)
        while number == 0 and batcher.waiting:
            time.sleep(0.005)
    until = time.monotonic() + 5
    while len(serving.desk.pending) < 9 and time.monotonic() < until:
        time.sleep(0.005)
    for one in callers:
        one.close()
    time.sleep(0.1)
    model.gate.set()
    while serving.desk.pending and time.monotonic() < until:
        time.sleep(0.005)
    assert not serving.desk.pending and batcher.waiting == 0
    assert sum(text.startswith("gone") for text in model.seen) <= 4, "those that still waited were left out"
    rows = [row for row in sold.journals.rows("usage")[before:] if row.kind == "use"]
    assert len(rows) <= 4 and all(not one.reserved for one in serving.desk.meter.purses.by_account.values())


def test_a_crowded_model_refuses_at_the_headers_and_only_who_asks_most(sold: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    sold.act(customer_new, name="quiet", credit="100")
    other = sold.act(key_new, customer="quiet", test=True).token
    model = Gated()
    serving = Serving(sold, {"noop@1": model}, wait_max_s=0.1)
    batcher = serving.desk.served["noop"].batcher
    batcher._record_s = 0.01
    model.gate.clear()
    key = key_of(sold)
    wrong = key[:-6] + "000000"
    monkeypatch.setattr(straight, "SAID_S", 60.0)
    callers = [socket.create_connection(("127.0.0.1", serving.port)) for _ in range(90)]
    try:
        for number, one in enumerate(callers):
            one.sendall(request(key, json.dumps({"text": f"one {number}"}).encode()))
            while number == 0 and (batcher.waiting or not serving.desk.pending):
                time.sleep(0.005)  # the engine has its batch, and takes no more
        until = time.monotonic() + 10
        while not batcher.crowded and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(0.1)
        assert batcher.crowded, (batcher.waiting, batcher._record_s, batcher._floor, serving.app.statistics.refused)
        parsed: list[object] = []
        monkeypatch.setattr(model, "parse", parsed.append)
        with socket.create_connection(("127.0.0.1", serving.port), timeout=10) as one:
            ids = set()
            for language, word in (("en", "Send fewer"), ("zh", "请减少"), ("en", "Send fewer")):
                one.sendall(request(key, b"no JSON at all", accept_language=language))
                status, headers, body = answer_from(one)
                error = json.loads(body)["error"]
                assert (status, error["code"]) == (429, "waiting-too-many") and word in error["fix"]
                assert headers["retry-after"] == "1"
                assert error["request_id"] == headers["mofang-request-id"] and len(error["request_id"]) == 30
                ids.add(error["request_id"])
            assert len(ids) == 3 and parsed == []
        assert talk(serving.port, request(wrong, b"{}"))[0][0] == 401
        assert serving.app.statistics.refused["waiting-too-many"] >= 3
        monkeypatch.undo()
        quiet = socket.create_connection(("127.0.0.1", serving.port), timeout=20)
        quiet.sendall(request(other, b'{"text": "quiet"}'))
        time.sleep(0.1)
        model.gate.set()
        assert answer_from(quiet)[0] == 200
        quiet.close()
    finally:
        model.gate.set()
        for one in callers:
            one.close()
        serving.stop()


def test_a_slow_answer_is_overdue_and_the_end_waits_for_what_has_begun(sold: Shop) -> None:
    model = Gated()
    serving = Serving(sold, {"noop@1": model}, deadline_s=0.4)
    key = key_of(sold)
    serving.desk.served["noop"].batcher._record_s = 0.01
    model.gate.clear()
    assert (late := serving.predict(key)).status == 503 and late.code == "too-late"
    serving.desk.deadline_s = 20.0
    model.gate.set()
    time.sleep(0.1)
    model.gate.clear()
    one = socket.create_connection(("127.0.0.1", serving.port), timeout=20)
    one.sendall(request(key, b'{"text": "last words"}'))
    while not serving.desk.pending:
        time.sleep(0.005)
    ending = threading.Thread(target=serving.stop)
    ending.start()
    time.sleep(0.3)
    model.gate.set()
    status, headers, body = answer_from(one)
    assert status == 200 and json.loads(body)["answer"]["text"] == "last words" and headers["connection"] == "close"
    one.close()
    ending.join(20)
    assert not ending.is_alive()
