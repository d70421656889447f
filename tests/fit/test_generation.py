"""Generators: what they learn of conversations, how they write, and how preferences and rewards move them."""

from __future__ import annotations

import csv
import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.fit.families import Generator
from mofang.fit.train import Model, train
from mofang.recipe import collect, evaluate, export, package, snapshot

SMALL = Generator(
    layers=1, width=64, heads=2, vocabulary=320, max_length=48, epochs=14, learning_rate=1e-2, tokens=128, attention="eager"
)
WORDS = {"one": "一", "two": "二", "three": "三", "four": "四", "five": "五", "six": "六"}


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    """Rows as a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def collected(shop: Shop, path: Path, rows: list[dict[str, str]], **settings: Any) -> Any:
    """The rows as records."""
    source = str(write(path, rows))
    return shop.run(collect, source=source, licence="CC0-1.0", origin="tests", **settings)


def pairs(rows: int = 240) -> list[dict[str, str]]:
    """A number word in two languages, with a number that makes each prompt another one."""
    chance = random.Random(3)
    found = []
    for number in range(rows):
        word = chance.choice(list(WORDS))
        found.append({"prompt": f"{word} {number}", "completion": WORDS[word]})
    return found


@pytest.fixture(scope="module")
def taught(fit_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny generator that answers a number word with its Chinese sign."""
    folder = tmp_path_factory.mktemp("pairs")
    records = collected(fit_shop, folder / "a.csv", pairs(), text=("prompt",), label="completion")
    cut = fit_shop.run(snapshot, records, task="text_generation", label="completion", inputs=("prompt",))
    model: Model = fit_shop.run(train, cut, family=SMALL)
    return model


def test_it_learns_answers_and_writes_them(taught: Model, fit_shop: Shop) -> None:
    from mofang.fit.generate import Writer

    notes = taught.measures
    assert notes["perplexity"] < 1.5 and notes["bits_per_byte"] < 0.2
    writer = Writer(taught)
    assert writer.answer("three 17").text == "三"
    assert writer.answer([{"role": "user", "content": "six 5"}]).text == "六"
    assert writer.answer("six 5", max_tokens=1).finish in ("length", "end")
    assert writer.answer("six 5", stop=("六",)).text == ""


def test_a_prompt_is_refused_in_words(taught: Model) -> None:
    from mofang.fit.generate import Writer

    writer = Writer(taught)
    for bad, code in (("  ", "text-empty"), ([{"role": "boss", "content": "x"}], "role-unknown"), ([], "messages-unreadable"),
                      ([{"role": "user"}], "messages-unreadable"), ('[{"role": "x", "content": ""}]', "role-unknown")):
        with pytest.raises(MofangError) as error:
            writer.answer(bad)  # type: ignore[arg-type]
        assert error.value.code == code


def test_what_is_too_long_loses_its_beginning_and_says_so(taught: Model, fit_shop: Shop, tmp_path: Path) -> None:
    from mofang.fit.generate import generate

    rows = [{"prompt": "很长 " * 200 + "two 9"}, {"prompt": "two 8"}, {"prompt": "很长 " * 300 + "two 9"}]
    records = collected(fit_shop, tmp_path / "p.csv", rows, text=("prompt",))
    made = fit_shop.run(generate, taught, records, max_tokens=4)
    with made.open("answers.parquet") as file:
        answers = pq.read_table(file, use_threads=False, pre_buffer=False).to_pylist()
    assert answers[1]["text"] == "二" and answers[0]["text"] == answers[2]["text"], "what is cut off changes nothing"
    assert answers[0]["cut"] > 100 and answers[1]["cut"] == 0 and made.measures["cut"] == 2


def test_chance_follows_from_the_seed_and_not_from_the_company(taught: Model) -> None:
    from mofang.fit.generation.opened import open_generator
    from mofang.fit.generation.writer import Manner
    from mofang.fit.generation.writer import write as go_on

    opened = open_generator(taught)
    ids = opened.prompts([{"prompt": f"one {number}"} for number in range(6)])
    manner = Manner(max_tokens=5, temperature=2.0, seed=5)
    rest = (opened.encoder.ends, opened.encoder.decode, opened.context)
    together = go_on(opened.network, ids, manner, *rest)
    alone = go_on(opened.network, ids[4:], manner, *rest, first=4)
    assert [one.ids for one in together[4:]] == [one.ids for one in alone]
    assert go_on(opened.network, ids, Manner(max_tokens=5, temperature=2.0, seed=6), *rest) != together


