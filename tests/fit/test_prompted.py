"""A generator that classifies by the likelihood of the labels' words: its prompt, its arithmetic, its graph, and what it refuses."""

from __future__ import annotations

import csv
import random
from typing import Any

import numpy as np
import pytest
import torch

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.engine.predictor import Predictor
from mofang.fit.families import Prompted
from mofang.fit.networks.generator import from_config
from mofang.fit.networks.likely import Likely
from mofang.fit.train import train
from mofang.recipe import collect, evaluate, export, package, pretrain, shard, snapshot, tokenizer
from tests.contract.world import write_texts

CONFIG = {"model_type": "gpt2", "vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40}
ASK = "{text} 评价 {label}"


def test_the_labels_are_rated_side_by_side_as_they_are_one_by_one() -> None:
    torch.manual_seed(0)
    generator = from_config(CONFIG, "eager").eval()
    words, prompts = [[7], [8, 9, 10], [8, 11]], [[1, 2, 3, 4], [5, 6]]
    ids = torch.tensor([prompts[0], [*prompts[1], 0, 0]])
    with torch.no_grad():
        found = Likely(generator, words).eval().raw(ids, (torch.arange(4)[None] < torch.tensor([[4], [2]])).long())
        for row, prompt in enumerate(prompts):
            for label, said in enumerate(words):
                whole = torch.tensor([[*prompt, *said]])
                states = generator.states(whole, torch.ones_like(whole), torch.arange(whole.shape[1])[None])
                shares = torch.log_softmax(generator.logits(states), dim=2)[0]
                each = [float(shares[len(prompt) - 1 + place, one]) for place, one in enumerate(said)]
                assert float(found[row, label]) == pytest.approx(np.mean(each), abs=1e-5)


@pytest.fixture(scope="module")
def home(fit_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    """A snapshot of reviews, and a base that has read other reviews with a verdict behind each."""
    folder, chance = tmp_path_factory.mktemp("prompted"), random.Random(5)
    write_texts(folder / "reviews.csv")
    told = [[f"{row['text']} 评价 {'好' if row['label'] == 'pos' else '坏'}"]
            for row in csv.DictReader((folder / "reviews.csv").open(encoding="utf-8"))]
    with (folder / "told.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *(chance.choice(told) for _ in range(600))])
    read = {"licence": "CC0-1.0", "origin": "tests", "text": ("text",)}
    records = fit_shop.run(collect, source=str(folder / "reviews.csv"), label="label", **read)
    data = fit_shop.run(snapshot, records, task="text_classification", label="label", inputs=("text",), validation=0.3, test=0.3)
    others = fit_shop.run(collect, source=str(folder / "told.csv"), **read)
    shards = fit_shop.run(shard, (others,), fit_shop.run(tokenizer, (others,), size=400), validation=0.1)
    base = fit_shop.run(pretrain, shards, architecture={"tag": "gpt", "depth": 2, "width": 64, "heads": 2}, context=128, lines=0,
                        batch_tokens=1024, checks=2, learning_rate=5e-3, steps=160)
    return data, base


@pytest.mark.parametrize("shots", [0, 1])
def test_it_classifies_without_learning(fit_shop: Shop, home: tuple[Artifact, Artifact], shots: int) -> None:
    family = Prompted(ask=ASK, words=("坏", "好"), shots=shots, max_length=128)
    model = fit_shop.run(train, *home, family=family)
    assert model.measures["validation"] > 0.75 and model.measures["shots"] == 2 * shots
    about = fit_shop.run(export, model).read_json("about.json")
    assert about["parity"]["max_abs_difference"] < 1e-4 and about["parity"]["label_agreement"] == 1
    assert fit_shop.run(train, *home, family=family.to_dict()).digest == model.digest


def test_packaged_it_answers_as_it_was_rated(fit_shop: Shop, home: tuple[Artifact, Artifact]) -> None:
    data, base = home
    model = fit_shop.run(train, data, base, family=Prompted(ask=ASK, words=("坏", "好"), max_length=128))
    graph = fit_shop.run(export, model)
    report = fit_shop.run(evaluate, graph, data / "test", resamples=20)
    assert report.measures["value"] > 0.75
    predictor = Predictor(fit_shop.run(package, graph, report, seconds=0.02, requests=18))
    records, _ = predictor.parse({"records": [{"text": "服务很差，房间肮脏"}, {"text": "早餐很好" * 300}]})
    said = predictor.predict(records)
    assert {one["label"] for one in said} <= {"neg", "pos"}


@pytest.mark.parametrize(("settings", "code"), [
    ({}, "prompt-without-base"), ({"ask": "{text}"}, "prompt-unreadable"), ({"ask": "{label} {text}"}, "prompt-unreadable"),
    ({"words": ("好",)}, "prompt-words"), ({"words": ("好", "好")}, "prompt-words"), ({"words": ("好", " ")}, "prompt-words"),
    ({"ask": "很长" * 60 + "{text} {label}"}, "prompt-too-long-for-context"),
])
def test_what_cannot_be_asked_is_refused_in_words(
    fit_shop: Shop, home: tuple[Artifact, Artifact], settings: dict[str, Any], code: str
) -> None:
    data, base = home
    with pytest.raises(MofangError) as error:
        given = () if code == "prompt-without-base" else (base,)
        fit_shop.run(train, data, *given, family={"tag": "prompted", "max_length": 48, **settings})
    assert error.value.code == code and error.value.fix
