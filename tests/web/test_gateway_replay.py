"""An engine elsewhere is sold, looked into and repeated like a model of one's own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
from bench._noop_server import stock

from mofang.core.shop import Shop
from mofang.data.remote.secret import secret_value
from mofang.engine.generation.opened import Generator
from mofang.trade.accounts.customers import customer_keep
from mofang.trade.elsewhere.gateway import Gateway
from mofang.trade.elsewhere.passed import said_in
from mofang.trade.elsewhere.remotes import remote_remove
from mofang.trade.kept import Cabinet, kept_of
from mofang.trade.looked import SECRET, Marks, answered
from mofang.trade.pricing.prices import price_at, prices
from tests.serve.talkers import package_folder, served, talker
from tests.stories.terminal import Inside
from tests.web.double import WORDS, Double
from tests.web.serving import InThread, Serving

HELLO: list[Any] = [{"role": "user", "content": "你好"}]


class Place:
    """A shop with an engine elsewhere and a generator of its own, both served with marks."""

    def __init__(self, folder: Path, double: Double, port: int) -> None:
        self.terminal, self.double = Inside(folder), double
        self.shop: Shop = stock(self.terminal.shop)
        here = f"127.0.0.1:{port}"
        self.double_url = f"http://{here}/v1"
        self.terminal.type("remote", "add", "big", "--url", f"http://{here}/v1", "--model", "theirs", "--allow-private", here)
        self.sold = self.terminal.type("sell", "big", "--to", "Acme", "--price", "2.00/1000000", "--output", "4", "--yes").out
        package = self.shop.run(talker, folder=str(package_folder(folder / "talker")))
        self.shop.name("chat", package)
        self.terminal.type("price", "set", "chat", "1/1000000")
        generator = Generator(package, slots=2)
        one = served("chat@1", generator)
        self.serving = Serving(self.shop, {}, extra=[type(one)(one.name, package.entry, one.model, one.batcher, one.writer)])
        desk = self.serving.desk
        desk.gateway = Gateway(desk.directory, partial(secret_value, self.shop))
        desk.marks = Marks(self.shop.secret(SECRET), Cabinet(self.shop.again()), lambda a: desk.directory.picture.keep.get(a, 0))
        self.client = openai.OpenAI(base_url=f"http://127.0.0.1:{self.serving.port}/v1", api_key=(self.shop.path / "live").read_text(),
                                    max_retries=0)

    def ask(self, **body: Any) -> tuple[str, str]:
        """Ask, and leave what was sent in a file: the request's id, the file's name."""
        (self.terminal.folder / "body.json").write_text(json.dumps(body, ensure_ascii=False, indent=1), encoding="utf-8")
        answer = self.serving.call("POST", "/v1/chat/completions", body, key=self.client.api_key)
        assert answer.status == 200, answer
        return answer.headers["mofang-request-id"], "body.json"

    def replay(self, *words: str) -> Any:
        return self.terminal.type("replay", *words, "--json").json


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    double, running = Double(), InThread()
    running.begin(double, lifespan="off")
    made = Place(tmp_path_factory.mktemp("place"), double, running.port)
    yield made
    made.serving.stop()
    running.stop()
    assert made.shop.journals.verify() == []


def test_an_engine_elsewhere_is_sold_in_one_step(place: Place) -> None:
    assert "/v1/chat/completions" in place.sold and "big" in place.sold
    price = price_at(prices(place.shop.control, "big"), 2**60)
    assert price is not None and (price.output, price.version) == (4, 1)
    again = place.terminal.type("sell", "big", "--to", "tester", "--price", "2.00/1000000", "--output", "5", "--yes", "--json").json
    assert (again["price_version"], again["new_price"]) == (2, True)
    assert place.terminal.type("sell", "big", "--to", "tester", "--output", "4", status=1).code == "output-needs-price"
    assert place.terminal.type("sell", "bigg", "--to", "tester", "--price", "1/1000", status=1).code == "name-unknown"


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_asked_elsewhere_is_proved_and_repeated_at_a_word(place: Place, stream: bool) -> None:
    request, file = place.ask(model="big", messages=HELLO, temperature=0, stream=stream)
    found = place.replay(request, "--input", file)
    assert (found["input"], found["repeated"], found["equal"]) == ("same", False, None)
    assert "--ask" in place.terminal.type("replay", request, "--input", file).out
    before = len(place.double.asked)
    again = place.replay(request, "--input", file, "--ask")
    assert (again["equal"], again["answers"]) == (True, [{"text": "".join(WORDS)}]) and len(place.double.asked) == before + 1
    (place.terminal.folder / "other.json").write_text(json.dumps({"model": "big", "messages": [{"role": "user", "content": "您好"}]}))
    assert place.terminal.type("replay", request, "--input", "other.json", status=1).code == "input-differs"
    assert place.terminal.type("replay", request, status=1).code == "text-not-kept"
    assert place.terminal.type("replay", request, "--input", file, "--correct", "x", status=1).code == "correction-not-queued"


def test_a_registration_that_is_gone_still_proves_the_input_and_chance_is_said(place: Place) -> None:
    request, file = place.ask(model="big", messages=HELLO)
    place.shop.act(remote_remove, name="big")
    found = place.terminal.type("replay", request, "--input", file, "--ask")
    assert "the same as then" in found.out and "what was answered then" in found.out, found
    place.double.mode = "500"
    assert place.terminal.type("replay", request, "--input", file, "--ask", status=1).code == "remote-failed"
    place.double.mode = ""


def test_what_a_generator_wrote_is_repeated_where_chance_had_no_part(place: Place) -> None:
    for more, equal in (({"temperature": 0}, True), ({"seed": 7}, True), ({"temperature": 1.5}, None)):
        request, file = place.ask(model="chat", messages=HELLO, max_tokens=8, **more)
        found = place.replay(request, "--input", file)
        assert (found["input"], found["repeated"]) == ("same", True) and (found["equal"] is equal or equal is None), more
    answer = place.serving.predict(place.client.api_key, {"prompt": "你好"}, model="chat")
    (place.terminal.folder / "plain.txt").write_text("你好\n", encoding="utf-8")
    assert place.replay(answer.json["request_id"], "--input", "plain.txt")["equal"] is True


def test_kept_texts_of_engines_elsewhere_are_found_again(place: Place) -> None:
    place.terminal.type("remote", "add", "kept", "--url", place.double_url, "--model", "theirs", "--price", "1/1000000",
                        "--allow-private", place.double_url[7:-3])
    place.shop.act(customer_keep, customer="tester", days=3)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        time.sleep(0.4)  # servers follow within a second
        request, _ = place.ask(model="kept", messages=HELLO, temperature=0)
        if kept_of(place.shop, request) is not None:
            break
    assert place.replay(request)["input"] == "same" and answered(place.shop, request).said


def test_answers_are_read_out_of_every_form() -> None:
    whole = json.dumps({"choices": [{"message": {"content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}}]})
    pieces = [{"index": 0, "function": {"name": "f", "arguments": ""}}, {"index": 0, "function": {"arguments": "{}"}}]
    stream = "".join(f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'tool_calls': [one]}}]})}\n\n" for one in pieces)
    assert said_in(whole.encode()) == said_in(stream.encode() + b"data: [DONE]\n\n") == [{"text": "", "calls": [{"name": "f", "arguments": "{}"}]}]
    assert said_in(b'{"data": [{"embedding": [1.0]}]}') == [{"embedding": [1.0]}] and said_in(b"[]") == [] == said_in(b"x")
