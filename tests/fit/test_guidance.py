"""A teacher and unlabelled records: what is learnt from them, what is refused, and that validation decides."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.collect import collect
from mofang.data.records import Records
from mofang.data.snapshot import Snapshot
from mofang.fit.export import export
from mofang.fit.families import Averaged, Linear, Mlp, Rnn, Static
from mofang.fit.family import Family
from mofang.fit.train import Model, train
from tests.fit.planted import BAD, GOOD, THINGS, planted

TEXT = "text_classification"


@pytest.fixture(scope="module")
def unlabelled(fit_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Texts without labels, one of them empty, one of them known from training."""
    chance = random.Random(11)
    texts = ["，".join(chance.choice(THINGS) + chance.choice(GOOD if n % 2 else BAD) for _ in range(4)) for n in range(80)]
    path = tmp_path_factory.mktemp("more") / "more.csv"
    path.write_text("text,note\n" + "\n".join(f"{text},x" for text in [*texts, ""]), encoding="utf-8")
    return fit_shop.run(collect, source=str(path), licence="CC0-1.0")


@pytest.fixture(scope="module")
def teacher(fit_shop: Shop, snapshots: dict[str, Snapshot]) -> Model:
    return fit_shop.run(train, snapshots[TEXT], family=Linear())


@pytest.mark.parametrize("family", [
    Linear(c=4.0), Static(width=16, vocabulary=120), Averaged(width=8, hidden=8, learning_rate=0.02, batch=16, epochs=12),
    Rnn(width=8, embedding=8, vocabulary=120, epochs=6, learning_rate=2e-2, tokens=512, dropout=0.1)], ids=lambda one: one.tag)
def test_a_student_learns_from_a_teacher(
    fit_shop: Shop, snapshots: dict[str, Snapshot], teacher: Model, family: Family
) -> None:
    model = fit_shop.run(train, snapshots[TEXT], teacher=teacher, family=family)
    assert model.measures["validation"] >= 0.8
    told = model.read_json("about.json")["beside"]["teacher"]
    assert told == {"entry": teacher.entry, "validation": teacher.measures["validation"], "temperature": 2.0, "share": 0.7}
    assert fit_shop.run(export, model).measures["max_abs_difference"] <= 1e-4
    alone = fit_shop.run(train, snapshots[TEXT], family=family)
    assert model.part("weights.safetensors").digest != alone.part("weights.safetensors").digest


def test_with_a_share_of_nothing_the_teacher_changes_nothing(
    fit_shop: Shop, snapshots: dict[str, Snapshot], teacher: Model
) -> None:
    models = [
        fit_shop.run(train, snapshots[TEXT], teacher=one, family=Linear(c=2.0), share=0.0)
        for one in (teacher, None)
    ]
    from safetensors.numpy import load

    both = [load(model.path("weights.safetensors").read_bytes())["weight"] for model in models]
    assert np.abs(both[0] - both[1]).max() < 0.02


def test_unlabelled_records_get_the_models_own_answers_and_validation_decides(
    fit_shop: Shop, snapshots: dict[str, Snapshot], unlabelled: Records
) -> None:
    model = fit_shop.run(
        train, snapshots[TEXT], unlabelled=unlabelled, family=Linear(c=4.0), confidence=0.7, rounds=2
    )
    told = model.read_json("about.json")["beside"]
    assert told["unlabelled"]["left_out"]["empty"] == 1
    found = told["pseudo_labels"]
    assert found["with"] >= found["without"] and found["rounds"][0]["added"] > 20
    assert sum(found["rounds"][0]["classes"].values()) == found["rounds"][0]["added"]
    assert model.measures["validation"] == found["with"]


def test_a_teacher_answers_the_unlabelled_records(
    fit_shop: Shop, snapshots: dict[str, Snapshot], teacher: Model, unlabelled: Records
) -> None:
    model = fit_shop.run(train, snapshots[TEXT], teacher=teacher, unlabelled=unlabelled, family=Linear(c=4.0))
    told = model.read_json("about.json")["beside"]
    assert {"teacher", "unlabelled"} <= set(told) and "pseudo_labels" not in told
    assert model.measures["validation"] >= 0.8


def test_answers_to_unlabelled_records_agree_under_dropout(
    fit_shop: Shop, snapshots: dict[str, Snapshot], unlabelled: Records
) -> None:
    family = Rnn(width=8, embedding=8, vocabulary=120, epochs=4, learning_rate=2e-2, tokens=512, dropout=0.3)
    agreeing = {"agree": 1.0, "rounds": 0}
    models = [
        fit_shop.run(train, snapshots[TEXT], unlabelled=unlabelled, family=family, **agreeing, seed=seed) for seed in (0, 0, 1)
    ]
    assert models[0].digest == models[1].digest != models[2].digest
    assert models[0].read_json("about.json")["beside"]["agree"] == 1.0


