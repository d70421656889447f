"""The OpenAI protocols with the stock client: conversations, prompts, vectors, streams, refusals, and what they cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from bench._noop_server import Noop, stock

from mofang.core.shop import Shop
from mofang.engine.generation.opened import Generator
from mofang.engine.generation.sampling import Sampling
from mofang.trade.pricing.prices import price_set
from tests.serve.talkers import package_folder, served
from tests.web.serving import Serving

HELLO: list[Any] = [{"role": "user", "content": "你好，今天天气怎么样？"}]


class Embedder(Noop):
    """A model of texts whose vectors are their lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.signature = {"task": "text_embedding", "inputs": [{"name": "text", "role": "text"}], "labels": []}  # type: ignore[assignment]

    def predict(self, records: Any) -> list[dict[str, Any]]:
        return [{"embedding": [float(len(one["text"])), 0.5]} for one in records]

    def encode(self, records: Any) -> dict[str, Any]:
        return {"attention_mask": np.ones((len(records), 3), np.int64)}


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return Generator(package_folder(tmp_path_factory.mktemp("talker") / "p"), slots=4)


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = stock(tmp_path_factory.mktemp("shop") / "sold")
    shop.act(price_set, model="chat", price="2.00/1000000", output=4)
    shop.act(price_set, model="vectors", price="1.00/1000")
    return shop


@pytest.fixture(scope="module")
def serving(sold: Shop, generator: Generator) -> Iterator[Serving]:
    made = Serving(sold, {"noop@1": Noop(), "vectors@1": Embedder()}, extra=[served("chat@1", generator)])
    yield made
    made.stop()
    assert sold.journals.verify() == []


@pytest.fixture(scope="module")
def client(serving: Serving, sold: Shop) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{serving.port}/v1", api_key=(sold.path / "live").read_text(), max_retries=0)


def last_use(shop: Shop) -> dict[str, Any]:
    return [row.body for row in shop.journals.rows("usage") if row.kind == "use"][-1]


def test_a_conversation_is_answered_and_charged_by_tokens(client: openai.OpenAI, generator: Generator, sold: Shop) -> None:
    prompt = generator.prompt(generator.conversation(HELLO))
    wanted = generator.write([prompt], Sampling(max_tokens=20))[0]
    told = client.chat.completions.create(model="chat", messages=HELLO, temperature=0, max_tokens=20)
    assert told.choices[0].message.content == wanted and told.model == "chat@1" and told.object == "chat.completion"
    assert told.usage is not None and told.usage.prompt_tokens == len(prompt)
    row = last_use(sold)
    assert (row["tokens_in"], row["tokens_out"]) == (len(prompt), told.usage.completion_tokens)
    assert row["units"] == len(prompt) + 4 * told.usage.completion_tokens and row["package"] == "run_chat@1"


def test_a_stream_says_the_same_and_ends_with_what_was_used(client: openai.OpenAI, sold: Shop) -> None:
    whole = client.chat.completions.create(model="chat", messages=HELLO, temperature=0, max_tokens=30)
    events = list(client.chat.completions.create(model="chat", messages=HELLO, temperature=0, max_tokens=30, stream=True,
                                                 stream_options={"include_usage": True}))
    text = "".join(one.choices[0].delta.content or "" for one in events if one.choices)
    assert text == whole.choices[0].message.content and events[-1].usage == whole.usage
    assert [one.choices[0].finish_reason for one in events if one.choices][-1] == whole.choices[0].finish_reason
    assert events[0].choices[0].delta.role == "assistant" and last_use(sold)["tokens_out"] == whole.usage.completion_tokens  # type: ignore[union-attr]


def test_many_callers_at_the_same_time_each_get_their_own_answer(serving: Serving, sold: Shop, generator: Generator) -> None:
    prompts = [f"{number} 号：你好 {'天气' * (number % 7)}" for number in range(24)]
    wanted = [generator.write([generator.prompt({"prompt": one})], Sampling(max_tokens=12))[0] for one in prompts]

    async def ask_all() -> list[str]:
        base = f"http://127.0.0.1:{serving.port}/v1"
        async with openai.AsyncOpenAI(base_url=base, api_key=(sold.path / "test").read_text(), max_retries=0) as asking:
            async def one(number: int) -> str:
                settings: dict[str, Any] = {"model": "chat@1", "prompt": prompts[number], "temperature": 0, "max_tokens": 12}
                if number % 2:
                    return str((await asking.completions.create(**settings)).choices[0].text)
                return "".join([event.choices[0].text async for event in await asking.completions.create(**settings, stream=True)])

            return list(await asyncio.gather(*map(one, range(len(prompts)))))

    assert asyncio.run(ask_all()) == wanted


