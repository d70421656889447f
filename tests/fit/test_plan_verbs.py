"""What is foretold of writing and of learning by rewards, and what the shop's own runs teach the search and ``new``."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest

from mofang.core.shop import Shop
from mofang.data.snapshot import Snapshot
from mofang.fit.planning import learnt
from mofang.fit.planning.work import Terms
from mofang.fit.planning.writing import ROWS_AT_ONCE, Answers, reinforcing, writing
from mofang.fit.train import train
from mofang.recipe import collect, generate, reinforce, select, snapshot

CONFIG = {"model_type": "llama", "vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
          "num_key_value_heads": 2, "intermediate_size": 85, "max_position_embeddings": 48, "tie_word_embeddings": True}


def test_writing_is_counted_turn_by_turn() -> None:
    from mofang.fit.generation import writer

    assert ROWS_AT_ONCE == writer.ROWS_AT_ONCE
    one, many = (writing(CONFIG, Answers(prompts, 10, 20)) for prompts in (1, 33))
    assert (one.steps, many.steps) == (20, 60), "sixteen rows share a turn"
    assert many.flops == pytest.approx(33 * one.flops) and many.memory["cache"] == 16 * one.memory["cache"]
    assert one.memory["cache"] == 30 * 2 * 2 * 2 * 16 * 4 * 2, "tokens x layers x (keys, values) x heads x width x 4 bytes, twice"


def test_each_step_of_rewards_writes_reads_twice_and_learns() -> None:
    step, held = Answers(16, 10, 20), Answers(4, 10, 20)
    once, often = (reinforcing(CONFIG, step, held, steps=12, updates=updates, times=3, terms=Terms()) for updates in (1, 4))
    assert often.flops < once.flops and often.plain_s < once.plain_s, "a sample that serves four steps is written once"
    assert once.memory["reference"] == 4 * once.parameters
    network = once.network
    assert network is not None
    learning = 12 * 16 * (network.training_flops(30) + 2 * network.forward_flops(30))
    assert once.flops > 0.9 * learning


def texts(folder: Path) -> Path:
    chance, place = random.Random(3), folder / "words.csv"
    with place.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "completion"])
        writer.writerows([f"{chance.choice('甲乙丙')} {number}", chance.choice(["一", "二"])] for number in range(60))
    return place


def test_generate_and_reinforce_stand_beside_their_predictions(fit_shop: Shop, tmp_path: Path) -> None:
    records = fit_shop.run(collect, source=str(texts(tmp_path)), text=("prompt",), label="completion", licence="own", origin="tests")
    cut = fit_shop.run(snapshot, records, task="text_generation", label="completion", inputs=("prompt",))
    family = {"tag": "generator", "layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "max_length": 24, "epochs": 1}
    model = fit_shop.run(train, cut, family=family)
    made: dict[str, Any] = {
        "generate": fit_shop.run(generate, model, records, max_tokens=4),
        "reinforce": fit_shop.run(reinforce, model, records, reward={"tag": "length", "most": 2}, group=2, epochs=1, max_tokens=4,
                                  validation=0.3),
    }
    found = {one.entry: one for one in learnt.past(fit_shop)}
    for name, artifact in made.items():
        one = found[artifact.entry]
        assert one.family == name and one.predicted_s > 0 and one.predicted_mb > 50
        assert 0.1 < one.predicted_s / one.used_s < 10, (name, one)
    assert {"generate", "reinforce"} <= {row["family"] for row in learnt.accuracy(fit_shop)}


def test_the_search_and_new_learn_from_what_runs_took(
    fit_shop: Shop, snapshots: dict[str, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mofang.fit.estimate import Machine, search
    from mofang.fit.size import Size

    data = snapshots["text_classification"]
    entry = fit_shop.run(train, data, family="linear", seed=77).entry
    one = next(one for one in learnt.past(fit_shop) if one.entry == entry)
    assert one.told_s > 0 and one.wall_s > 0
    shortened = fit_shop.run(train, data, family="averaged", seconds=0.5, seed=77).entry
    assert next(one for one in learnt.past(fit_shop) if one.entry == shortened).told_s == 0
    slow = [learnt.Past("linear/bf16", "train", learnt.this_machine(), "e", 1, 1, 1, 1, 1, 1, 1, 1, told_s=10.0, wall_s=23.0)] * 3
    monkeypatch.setattr(learnt, "past", lambda shop: slow)
    assert learnt.paces(fit_shop) == {"linear": 2.0}
    made = fit_shop.run(select, data, families=("linear",), budget_s=60.0, seed=78)
    told = fit_shop.ledger.get(made.entry).body["measures"]
    assert told["paces"] == {"linear": 2.0}
    size, machine = Size(3000, 2, 40.0, "zh", 0.5), Machine(1e11, 1.0, 5e10)
    plain, paced = (search("text_classification", size, machine, 1e6, paces=paces)[0] for paces in ({}, {"averaged": 4.0}))
    assert paced > plain