def test_conversations_are_learnt_in_the_assistants_turns_only(fit_shop: Shop, tmp_path: Path) -> None:
    from mofang.engine.encode.chat import ChatEncoder
    from mofang.fit.generate import Writer
    from mofang.fit.generation.answers import read_conversations

    rows = [{"messages": json.dumps([
        {"role": "system", "content": f"{number}"}, {"role": "user", "content": "two <|assistant|>"},
        {"role": "assistant", "content": "二"}, {"role": "user", "content": "six"}, {"role": "assistant", "content": "六"},
    ], ensure_ascii=False)} for number in range(60)]
    encoder = ChatEncoder.fit(["one two six 二六"], ("messages",), vocabulary=300)
    read = read_conversations(encoder, rows[:2], [""] * 2)
    ids, learnt = read.row(0)
    assert encoder.tokenizer.decode(ids[learnt].tolist(), skip_special_tokens=False) == "二<|end|>\n六<|end|>\n"
    assert "< |assistant|>" in encoder.decode(ids.tolist()), "nobody speaks in another role"
    records = collected(fit_shop, tmp_path / "m.csv", rows, text=("messages",))
    cut = fit_shop.run(snapshot, records, task="text_generation", label="messages", inputs=("messages",))
    model = fit_shop.run(train, cut, family=dataclasses.replace(SMALL, max_length=96, epochs=3))
    assert Writer(model).answer([{"role": "user", "content": "two"}], max_tokens=2).finish in ("end", "length")
    graph = fit_shop.run(export, model)
    report = fit_shop.run(evaluate, graph, cut / "test", resamples=20).read_json("evaluation.json")
    assert report["rows"] and 0 <= report["metrics"]["chrf"]["value"] <= 1


def test_it_is_judged_by_likelihood_and_overlap(taught: Model, fit_shop: Shop) -> None:
    graph = fit_shop.run(export, taught)
    cut = fit_shop.ancestor(taught.entry, "snapshot")
    assert cut is not None and graph.measures["max_abs_difference"] < 1e-4
    report = fit_shop.run(evaluate, graph, cut / "test", resamples=50).read_json("evaluation.json")
    metrics = report["metrics"]
    assert report["headline"] == "log_likelihood" and metrics["perplexity"]["value"] < 1.5
    assert metrics["rouge_l"]["value"] > 0.9 and metrics["chrf"]["value"] > 0.9
    assert metrics["loss"]["low"] <= metrics["loss"]["value"] <= metrics["loss"]["high"]


def test_it_is_packaged_by_what_each_precision_loses(taught: Model, fit_shop: Shop) -> None:
    from mofang.engine.generation.opened import Generator as Packaged
    from mofang.fit.generate import Writer

    graph = fit_shop.run(export, taught)
    cut = fit_shop.ancestor(taught.entry, "snapshot")
    made = fit_shop.run(package, graph, fit_shop.run(evaluate, graph, cut / "test", resamples=20), seconds=0.01, requests=16)
    about = made.read_json("package.json")
    rows = {row["form"]: row for row in about["engines"]}
    assert set(rows) >= {"fp32", "int8", "int4"} and rows["fp32"]["max_abs_difference"] < 1e-4 and rows["fp32"]["passes"]
    for name in ("int8", "int4"):
        assert rows[name]["loss_low"] <= rows[name]["loss"] <= rows[name]["loss_high"]
        assert rows[name]["passes"] == (rows[name]["loss"] <= 0.01) and rows[name]["size_bytes"] < rows["fp32"]["size_bytes"]
    assert about["engine"]["passes"] and about["decoder"]["precision"] == about["engine"]["form"]
    packaged, writer = Packaged(made), Writer(taught)
    for prompt in ("three 17", "six 5"):
        assert packaged.predict([{"prompt": prompt}]) == [{"text": writer.answer(prompt).text}]
    messages = [{"role": "user", "content": "two 3"}]
    assert packaged.prompt(packaged.conversation(messages)) == writer.opened.encoder.prompt(messages)
    with pytest.raises(MofangError) as error:
        fit_shop.run(package, graph, precisions=("fp32",), requests=16, seconds=0.01, loss_max=0.0, formats=("torch",))
    assert error.value.code == "format-not-made"