def test_chance_follows_from_the_seed_and_log_probabilities_are_told(client: openai.OpenAI) -> None:
    def ask(seed: int) -> Any:
        return client.chat.completions.create(model="chat", messages=HELLO, temperature=1.5, top_p=0.9, seed=seed, max_tokens=12,
                                              logprobs=True, top_logprobs=3).choices[0]

    one = ask(5)
    assert one.message.content == ask(5).message.content != ask(6).message.content
    first = one.logprobs.content[0]
    assert len(first.top_logprobs) == 3 and first.logprob <= first.top_logprobs[0].logprob <= 0
    assert bytes(first.bytes).decode() == first.token


def test_what_is_not_done_is_refused_by_name(client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"tools": [tool]}, "unsupported_parameter", "tools"), ({"n": 2}, "unsupported_parameter", "n"),
        ({"logit_bias": {"5": 1}}, "unsupported_parameter", "logit_bias"),
        ({"messages": image}, "unsupported_parameter", "messages[0].content[0] image_url"),
        ({"response_format": {"type": "json_object"}}, "unsupported_parameter", "response_format"),
        ({"temperature": 3}, "invalid_value", "temperature"), ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"messages": []}, "invalid_value", "messages"), ({"stop": ["a"] * 5}, "invalid_value", "stop"),
        ({"extra_body": {"temprature": 1}}, "unknown_parameter", "temprature"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "invalid_value", "messages[0].role"),
        ({"messages": [{"role": "user", "content": "长 " * 2000}]}, "context_length_exceeded", ""),
    ]
    for settings, code, param in cases:
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(**{"model": "chat", "messages": HELLO, **settings})
        assert (refused.value.code, refused.value.param or "") == (code, param), settings
        assert refused.value.type == "invalid_request_error" and refused.value.body["message"]  # type: ignore[index]


def test_keys_models_and_doors(client: openai.OpenAI, serving: Serving) -> None:
    with pytest.raises(openai.AuthenticationError) as unknown:
        client.with_options(api_key="mf_live_nobody").models.list()
    assert unknown.value.code == "invalid_api_key"
    for model in ("nobody", "noop"):
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model=model, messages=HELLO)
        assert missing.value.code == "model_not_found" and missing.value.param == "model"
    assert {"chat", "chat@1", "noop", "vectors"} <= {one.id for one in client.models.list()}
    assert client.models.retrieve("chat").owned_by == "mofang"
    with pytest.raises(openai.NotFoundError) as speech:
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"))
    assert speech.value.code == "transcription-none"
    chinese = serving.call("POST", "/v1/chat/completions", {"model": "chat", "messages": HELLO, "tools": [1]},
                           key=client.api_key, accept_language="zh")
    assert chinese.status == 400 and "不支持" in chinese.json["error"]["message"]


def test_vectors_of_texts(client: openai.OpenAI, sold: Shop) -> None:
    told = client.embeddings.create(model="vectors", input=["你好", "hello"])  # the client itself asks for base64
    assert [one.embedding for one in told.data] == [[2.0, 0.5], [5.0, 0.5]] and told.usage.prompt_tokens == 6
    assert client.embeddings.create(model="vectors", input="a", encoding_format="float").data[0].embedding == [1.0, 0.5]
    assert last_use(sold)["model"] == "vectors@1"
    for settings in ({"input": [[1, 2]]}, {"input": []}, {"input": "a", "dimensions": 7}, {"input": "a", "encoding_format": "x"}):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(**{"model": "vectors", **settings})  # type: ignore[call-overload]


