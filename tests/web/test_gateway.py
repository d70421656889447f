"""Engines elsewhere behind our keys and meter: what goes there, what comes back, what it costs, and what breaks on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import openai
import pytest
from bench._noop_server import stock

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.remote.registry import set_secret
from mofang.data.remote.secret import secret_value
from mofang.trade.elsewhere.gateway import Gateway
from mofang.trade.elsewhere.remotes import remote_add, remote_remove, remotes
from tests.web.double import WORDS, Double
from tests.web.serving import InThread, Serving

HELLO: list[Any] = [{"role": "user", "content": "你好"}]
SECRET = "sk-theirs-0123456789"


@pytest.fixture(scope="module")
def double() -> Iterator[tuple[Double, int]]:
    app, running = Double(), InThread()
    running.begin(app, lifespan="off")
    yield app, running.port
    running.stop()


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory, double: tuple[Double, int]) -> Shop:
    shop = stock(tmp_path_factory.mktemp("shop") / "sold")
    set_secret(shop, "theirs", SECRET)
    here = f"127.0.0.1:{double[1]}"
    shop.act(remote_add, name="big", url=f"http://{here}/v1", model="their-model", price="2.00/1000000", output=3, secret="theirs",
             allow_private=(here,), timeout_s=1.5)
    shop.act(remote_add, name="private", url=f"http://{here}/v1", model="m", price="1/1000000")
    return shop


@pytest.fixture(scope="module")
def serving(sold: Shop) -> Iterator[Serving]:
    made = Serving(sold, {})
    made.desk.gateway = Gateway(made.desk.directory, partial(secret_value, sold))
    yield made
    made.stop()
    assert sold.journals.verify() == [] and sold.verify() == []


@pytest.fixture
def client(serving: Serving, sold: Shop, double: tuple[Double, int]) -> openai.OpenAI:
    app = double[0]
    app.mode, app.asked, app.sent, app.ended = "", [], 0, 0
    return openai.OpenAI(base_url=f"http://127.0.0.1:{serving.port}/v1", api_key=(sold.path / "live").read_text(), max_retries=0)


def uses(shop: Shop) -> list[dict[str, Any]]:
    return [row.body for row in shop.journals.rows("usage") if row.kind == "use"]


def test_a_conversation_goes_there_and_is_charged_here(client: openai.OpenAI, sold: Shop, double: tuple[Double, int]) -> None:
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    told = client.chat.completions.create(model="big", messages=HELLO, max_tokens=9, tools=[tool], user="u")
    assert told.choices[0].message.content == "".join(WORDS) and told.model == "big"
    path, headers, body = double[0].asked[-1]
    assert path == "/v1/chat/completions" and headers["authorization"] == f"Bearer {SECRET}"
    assert body == {"model": "their-model", "messages": HELLO, "max_tokens": 9, "tools": [tool], "user": "u"}
    row = uses(sold)[-1]
    assert (row["model"], row["tokens_in"], row["tokens_out"], row["units"]) == ("big", 11, 4, 11 + 3 * 4)
    (remote,) = [one for one in remotes(sold.control) if one.name == "big"]
    assert row["package"] == remote.row and row["micros"] in (46, 47)
    assert "big" in {one.id for one in client.models.list()}
    vectors = client.embeddings.create(model="big", input="你好", encoding_format="float")
    assert vectors.data[0].embedding == [0.5, 1.0] and uses(sold)[-1]["units"] == 3


def test_a_stream_goes_through(client: openai.OpenAI, sold: Shop, double: tuple[Double, int]) -> None:
    for counted in (False, True):
        more: dict[str, Any] = {"stream_options": {"include_usage": True}} if counted else {}
        events = list(client.chat.completions.create(model="big", messages=HELLO, stream=True, **more))
        assert "".join(one.choices[0].delta.content or "" for one in events if one.choices) == "".join(WORDS)
        assert {one.model for one in events} == {"big"} and bool(events[-1].usage) == counted
        assert [one.choices[0].finish_reason for one in events if one.choices][-1] == "stop"
        assert double[0].asked[-1][2]["stream_options"]["include_usage"] is True and double[0].asked[-1][2]["max_tokens"] == 4096
        assert uses(sold)[-1]["units"] == 23


def test_their_refusals_and_faults_are_said_and_cost_nothing(client: openai.OpenAI, sold: Shop, double: tuple[Double, int]) -> None:
    before = len(uses(sold))
    cases: list[tuple[str, type[openai.APIStatusError], str]] = [
        ("400", openai.BadRequestError, "their-code"), ("401", openai.InternalServerError, "remote-failed"),
        ("429", openai.InternalServerError, "remote-busy"), ("503", openai.InternalServerError, "remote-busy"),
        ("500", openai.InternalServerError, "remote-failed"), ("nonsense", openai.InternalServerError, "remote-broken"),
        ("silent", openai.InternalServerError, "remote-timeout"),
    ]
    for mode, kind, code in cases:
        double[0].mode = mode
        with pytest.raises(kind) as refused:
            client.chat.completions.create(model="big", messages=HELLO)
        assert refused.value.code == code, mode
        assert "secret-of-theirs" not in str(refused.value) and SECRET not in str(refused.value)
    assert len(uses(sold)) == before
    with pytest.raises(openai.APIStatusError) as private:
        client.chat.completions.create(model="private", messages=HELLO)
    assert private.value.code in ("port-refused", "address-refused")
    double[0].mode = "uncounted"
    client.chat.completions.create(model="big", messages=HELLO)
    assert uses(sold)[-1]["tokens_out"] > 4, "counted by length where nothing was said"


def test_who_hangs_up_ends_the_work_there_and_pays_for_what_came(client: openai.OpenAI, sold: Shop, double: tuple[Double, int]) -> None:
    double[0].mode = "endless"
    before = len(uses(sold))
    for number in range(5):
        with client.chat.completions.create(model="big", messages=HELLO, stream=True) as events:
            for place, _ in enumerate(events):
                if place >= 2 + number:
                    break
    until = time.monotonic() + 1.5
    while (double[0].ended < 5 or len(uses(sold)) < before + 5) and time.monotonic() < until:
        time.sleep(0.01)
    assert double[0].ended == 5, "their side stops within a second"
    rows = uses(sold)[before:]
    assert len(rows) == 5 and all(2 <= row["tokens_out"] < 400 for row in rows)


def test_a_stream_that_they_cut_is_cut_here_and_charged_for_what_came(client: openai.OpenAI, sold: Shop,
                                                                     double: tuple[Double, int]) -> None:
    double[0].mode = "cut"
    before = len(uses(sold))
    with pytest.raises((openai.APIError, Exception)):
        list(client.chat.completions.create(model="big", messages=HELLO, stream=True))
    rows = uses(sold)[before:]
    assert len(rows) <= 1 and all(row["tokens_out"] <= 2 for row in rows)


def test_retries_and_keys(client: openai.OpenAI, serving: Serving, sold: Shop, double: tuple[Double, int]) -> None:
    for body in ({"model": "big", "messages": HELLO}, {"model": "big", "messages": HELLO, "stream": True}):
        answers = [serving.call("POST", "/v1/chat/completions", body, key=client.api_key, idempotency_key=f"k{len(body)}").body
                   for _ in range(2)]
        assert answers[0] == answers[1] and b"big" in answers[0]
    assert len(double[0].asked) == 2
    assert serving.call("POST", "/v1/chat/completions", {"model": "big"}).status == 401


def test_remotes_come_and_go_and_are_checked(client: openai.OpenAI, sold: Shop) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"url": "ftp://x/v1"}, "remote-address"), ({"url": "https://x/v1?a=1"}, "remote-address"),
        ({"url": "https://me:pw@x/v1"}, "source-with-password"), ({"model": " "}, "remote-settings"),
        ({"name": "a b"}, "name-invalid"), ({"output": 5000, "price": "1"}, "price-output"), ({"allow_private": ("x",)}, "private-unreadable"),
    ]
    for settings, code in cases:
        with pytest.raises(MofangError) as refused:
            sold.act(remote_add, **{"name": "other", "url": "https://host/v1", "model": "m", **settings})
        assert refused.value.code == code
    sold.act(remote_add, name="soon", url="https://host.example/v1/", model="m")
    assert [one.url for one in remotes(sold.control) if one.name == "soon"] == ["https://host.example/v1"]
    sold.act(remote_remove, name="soon")
    until = time.monotonic() + 2
    while time.monotonic() < until:
        try:
            client.chat.completions.create(model="soon", messages=HELLO)
        except openai.NotFoundError:
            break
        except openai.APIStatusError:
            time.sleep(0.1)
    else:
        raise AssertionError("still sold")
    assert "soon" not in {one.id for one in client.models.list()}


def test_the_page_is_true(tmp_path: Any) -> None:
    from tests.new.test_pages import walk
    from tests.stories.terminal import Inside

    walk("gateway.md", Inside(tmp_path), {})