@pytest.mark.parametrize("config", [
    {"model_type": "gpt2", "n_embd": 36, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0},
    {"model_type": "qwen2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
     "intermediate_size": 40, "tie_word_embeddings": False},
    {"model_type": "qwen3", "hidden_size": 32, "head_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
     "num_key_value_heads": 1, "intermediate_size": 40, "tie_word_embeddings": True},
    {"model_type": "llama", "hidden_size": 40, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4,
     "intermediate_size": 40, "rope_theta": 5000.0, "tie_word_embeddings": True},
])
def test_the_served_decoder_is_the_trained_network(config: dict[str, Any], tmp_path: Path) -> None:
    import torch

    from mofang.engine.generation.graph import decoder_graph
    from mofang.engine.generation.runtime import Decoder
    from mofang.engine.generation.shape import shape_of
    from mofang.fit.networks.generator import from_config

    torch.manual_seed(0)
    network = from_config({**config, "vocab_size": 90}).eval()
    for one in network.parameters():
        one.data *= 4 if one.ndim > 1 else 1
    weights = {name.removeprefix("body."): value.numpy() for name, value in network.state_dict().items()}
    (tmp_path / "d.onnx").write_bytes(decoder_graph(shape_of(config | {"vocab_size": 90}), weights, 64))
    decoder = Decoder(tmp_path / "d.onnx", shape_of(config | {"vocab_size": 90}), 64, slots=2)
    ids = torch.randint(0, 90, (1, 50))
    with torch.inference_mode():
        wanted = network.logits(network.states(ids, torch.ones_like(ids), torch.arange(50)[None]))[0].numpy()
    decoder.read(0, ids[0, :7].tolist(), 0)
    decoder.read(1, ids[0, :40].tolist(), 0)
    for step in range(8):
        found = decoder.step([int(ids[0, 7 + step]), int(ids[0, 40 + step])], [7 + step, 40 + step])
        assert np.abs(found - wanted[[7 + step, 40 + step]]).max() < 1e-4


def test_the_overlaps_are_those_of_the_papers() -> None:
    from mofang.judge.overlap import chrf, longest_common, rouge_l

    assert longest_common(["police", "killed", "a", "man"], ["police", "kill", "a", "man"]) == 3
    assert rouge_l("police killed the gunman", "police kill the gunman") == 0.75
    assert rouge_l("房间很好", "房间好") == pytest.approx(6 / 7) and rouge_l("", "") == 1 and rouge_l("a", "") == 0
    assert chrf("the cat", "the cat") == 1 and chrf("abc", "xyz") == 0 and 0.3 < chrf("很好的房间", "很好房间") < 1


def preferences(rows: int = 60) -> list[dict[str, str]]:
    """Longer answers are preferred."""
    return [{"prompt": one["prompt"], "chosen": one["completion"] * 2, "rejected": one["completion"]} for one in pairs(rows)]


@pytest.mark.parametrize("adapt", ["all", "lora"])
def test_preferences_raise_the_margin_on_held_out_pairs(taught: Model, fit_shop: Shop, tmp_path: Path, adapt: str) -> None:
    from mofang.fit.prefer import prefer

    records = collected(fit_shop, tmp_path / "d.csv", preferences(), text=("prompt", "chosen", "rejected"))
    model = fit_shop.run(prefer, taught, records, adapt=adapt, epochs=6, learning_rate=1e-2, validation=0.2,
                         tokens=1024)
    assert model.measures["margin"] > 1 and model.measures["preferred"] > 0.9
    assert model.measures["predicted_s"] > 0 and model.measures["planned"]["family"] == {"all": "prefer"}.get(adapt, "prefer/lora")
    about = model.read_json("about.json")
    assert about["taught"][0]["stage"] == "prefer" and about["taught"][0]["model"] == taught.digest
    assert model.read_json("curves.json")[-1]["margin"] > 0