def test_a_retry_with_the_same_key_gets_the_first_answer_and_pays_nothing(client: openai.OpenAI, serving: Serving, sold: Shop) -> None:
    headers = {"Idempotency-Key": "again-1"}
    body = {"model": "chat", "messages": HELLO, "temperature": 1.3, "max_tokens": 9, "stream": True}
    before = len(sold.journals.rows("usage"))

    def ask() -> str:
        answer = serving.call("POST", "/v1/chat/completions", body, key=client.api_key, idempotency_key=headers["Idempotency-Key"])
        assert answer.status == 200 and answer.body.endswith(b"data: [DONE]\n\n")
        events = [json.loads(line[6:]) for line in answer.body.decode().split("\n\n") if line.startswith("data: {")]
        return "".join(one["choices"][0]["delta"].get("content", "") for one in events if one["choices"])

    first = ask()
    assert ask() == first
    assert len([row for row in sold.journals.rows("usage")[before:] if row.kind == "use"]) == 1
    reused = serving.call("POST", "/v1/chat/completions", {**body, "max_tokens": 8}, key=client.api_key, idempotency_key="again-1")
    assert reused.status in (409, 422, 400) and reused.json["error"]["mofang_code"] == "retry-key-reused"


def test_plain_prediction_of_a_generator(serving: Serving, sold: Shop, generator: Generator, client: openai.OpenAI) -> None:
    told = serving.call("POST", "/v1/predict/chat", {"prompt": "你好"}, key=client.api_key)
    body = told.json
    assert told.status == 200 and body["answer"] == generator.predict([{"prompt": "你好"}])[0]
    assert body["units"] == body["tokens"]["read"] + 4 * body["tokens"]["written"]
    many = serving.call("POST", "/v1/predict/chat", {"records": [{"prompt": "你好"}, {"prompt": "yes"}]}, key=client.api_key).json
    assert many["answers"] == generator.predict([{"prompt": "你好"}, {"prompt": "yes"}])


def test_events_are_whole_characters(serving: Serving, client: openai.OpenAI) -> None:
    body = {"model": "chat", "messages": HELLO, "temperature": 1.8, "seed": 3, "max_tokens": 120, "stream": True}
    with httpx.stream("POST", f"http://127.0.0.1:{serving.port}/v1/chat/completions", json=body,
                      headers={"authorization": f"Bearer {client.api_key}"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines) and lines[-1] == "data: [DONE]"
    whole = {**body, "stream": False}
    text = serving.call("POST", "/v1/chat/completions", whole, key=client.api_key).json["choices"][0]["message"]["content"]
    pieces = [json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines[:-1]]
    assert "".join(pieces) == text


def test_the_page_is_true(serving: Serving, client: openai.OpenAI, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "chat.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0].replace("127.0.0.1:8080", f"127.0.0.1:{serving.port}")
    exec(compile(code, "chat.md", "exec"), {"KEY": client.api_key})  # noqa: S102 - the page's own lines
    said = capsys.readouterr().out
    assert said.count("completion_tokens=") == 2


def test_a_package_in_a_shop_is_served_asked_and_travels(tmp_path: Path) -> None:
    """From the parts of a package to `serve`, `predict` and a file for another shop."""
    from mofang.engine.opening import open_package
    from mofang.wire import desk_of
    from tests.serve.talkers import talker

    folder = package_folder(tmp_path / "p")

    shop = Shop.open(tmp_path / "shop")
    shop.name("talker", shop.run(talker, folder=str(folder)))
    opened = open_package(shop.find("talker", kind="package"))
    assert isinstance(opened, Generator) and opened.predict([{"prompt": "你好"}])[0]["text"]
    desk = desk_of(shop, ["talker"])
    (found,) = desk.served.values()
    assert found.writer is not None and found.name == "talker@1"
    found.batcher.close()


def test_a_decoder_from_elsewhere_is_looked_through(tmp_path: Path) -> None:
    import onnx

    from mofang.core.errors import MofangError
    from mofang.engine.graphfile import check_graph
    from mofang.serve.trial import ask

    folder = package_folder(tmp_path / "p")
    graph = folder / "decoder" / "decoder.onnx"
    check_graph(graph, "decoder/decoder.onnx")
    assert ask(folder)["requests"] == 2
    with pytest.raises(MofangError) as elsewhere:
        check_graph(graph, "graph/model.onnx")
    assert elsewhere.value.code == "graph-custom"
    model = onnx.load(graph)
    model.graph.node.append(onnx.helper.make_node("Exp", ["logits"], ["more"]))
    onnx.save(model, graph)
    with pytest.raises(MofangError) as planted:
        check_graph(graph, "decoder/decoder.onnx")
    assert planted.value.code == "graph-custom"
