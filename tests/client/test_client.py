"""The Python client: one charge for one question however often it is asked, patience with an end, the same for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from bench._noop_server import Noop, stock

from mofang import client as face
from mofang.client import AsyncClient, Client, Retry
from mofang.client.calls import Calls
from mofang.client.events import Events
from mofang.core.language import set_language
from tests.web.double import WORDS, Double
from tests.web.serving import InThread, Serving

Handler = Callable[[httpx.Request], httpx.Response]
SAID = {"request_id": "req_1", "model": "m@1", "units": 2, "price": "0.01", "currency": "CNY", "test": False, "answer": {"label": "pos"}}


class Both:
    """The same call by both clients over the same script; what they slept is kept."""

    def __init__(self, handler: Handler, retry: Retry | None = None) -> None:
        self.asked: list[httpx.Request] = []
        self.slept: list[float] = []
        self.now_s = 0.0
        self.handler, self.retry = handler, retry or Retry(deadline_s=60)

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.handler(request)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)

    def by(self, kind: str, call: Callable[[Any], Any]) -> Any:
        transport = httpx.MockTransport(self.handle)
        made: Any = Client("http://here", "k", retry=self.retry, transport=transport, sleep=self.sleep) if kind == "plain" else AsyncClient(
            "http://here", "k", retry=self.retry, transport=transport, sleep=self.asleep)
        made.calls.clock, made.calls.chance = lambda: self.now_s, lambda: 1.0
        found = call(made)
        return asyncio.run(finish(found)) if isinstance(found, Coroutine) else found


async def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await coroutine


both = pytest.mark.parametrize("kind", ["plain", "asyncio"])


def error(code: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "what": "What.", "fix": "Fix.", "request_id": "req_9", **more}}


@both
def test_one_key_for_all_attempts(kind: str) -> None:
    """Lost, refused for now, still at work, then answered: the key and the body are the same each time."""
    script: list[Any] = [httpx.ConnectError("gone"), httpx.Response(503, json=error("meter-waiting"), headers={"retry-after": "3"}),
                         httpx.Response(409, json=error("retry-in-progress")), httpx.Response(502, text="<html>a proxy</html>"),
                         httpx.Response(200, json=SAID, headers={"idempotent-replayed": "true"})]

    def handler(_request: httpx.Request) -> httpx.Response:
        told = script.pop(0)
        if isinstance(told, Exception):
            raise told
        return told  # type: ignore[no-any-return]

    there = Both(handler)
    answer = there.by(kind, lambda client: client.predict("m", {"text": "好"}))
    assert answer.answer == {"label": "pos"} and answer.price == Decimal("0.01") and answer.replayed
    assert len({request.headers["idempotency-key"] for request in there.asked}) == 1 == len({request.content for request in there.asked})
    assert there.slept == [0.1, 3.2, 0.4, 0.8], "never sooner than the server asks, and longer each time"
    assert {request.headers["authorization"] for request in there.asked} == {"Bearer k"}


@both
def test_patience_has_an_end_and_the_key_is_told(kind: str) -> None:
    there = Both(lambda _request: httpx.Response(429, json=error("busy"), headers={"retry-after": "4"}), Retry(deadline_s=10))
    with pytest.raises(face.Busy) as caught:
        there.by(kind, lambda client: client.predict("m", {"text": "x"}, idempotency_key="mine"))
    assert (caught.value.code, caught.value.status, caught.value.retry_after_s, caught.value.idempotency_key) == ("busy", 429, 4.0, "mine")
    assert there.now_s < 10 and len(there.asked) == 3

    def lost(_request: httpx.Request) -> httpx.Response:
        there.now_s += 7
        raise httpx.ReadTimeout("slow")

    there = Both(lost, Retry(deadline_s=10))
    with pytest.raises(face.Unreachable) as unreachable:
        there.by(kind, lambda client: client.predict("m", {"text": "x"}, deadline_s=12))
    assert unreachable.value.idempotency_key == there.asked[0].headers["idempotency-key"] and len(there.asked) == 2


@both
@pytest.mark.parametrize(("status", "code", "wanted"), [
    (401, "key-revoked", face.KeyRefused), (402, "credit-used-up", face.MoneyUsedUp), (403, "price-missing", face.NotAllowed),
    (409, "state-changed", face.Conflict), (422, "retry-key-reused", face.Conflict), (422, "record-invalid", face.Refused)])
def test_what_stands_is_not_repeated(kind: str, status: int, code: str, wanted: type[Exception]) -> None:
    there = Both(lambda _request: httpx.Response(status, json=error(code)))
    with pytest.raises(wanted) as caught:
        there.by(kind, lambda client: client.predict("m", [{"text": "x"}]))
    assert len(there.asked) == 1 and code in str(caught.value) and type(caught.value) is wanted
    assert json.loads(there.asked[0].content) == {"records": [{"text": "x"}]}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"error": 3}', b"\xff\xfe<html>", b'{"error": {"code": null}}'])
def test_a_refusal_of_any_form_has_a_code(body: bytes) -> None:
    there = Both(lambda _request: httpx.Response(418, content=body))
    with pytest.raises(face.Refused) as caught:
        there.by("plain", lambda client: client.usage())
    assert caught.value.code == "http-418"


def test_a_refusal_is_asked_for_in_ones_own_language() -> None:
    there = Both(lambda request: httpx.Response(402, json=error(request.headers["accept-language"])))
    set_language("zh")
    with pytest.raises(face.MoneyUsedUp, match="zh"):
        there.by("plain", lambda client: client.usage())
    assert "没有收到回答" in str(face.Unreachable("x"))


def test_pages_are_read_to_the_end() -> None:
    def page(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("page", "page_0").removeprefix("page_"))
        bucket = {"start_time": number, "end_time": number + 1, "results": [{"units": number}]}
        return httpx.Response(200, json={"data": [bucket], "has_more": number < 3, "next_page": f"page_{number + 1}"})

    there = Both(page)
    found = there.by("plain", lambda client: client.usage_between(0, 9, width="1h", by=["model"]))
    assert [one.start_s for one in found] == [0, 1, 2, 3] and found[3].results == ({"units": 3},)
    assert there.asked[0].url.params["group_by"] == "model"
    assert len(there.by("asyncio", lambda client: client.costs_between(0))) == 4


def test_both_clients_have_the_same_calls() -> None:
    public = {name for name in vars(Calls) if not name.startswith("_")} - {"exchange"}
    for kind in (Client, AsyncClient):
        assert public <= set(vars(kind))
        for name in public:
            assert inspect.signature(getattr(kind, name)) == inspect.signature(getattr(Calls, name)), name
            assert getattr(kind, name).__doc__


# Streams


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[tuple[Double, str]]:
    double, server = Double(), InThread()
    server.begin(double)
    yield double, f"http://127.0.0.1:{server.port}"
    server.stop()


def words_of(kind: str, address: str, **more: Any) -> tuple[list[str], Any]:
    if kind == "plain":
        with Client(address, "k", retry=Retry(deadline_s=5)) as client, client.stream("m", "hello", **more) as words:
            return list(words), words.events

    async def ask() -> tuple[list[str], Any]:
        async with AsyncClient(address, "k", retry=Retry(deadline_s=5)) as client, await client.stream("m", "hello", **more) as words:
            return [word async for word in words], words.events

    return asyncio.run(ask())


@both
def test_words_come_one_by_one(kind: str, elsewhere: tuple[Double, str]) -> None:
    double, address = elsewhere
    double.mode = ""
    said, events = words_of(kind, address, max_tokens=9)
    assert said == WORDS and events.text == "".join(WORDS) and events.over
    path, headers, body = double.asked[-1]
    assert path == "/v1/chat/completions" and headers["idempotency-key"] and body["max_tokens"] == 9


@both
def test_a_stream_that_is_cut_says_what_came(kind: str, elsewhere: tuple[Double, str]) -> None:
    double, address = elsewhere
    double.mode, double.sent = "cut", 0
    with pytest.raises(face.StreamBroken) as caught:
        words_of(kind, address)
    assert caught.value.text == "".join(WORDS[:2])


@both
def test_a_conversation_is_answered_whole(kind: str, elsewhere: tuple[Double, str]) -> None:
    double, address = elsewhere
    double.mode = ""
    if kind == "plain":
        with Client(address, "k") as client:
            found = client.chat("m", [{"role": "user", "content": "你好"}])
    else:
        found = asyncio.run(AsyncClient(address, "k").chat("m", "你好"))
    assert (found.text, found.finish, found.read, found.written) == ("".join(WORDS), "stop", 11, 4)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_may_be_cut_anywhere(size: int) -> None:
    told = b"".join(b"data: " + json.dumps({"choices": [{"delta": {"content": word}, "finish_reason": None}]}, ensure_ascii=False).encode()
                    + b"\r\n\r\n" for word in ("房间", "很好", "。")) + b": comment\n\ndata: [DONE]\n\n"
    events, said = Events(), []
    for start in range(0, len(told), size):
        said += events.feed(told[start : start + size])
    events.end()
    assert said == ["房间", "很好", "。"] and events.text == "房间很好。"


@pytest.mark.parametrize("data", [b"data: nonsense\n", b'data: {"error": {"code": "engine-failed"}}\n', b"x" * (1 << 21)])
def test_a_broken_event_is_said(data: bytes) -> None:
    with pytest.raises(face.ClientError):
        Events().feed(data)


# A real server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, dict[str, str]]]:
    path = tmp_path_factory.mktemp("client") / "shop"
    shop = stock(path)
    serving = Serving(shop, {"noop@1": Noop()})
    yield serving, {kind: (path / kind).read_text() for kind in ("live", "test")}
    serving.stop()


def test_a_model_is_asked_and_the_account_is_read(server: tuple[Serving, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    serving, keys = server
    monkeypatch.setenv("MOFANG_KEY", keys["live"])
    monkeypatch.setenv("MOFANG_ADDRESS", f"http://127.0.0.1:{serving.port}/v1")
    with Client() as client:
        assert client.models() == ["noop", "noop@1"]
        first = client.predict("noop", {"text": "房间很好"}, idempotency_key="once")
        again = client.predict("noop", {"text": "房间很好"}, idempotency_key="once")
        assert again.raw == first.raw and again.replayed and not first.replayed and first.currency == "CNY"
        many = client.predict("noop@1", [{"text": "a"}, {"text": "b" * 1500}])
        assert len(many.answers) == 2 and many.units == 3
        account = client.usage()
        assert account.customer == "tester" and account.usage[0]["units"] >= 4
        assert sum(result["units"] for bucket in client.usage_between(int(time.time()) - 20 * 86_400) for result in bucket.results) == account.usage[0]["units"]
        assert client.usage_file().startswith(b"day,key,model,") and len(client.usage_file().splitlines()) >= 2
        assert len(client.usage_file("2020-01").splitlines()) == 1
        assert len(client.usage_file(from_day="2020-01-01", until_day="2020-02-01").splitlines()) == 1
        with pytest.raises(face.Conflict):
            client.predict("noop", {"text": "another"}, idempotency_key="once")
    with pytest.raises(face.KeyRefused, match="key-mistyped"):
        Client(key="mf_live_x").usage()


def test_threads_share_a_client(server: tuple[Serving, dict[str, str]]) -> None:
    serving, keys = server
    found: list[Any] = []
    with Client(f"http://127.0.0.1:{serving.port}", keys["test"]) as client:
        threads = [threading.Thread(target=lambda: found.append(client.predict("noop", {"text": "x"}))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({one.request_id for one in found}) == 8


def test_it_imports_nothing_heavy() -> None:
    code = "import json, sys\nimport mofang.client\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, timeout=60)
    loaded = set(json.loads(done.stdout))
    assert loaded & {"torch", "numpy", "pyarrow", "onnxruntime", "fastapi", "pydantic", "cryptography"} == set()
    assert not [name for name in loaded if name.startswith(("mofang.trade", "mofang.serve", "mofang.web", "mofang.data"))]


def test_the_page_runs(server: tuple[Serving, dict[str, str]], monkeypatch: pytest.MonkeyPatch, elsewhere: tuple[Double, str]) -> None:
    """Every Python block of docs/client.md, against a running server."""
    serving, keys = server
    elsewhere[0].mode = ""
    monkeypatch.setenv("MOFANG_KEY", keys["test"])
    page = (Path(__file__).resolve().parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
    blocks = [piece.partition("```")[0] for piece in page.split("```python\n")[1:]]
    assert len(blocks) >= 4
    for block in blocks:
        place = elsewhere[1] if "writer" in block else f"http://127.0.0.1:{serving.port}"
        monkeypatch.setenv("MOFANG_ADDRESS", place)
        exec(compile(block, "docs/client.md", "exec"), {})  # noqa: S102