def test_what_cannot_be_learnt_from_is_refused(
    fit_shop: Shop, snapshots: dict[str, Snapshot], teacher: Model, unlabelled: Records, tmp_path: Path
) -> None:
    def code(snapshot: Snapshot, **given: Any) -> str:
        with pytest.raises(MofangError) as caught:
            fit_shop.run(train, snapshot, **given)
        return caught.value.code

    table = snapshots["table_classification"]
    assert code(table, teacher=teacher, family=Linear()) == "teacher-differs"
    other = fit_shop.run(train, table, family=Linear())
    assert code(snapshots[TEXT], teacher=other, family=Linear()) == "teacher-differs"
    assert code(table, teacher=other, family=Mlp(hidden=(8,), epochs=1)) == "teacher-unsuited"
    path = tmp_path / "named.csv"
    path.write_text("body\n很好\n很差\n", encoding="utf-8")
    records = fit_shop.run(collect, source=str(path), licence="CC0-1.0")
    assert code(snapshots[TEXT], unlabelled=records, family=Linear()) == "unlabelled-columns"
    assert code(snapshots[TEXT], unlabelled=unlabelled, agree=1.0) == "unlabelled-unsuited"
    assert code(snapshots[TEXT], unlabelled=unlabelled, rounds=0) == "unlabelled-unsuited"


def test_a_snapshot_of_english_keeps_its_own_teacher(fit_shop: Shop, teacher: Model) -> None:
    english = fit_shop.run(planted, task=TEXT, english=True)
    model = fit_shop.run(train, english, teacher=teacher, family=Linear())  # the same labels and inputs: allowed
    assert model.read_json("about.json")["beside"]["teacher"]["entry"] == teacher.entry


def test_an_encoder_first_guesses_hidden_words_of_the_texts(fit_shop: Shop, snapshots: dict[str, Snapshot]) -> None:
    from mofang.fit.families import Encoder

    family = Encoder(width=16, layers=1, heads=2, vocabulary=120, max_length=32, epochs=6, learning_rate=5e-3, masked_steps=20,
                     tokens=512)
    models = [fit_shop.run(train, snapshots[TEXT], family=family, seed=seed) for seed in (0, 1)]
    assert models[0].measures["masked_steps"] == 20 and models[0].measures["masked_loss"] < 4.5
    assert fit_shop.run(export, models[0]).measures["max_abs_difference"] <= 1e-4


def test_the_nearest_class_needs_few_examples_or_none(fit_shop: Shop, tiny_base: Path) -> None:
    from mofang.fit.families import Nearest

    english = fit_shop.run(planted, task=TEXT, english=True)
    few = fit_shop.run(train, english, family=Nearest(base=str(tiny_base), shots=8, max_length=32))
    assert few.measures["texts"] == 16 and few.measures["validation"] >= 0.6
    assert fit_shop.run(export, few).measures["max_abs_difference"] <= 1e-4
    names = ("pos=the room was great lovely", "neg=the room was awful broken")
    none = fit_shop.run(train, english, family=Nearest(base=str(tiny_base), shots=0, names=names, max_length=32))
    assert none.measures["texts"] == 0 and 0 <= none.measures["validation"] <= 1
    with pytest.raises(MofangError) as caught:
        fit_shop.run(train, english, family=Nearest(base=str(tiny_base), names=("better=good",)))
    assert caught.value.code == "label-name-unknown"


def test_a_frozen_encoder_with_a_linear_model_teaches_a_small_student(fit_shop: Shop, tiny_base: Path) -> None:
    from mofang.fit.families import Frozen

    english = fit_shop.run(planted, task=TEXT, english=True)
    frozen = fit_shop.run(train, english, family=Frozen(base=str(tiny_base), max_length=32))
    assert frozen.measures["texts"] == frozen.measures["train_rows"] and frozen.measures["validation"] >= 0.6
    assert fit_shop.run(export, frozen).measures["max_abs_difference"] <= 1e-4
    assert frozen.read_json("about.json")["base_model"] == str(tiny_base) and "apache-2.0" in frozen.licences
    few = fit_shop.run(train, english, family=Frozen(base=str(tiny_base), max_length=32, layers=1, c=0.01), part=0.3, rated=9)
    assert few.measures["validation_rows"] == 9 and few.read_json("about.json")["architecture"]["config"]["num_hidden_layers"] == 1
    student = fit_shop.run(train, english, teacher=frozen, unlabelled=english / "train", family=Static(width=16, vocabulary=120),
                           part=0.3)
    told = student.read_json("about.json")["beside"]
    assert told["teacher"]["entry"] == frozen.entry and told["unlabelled"]["rows"] > 20


def test_a_linear_model_and_an_encoder_answer_together(fit_shop: Shop, tiny_base: Path) -> None:
    from mofang.fit.families import Blend

    english = fit_shop.run(planted, task=TEXT, english=True)
    family = Blend(base=str(tiny_base), max_length=32, tokens=512, epochs=2, learning_rate=5e-3, c=1.0)
    models = [fit_shop.run(train, english, family=family, seed=seed) for seed in (0, 0, 1)]
    assert models[0].digest == models[1].digest != models[2].digest
    told = models[0].measures
    assert told["validation"] >= max(told["wide_validation"], told["deep_validation"]) and "apache-2.0" in models[0].licences
    graph = fit_shop.run(export, models[0], english / "validation")
    assert graph.measures["max_abs_difference"] <= 1e-4
    found = evaluate_on(fit_shop, graph, english)
    assert found["metrics"]["accuracy"]["value"] >= 0.8
    about = models[0].read_json("about.json")
    assert about["encoder"]["name"] == "both" and about["base_model"] == str(tiny_base)


def evaluate_on(shop: Shop, graph: Any, snapshot: Snapshot) -> dict[str, Any]:
    from mofang.judge.evaluate import evaluate

    found: dict[str, Any] = shop.run(evaluate, graph, snapshot / "test").read_json("evaluation.json")
    return found
