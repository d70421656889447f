"""The prediction API over a real socket: who gets in, what is answered, what is refused and how."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench._noop_server import ANSWER, Noop, stock

from mofang.core.shop import Shop
from mofang.trade.accounts.customers import customer_new
from mofang.trade.accounts.keys import key_new, key_revoke, new_token
from tests.web.serving import Fixed, Serving

Start = Callable[..., Serving]


@pytest.fixture
def sold(tmp_path: Path) -> Shop:
    """A shop with a customer, keys and a price."""
    return stock(tmp_path / "sold")


@pytest.fixture
def start(sold: Shop) -> Iterator[Start]:
    made: list[Serving] = []

    def build(models: dict[str, Any] | None = None, **settings: Any) -> Serving:
        made.append(Serving(sold, models or {"noop@1": Noop()}, **settings))
        return made[-1]

    yield build
    for one in made:
        one.stop()
    assert sold.journals.verify() == []


def key(sold: Shop, kind: str = "live") -> str:
    return (sold.path / kind).read_text()


def uses(sold: Shop) -> list[dict[str, Any]]:
    return [row.body for row in sold.journals.rows("usage") if row.kind == "use"]


def test_an_answer_says_what_it_is_and_what_it_costs(sold: Shop, start: Start) -> None:
    told = start().predict(key(sold), {"text": "好" * 2500})
    body = told.json
    (row,) = uses(sold)
    assert told.status == 200 and body.pop("request_id") == row["request_id"]
    assert body == {"model": "noop@1", "units": 3, "price": "0.0001011", "currency": "CNY", "test": False,
                    "answer": ANSWER}
    assert (row["package"], row["units"], row["micros"]) == ("run_noop@1", 3, 101)


def test_many_records_are_answered_in_order(sold: Shop, start: Start) -> None:
    model = Fixed(lambda records: [{"label": record["text"]} for record in records])
    told = start({"noop@1": model}).predict(key(sold), {"records": [{"text": str(n)} for n in range(40)]})
    assert [one["label"] for one in told.json["answers"]] == [str(n) for n in range(40)] and told.json["units"] == 40


def test_a_test_key_is_free_and_needs_no_price(sold: Shop, start: Start) -> None:
    server = start({"noop@1": Noop(), "other@1": Noop()})
    told = server.predict(key(sold, "test"), model="other")
    assert (told.json["price"], told.json["test"]) == ("0", True) and uses(sold)[0]["micros"] == 0
    refused = server.predict(key(sold), model="other")
    assert (refused.status, refused.code) == (403, "price-missing")


def test_names_and_versions(sold: Shop, start: Start) -> None:
    server = start({"noop@2": Noop(), "noop@10": Noop(), "noop@9": Noop()})
    assert server.predict(key(sold)).json["model"] == "noop@10"
    assert server.predict(key(sold), model="noop@2").json["model"] == "noop@2"
    unknown = server.predict(key(sold), model="nop")
    assert (unknown.status, unknown.code) == (404, "model-unknown") and "noop" in unknown.json["error"]["what"]


def test_the_door(sold: Shop, start: Start) -> None:
    server = start()
    other = sold.act(key_new, customer="tester", models=("reviews",))
    brief = sold.act(key_new, customer="tester", days=1e-9)
    server.desk.directory.look()
    for token, status, code in (("", 401, "key-missing"), ("x", 401, "key-mistyped"), ("密", 401, "key-mistyped"),
                                (key(sold) + "x", 401, "key-mistyped"), (new_token(False)[1], 401, "key-unknown"),
                                (brief.token, 401, "key-expired"), (other.token, 403, "key-scope")):
        told = server.call("POST", "/v1/predict/noop", {"text": "a"}, key=token.encode().decode("latin-1"))
        assert (told.status, told.code) == (status, code)
        assert (told.headers.get("www-authenticate") == "Bearer") == (status == 401)
    assert uses(sold) == []


ROUTES = [("GET", "/health"), ("POST", "/v1/predict/noop"), ("GET", "/v1/usage")]


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/"), ("GET", "/docs"), ("POST", "/v1/predict/"),
                                              ("GET", "/v1/keys"), ("GET", "/v1/../v1/usage"), ("GET", "/V1/usage"),
                                              ("GET", "//v1/usage"), ("DELETE", "/v1/usage"), ("POST", "/health"),
                                              ("OPTIONS", "/v1/predict/noop"), ("GET", "/v1/predict/noop")])
def test_without_a_key_nothing_but_health_is_open(sold: Shop, start: Start, method: str, path: str) -> None:
    told = start().call(method, path, {"text": "a"} if method == "POST" else None)
    if (method, path) == ("GET", "/health"):
        assert told.json == {"status": "ok", "models": ["noop@1"]}
    else:
        assert told.status in (401, 404, 405) and told.json["error"]["request_id"].startswith("req_")
    assert uses(sold) == []


def test_head_and_refusals_leave_the_connection_in_order(sold: Shop, start: Start) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", start().port, timeout=10)
    for method, path, status in (("HEAD", "/health", 405), ("GET", "/nothing", 404), ("HEAD", "/nothing", 404),
                                 ("POST", "/v1/predict/noop", 401), ("GET", "/health", 200)):
        connection.request(method, path, b"{}" if method == "POST" else None)
        response = connection.getresponse()
        assert response.status == status and bool(response.read()) == (method != "HEAD")
    connection.close()


def test_usage_is_the_callers_own(sold: Shop, start: Start) -> None:
    server = start()
    sold.act(customer_new, name="rival")
    rival = sold.act(key_new, customer="rival").token
    server.desk.directory.look()
    server.predict(key(sold))
    assert server.call("GET", "/v1/usage", key=rival).json["usage"] == []
    own = server.call("GET", "/v1/usage", key=key(sold)).json
    assert own["customer"] == "tester" and own["usage"][0]["requests"] == 1 and "rival" not in json.dumps(own)


@pytest.mark.parametrize(("body", "code"), [
    (b"", "body-not-json"), (b"{", "body-not-json"), (b'{"text": NaN}', "body-not-json"),
    (b"\xff\xfe", "body-not-json"), (b"[1]", "body-wrong-shape"), (b'{"txet": "a"}', "input-unknown"),
    (b"{}", "value-missing"), (b'{"text": 3}', "value-wrong-type"), (b'{"text": " "}', "text-empty"),
    (b'{"records": []}', "records-empty"), (b'{"text": "' + b"a" * (1 << 20) + b'"}', "body-too-large")])
def test_bad_bodies_are_refused_in_words_and_cost_nothing(sold: Shop, start: Start, body: bytes, code: str) -> None:
    told = start().predict(key(sold), body)
    error = told.json["error"]
    assert told.code == code and 400 <= told.status < 500 and set(error) == {"code", "what", "fix", "request_id"}
    assert uses(sold) == []


def test_a_body_is_counted_while_it_streams(sold: Shop, start: Start) -> None:
    """600 MB in chunks, whose length no header tells."""
    server = start()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall(f"POST /v1/predict/noop HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key(sold)}\r\n"
                       "transfer-encoding: chunked\r\n\r\n".encode())
    sent = 0
    try:
        for _ in range(600):
            connection.sendall(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")
            sent += 0x10000
        answer = connection.recv(4096)
    except OSError:
        answer = b"closed"
    connection.close()
    assert (b"413" in answer or answer == b"closed") and sent < 100 << 20
    assert server.predict(key(sold)).status == 200


def test_chinese_where_chinese_is_asked_for(sold: Shop, start: Start) -> None:
    server = start()
    assert "密钥" in server.predict("x", accept_language="zh-CN,zh;q=0.9").json["error"]["what"]
    assert "key" in server.predict("x", accept_language="en").json["error"]["what"]


def test_a_retry_is_answered_as_before_and_not_charged(sold: Shop, start: Start) -> None:
    server = start()
    first = server.predict(key(sold), idempotency_key="order-1")
    again = server.predict(key(sold), idempotency_key="order-1")
    assert again.body == first.body and again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers and len(uses(sold)) == 1
    other = server.predict(key(sold), {"text": "other"}, idempotency_key="order-1")
    assert (other.status, other.code) == (422, "retry-key-reused")
    for bad in ("", "x" * 201, "é"):
        assert server.predict(key(sold), idempotency_key=bad).code == "retry-key-invalid"


def test_a_retry_while_the_first_still_runs_is_told_to_wait(sold: Shop, start: Start) -> None:
    gate, begun = threading.Event(), threading.Event()

    def slow(records: Any) -> list[dict[str, Any]]:
        begun.set()
        assert gate.wait(20)
        return [ANSWER for _ in records]

    server = start({"noop@1": Fixed(slow)})
    told: list[Any] = []
    thread = threading.Thread(target=lambda: told.append(server.predict(key(sold), idempotency_key="a")))
    thread.start()
    assert begun.wait(20)
    busy = server.predict(key(sold), idempotency_key="a")
    assert (busy.status, busy.code, busy.headers["retry-after"]) == (409, "retry-in-progress", "1")
    gate.set()
    thread.join(20)
    assert server.predict(key(sold), idempotency_key="a").body == told[0].body and len(uses(sold)) == 1


def test_a_revoked_key_is_refused_within_a_second(sold: Shop, start: Start) -> None:
    server = start()
    assert server.predict(key(sold)).status == 200
    sold.act(key_revoke, key=key(sold))
    revoked_s = time.monotonic()
    while server.predict(key(sold)).status == 200:
        assert time.monotonic() < revoked_s + 1.0
    assert server.predict(key(sold)).code == "key-revoked"


def test_a_model_that_fails_is_not_charged(sold: Shop, start: Start) -> None:
    def fails(records: Any) -> list[dict[str, Any]]:
        if records[0]["text"] == "short":
            return []
        return [{"label": object()}] if records[0]["text"] == "odd" else 1 / 0  # type: ignore[return-value]

    server = start({"noop@1": Fixed(fails)})
    for text in ("zero", "short", "odd"):
        told = server.predict(key(sold), {"text": text})
        assert (told.status, told.code) == (500, "engine-failed")
    assert uses(sold) == [] and server.desk.meter.purses.by_account.popitem()[1].reserved == 0


def test_a_late_answer_is_refused_and_not_charged(sold: Shop, start: Start) -> None:
    gate = threading.Event()
    server = start({"noop@1": Fixed(lambda records: gate.wait(20) and [ANSWER for _ in records])}, deadline_s=0.3)
    told = server.predict(key(sold))
    assert (told.status, told.code, told.headers["retry-after"]) == (503, "too-late", "1")
    gate.set()
    assert server.predict(key(sold)).status == 200 and len(uses(sold)) == 1


def test_a_full_queue_says_so(sold: Shop, start: Start) -> None:
    gate = threading.Event()
    server = start({"noop@1": Fixed(lambda records: gate.wait(20) and [ANSWER for _ in records])}, queue_max=8)
    codes: list[str] = []
    threads = [threading.Thread(target=lambda: codes.append(server.predict(key(sold)).code)) for _ in range(40)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 20
    while "busy" not in codes and time.monotonic() < until:
        time.sleep(0.01)
    gate.set()
    for thread in threads:
        thread.join(20)
    assert codes.count("ok") == len(uses(sold)) >= 8 and set(codes) == {"ok", "busy"}


def test_who_hangs_up_before_the_work_begins_is_not_charged(sold: Shop, start: Start) -> None:
    gate, seen = threading.Event(), []

    def slow(records: Any) -> list[dict[str, Any]]:
        assert gate.wait(20)
        seen.extend(record["text"] for record in records)
        return [ANSWER for _ in records]

    server = start({"noop@1": Fixed(slow)})
    thread = threading.Thread(target=lambda: server.predict(key(sold), {"text": "first"}))
    thread.start()
    time.sleep(0.2)
    body = b'{"text":"gone"}'
    caller = socket.create_connection(("127.0.0.1", server.port))
    caller.sendall(f"POST /v1/predict/noop HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key(sold)}\r\n"
                   f"content-length: {len(body)}\r\n\r\n".encode() + body)
    time.sleep(0.2)
    caller.close()
    time.sleep(0.2)
    gate.set()
    thread.join(20)
    assert server.predict(key(sold), {"text": "last"}).status == 200
    assert seen == ["first", "last"] and len(uses(sold)) == 2


def test_stopping_finishes_what_has_begun(sold: Shop) -> None:
    server = Serving(sold, {"noop@1": Fixed(lambda records: time.sleep(0.5) or [ANSWER for _ in records])})
    codes: list[str] = []
    threads = [threading.Thread(target=lambda: codes.append(server.predict(key(sold)).code)) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.25)
    server.stop()
    for thread in threads:
        thread.join(20)
    assert codes == ["ok"] * 6 and len(uses(sold)) == 6
    assert sold.control.rows("select count(*) from allotment") == [(0,)], "nothing stays set aside"


def test_arrays_are_digested_on_request(sold: Shop, start: Start) -> None:
    import numpy as np

    from mofang.engine.arrays import arrays_digest

    model = Noop()
    model.encode = lambda records: {"ids": np.arange(len(records))}  # type: ignore[method-assign]
    told = start({"noop@1": model}).predict(key(sold), mofang_arrays="1")
    assert told.json["arrays_sha256"] == arrays_digest({"ids": np.arange(1)})


def test_the_serving_process_holds_no_torch() -> None:
    import subprocess
    import sys

    code = ("import sys, mofang.web.server, mofang.wire, bench._noop_server; "
            "print([m for m in sys.modules if m in ('torch', 'mofang.fit', 'httpx', 'rich')])")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"