def test_rewards_raise_what_they_reward(taught: Model, fit_shop: Shop, tmp_path: Path) -> None:
    from mofang.fit.generation.rewards import Form
    from mofang.fit.reinforce import reinforce

    rows = [{"prompt": f"one {number}"} for number in range(40)]
    records = collected(fit_shop, tmp_path / "r.csv", rows, text=("prompt",))
    settings = {"reward": Form(pattern=r".*[二三].*"), "max_tokens": 4, "temperature": 3.0, "kl": 0.0, "epochs": 6,
                "learning_rate": 1e-2, "validation": 0.3, "rows": 8, "group": 8}
    model = fit_shop.run(reinforce, taught, records, **settings)
    assert model.measures["reward"] > model.measures["reward_before"] + 0.2
    assert all("reward" in one for one in model.read_json("curves.json"))


def test_advantages_are_relative_to_the_group() -> None:
    from mofang.fit.generation.policy import advantages_of

    found = advantages_of(np.array([1, 0, 1, 0, 1, 1, 1, 1], np.float32), 4)
    assert found[:4].tolist() == [1, -1, 1, -1] and not found[4:].any()


def test_rewards_are_named_functions() -> None:
    from mofang.fit.generation.rewards import Exact, Form, Length, Reward

    assert Form(pattern=r"\d").of([" 7 ", "77", "七"], [{}] * 3, None).tolist() == [1, 0, 0]
    assert Exact().of(["Ａ ", "b"], [{"answer": "a"}, {"answer": "c"}], None).tolist() == [1, 0]
    assert Length(least=2, most=4).of(["", "a", "abc", "abcdef", "x" * 9], [{}] * 5, None).tolist() == [0, 0.5, 1, 0.5, 0]
    assert Reward.parse({"tag": "format", "pattern": "x"}) == Form(pattern="x")
    with pytest.raises(MofangError) as error:
        Reward.parse({"tag": "model", "label": "pos"}).require(None)
    assert error.value.code == "reward-without-model"
    with pytest.raises(MofangError) as error:
        Form(pattern="(").require(None)
    assert error.value.code == "rule-refused"


def test_packed_rows_do_not_see_each_other() -> None:
    import torch

    from mofang.fit.generation.likelihood import row_sums, token_log_probabilities
    from mofang.fit.generation.packing import packed_batch
    from mofang.fit.networks.generator import from_config

    torch.manual_seed(0)
    network = from_config({"model_type": "llama", "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2,
                           "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64})
    chance = np.random.default_rng(0)
    rows = [(chance.integers(1, 50, length), np.arange(length) > 1) for length in (5, 9, 3, 12)]
    packed = packed_batch(rows, 16)
    assert packed["input_ids"].shape == (2, 15)
    together = row_sums(*token_log_probabilities(network, packed), 4)
    alone = torch.cat([row_sums(*token_log_probabilities(network, packed_batch([row])), 1) for row in rows])
    assert torch.allclose(together, alone, atol=1e-5)


def test_writing_with_the_cache_is_writing_without_it(taught: Model) -> None:
    import torch

    from mofang.fit.generation.opened import open_generator
    from mofang.fit.generation.writer import Manner

    opened = open_generator(taught)
    records = [{"prompt": "one 1"}, {"prompt": "three four 12345"}]
    for prompt, answer in zip(opened.prompts(records), opened.answer(records, Manner(max_tokens=5)), strict=True):
        ids = list(prompt)
        for _ in range(len(answer.ids)):
            ids.append(int(opened.network(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.int64)).argmax()))
        assert ids[len(prompt):] == answer.ids


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_the_page_is_true(tmp_path: Path) -> None:
    from tests.new.test_pages import walk
    from tests.stories.terminal import Inside

    write(tmp_path / "words.csv", pairs())
    write(tmp_path / "wishes.csv", preferences())
    walk("generate.md", Inside(tmp_path), {})
