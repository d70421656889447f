"""Pairs, spans and answers: read, learnt by every family, exported, judged, compared, packaged, asked; and what is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.clean import clean
from mofang.data.snapshot import snapshot
from mofang.engine.predictor import Predictor
from mofang.fit.baseline import baseline
from mofang.fit.export import export
from mofang.fit.families import Cross, Labeller, Overlap, Reader, Surroundings
from mofang.fit.family import Family
from mofang.fit.size import Size
from mofang.fit.tasks import baseline_of, candidates
from mofang.fit.train import train
from mofang.judge.compare import compare
from mofang.judge.evaluate import evaluate
from mofang.serve.package import package
from tests.fit.placing import INPUTS, MAKE, collected, entity, pair, question

SMALL: dict[str, tuple[Family, ...]] = {
    "token_classification": (Surroundings(), Labeller(layers=1, width=32, heads=2, vocabulary=200, max_length=24, epochs=25,
                                                      learning_rate=1e-2, tokens=512)),
    "question_answering": (Surroundings(), Reader(layers=1, width=32, heads=2, vocabulary=200, max_length=40, epochs=3,
                                                  learning_rate=5e-3, tokens=1024)),
    "pair_classification": (Overlap(), Cross(layers=1, width=32, heads=2, vocabulary=200, epochs=3, tokens=1024)),
    "pair_regression": (Overlap(), Cross(layers=1, width=32, heads=2, vocabulary=200, epochs=3, tokens=1024)),
}
CASES = [(task, family) for task, families in SMALL.items() for family in families]


@pytest.fixture(scope="module")
def snapshots(fit_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = {}
    for task, make in MAKE.items():
        chance = random.Random(5)
        rows = [make(chance, number) for number in range(160)]
        records = collected(fit_shop, tmp_path_factory.mktemp("rows"), task, rows)
        made[task] = fit_shop.run(snapshot, records, task=task, inputs=INPUTS[task], validation=0.2, test=0.2)
    return made


@pytest.mark.parametrize(("task", "family"), CASES, ids=lambda one: one if isinstance(one, str) else one.tag)
def test_every_family_learns_and_its_graph_says_the_same(
    task: str, family: Family, fit_shop: Shop, snapshots: dict[str, Any]
) -> None:
    graph = fit_shop.run(export, fit_shop.run(train, snapshots[task], family=family))
    about = graph.read_json("about.json")
    assert about["task"] == task and about["parity"]["max_abs_difference"] < 1e-4
    report = fit_shop.run(evaluate, graph, snapshots[task] / "test", resamples=20).read_json("evaluation.json")
    headline = report["metrics"][report["headline"]]
    assert headline["low"] <= headline["value"] <= headline["high"]
    if family.tag in ("surroundings", "overlap", "labeller"):
        assert headline["value"] > 0.7, "the signal is planted"


@pytest.mark.parametrize("task", ["token_classification", "question_answering", "pair_regression"])
def test_a_cheap_model_goes_all_the_way(task: str, fit_shop: Shop, snapshots: dict[str, Any]) -> None:
    held = snapshots[task]
    graph, base = fit_shop.run(export, fit_shop.run(train, held, family=SMALL[task][0])), fit_shop.run(baseline, held)
    evaluation = fit_shop.run(evaluate, graph, held / "test", base, resamples=20)
    report = evaluation.read_json("evaluation.json")
    assert report["difference"][report["headline"]]["value"] == 0, "the baseline is the same cheap model"
    assert fit_shop.run(compare, graph, base, held / "test", resamples=20).read_json("comparison.json")["answered_otherwise"] == 0
    made = fit_shop.run(package, graph, evaluation, seconds=0.02, requests=20)
    predictor = Predictor(made)
    assert any(row["passes"] and row["engine"] == "openvino" for row in made.read_json("package.json")["engines"])
    asked = {"token_classification": {"text": "王小明昨天到了New York。"},
             "question_answering": {"context": "lamp : of the kind 7 ; river : of the kind 12 ;", "question": "What does river mean?"},
             "pair_regression": {"a": "river stone lamp paper horse 3", "b": "river stone lamp paper horse"}}[task]
    (answer,) = predictor.predict(predictor.parse(asked)[0])
    if task == "token_classification":
        assert [(one["text"], one["label"]) for one in answer["spans"]] == [("王小明", "人"), ("New York", "地")]
        assert all(asked["text"][one["start"]:one["end"]] == one["text"] for one in answer["spans"])
    elif task == "question_answering":
        assert answer["text"] == "of the kind 12" == asked["context"][answer["start"]:answer["end"]]
    else:
        assert answer["value"] > 0.7
    assert predictor.units([dict.fromkeys(asked, "好" * 1500)]) == (2 if len(asked) == 1 else 3)
    card = made.path("card.md").read_text(encoding="utf-8")
    assert {"token_classification": "places in code points", "question_answering": "or none", "pair_regression": "a number"}[
        task] in card


def test_a_pretrained_base_reads_pairs_and_texts_longer_than_itself(
    fit_shop: Shop, tiny_base: Path, tmp_path: Path
) -> None:
    words = ["room", "great", "lovely", "awful", "broken", "number"]
    chance = random.Random(2)
    texts = [" ".join(chance.choice(words) for _ in range(60)) + f" {number}" for number in range(40)]
    spans = [[{"start": text.find("awful"), "end": text.find("awful") + 5, "label": "bad"}] if "awful" in text else []
             for text in texts]
    rows = [{"text": text, "label": json.dumps(one)} for text, one in zip(texts, spans, strict=True)]
    held = fit_shop.run(snapshot, collected(fit_shop, tmp_path, "token_classification", rows), task="token_classification",
                        validation=0.2, test=0.2)
    model = fit_shop.run(train, held, family=Labeller(base=str(tiny_base), max_length=32, epochs=1, outside=0.5))
    about = model.read_json("about.json")
    assert about["notes"]["windows"] > 2 * about["rows"]["train"] and "apache-2.0" in about["licences"]
    assert fit_shop.run(export, model).read_json("about.json")["parity"]["max_abs_difference"] < 1e-4
    with pytest.raises(MofangError) as error:
        fit_shop.run(train, held, family=Labeller(base="package:nowhere/model"))
    assert error.value.code == "base-model-missing"


def test_what_cannot_be_learnt_from_is_kept_aside_with_its_reason(fit_shop: Shop, tmp_path: Path) -> None:
    good = [entity(random.Random(number), number) for number in range(40)]
    bad = [("[", "label-unreadable"), ('[{"start":0}]', "label-unreadable"), ('[{"start":-1,"end":2,"label":"人"}]', "span-outside"),
           ('[{"start":0,"end":999,"label":"人"}]', "span-outside"), ('[{"start":3,"end":3,"label":"人"}]', "span-outside"),
           ('[{"start":0,"end":3,"label":"人"},{"start":2,"end":4,"label":"地"}]', "spans-overlap"),
           ('[{"start":0,"end":2,"label":"人","text":"别的"}]', "span-differs"), ("", "label-missing")]
    rows = good + [{"text": f"这是第{number}条坏记录，很长很长", "label": label} for number, (label, _) in enumerate(bad)]
    held = fit_shop.run(snapshot, collected(fit_shop, tmp_path, "token_classification", rows), task="token_classification",
                        validation=0.2, test=0.2)
    wanted: dict[str, int] = {}
    for _, reason in bad:
        wanted[reason] = wanted.get(reason, 0) + 1
    assert held.measures["rejected"] == wanted
    answers = [question(random.Random(number), number) for number in range(40)]
    answers += [{"context": "nothing here", "question": "What?", "label": "elsewhere"},
                {"context": "a b a", "question": "What now?", "label": '{"text": "a", "start": 4}'},
                {"context": "a b c", "question": "What then?", "label": '{"text": "a", "start": 1}'}]
    held = fit_shop.run(snapshot, collected(fit_shop, tmp_path, "question_answering", answers, "answers"),
                        task="question_answering", inputs=INPUTS["question_answering"], validation=0.2, test=0.2)
    assert held.measures["rejected"] == {"answer-not-found": 2}


def test_wrong_inputs_cleaned_texts_and_unknown_labels_are_refused(
    fit_shop: Shop, snapshots: dict[str, Any], tmp_path: Path
) -> None:
    records = collected(fit_shop, tmp_path, "pair_classification", [pair(random.Random(n), n) for n in range(40)])
    with pytest.raises(MofangError) as error:
        fit_shop.run(snapshot, records, task="pair_classification", label="label", inputs=("a",))
    assert error.value.code == "inputs-not-texts" and error.value.values["texts"] == 2
    rows = [entity(random.Random(number), number) for number in range(40)]
    cleaned = fit_shop.run(clean, collected(fit_shop, tmp_path, "token_classification", rows, "cleaned"))
    with pytest.raises(MofangError) as error:
        fit_shop.run(snapshot, cleaned / "kept", task="token_classification")
    assert error.value.code == "places-moved"
    with pytest.raises(MofangError) as error:
        fit_shop.run(train, snapshots["token_classification"], family=Cross())
    assert error.value.code == "family-unsuited" and "labeller, surroundings" in str(error.value.values["families"])
    others = [{**row, "label": row["label"].replace("人", "机构")} for row in rows]
    strange = fit_shop.run(snapshot, collected(fit_shop, tmp_path, "token_classification", others, "strange"),
                           task="token_classification", validation=0.2, test=0.2)
    graph = fit_shop.run(export, fit_shop.run(train, snapshots["token_classification"], family=Surroundings()))
    with pytest.raises(MofangError) as error:
        fit_shop.run(evaluate, graph, strange / "test")
    assert error.value.code == "test-labels" and "机构" in str(error.value.values["unknown"])


def test_the_same_seed_gives_the_same_weights(fit_shop: Shop, snapshots: dict[str, Any], tmp_path: Path) -> None:
    family = Reader(layers=1, width=16, heads=2, vocabulary=150, max_length=40, epochs=1, tokens=1024)
    one = fit_shop.run(train, snapshots["question_answering"], family=family, seed=4)
    other = Shop.open(tmp_path / "other")
    rows = [question(chance, number) for chance in [random.Random(5)] for number in range(160)]
    held = other.run(snapshot, collected(other, tmp_path, "question_answering", rows), task="question_answering",
                     inputs=INPUTS["question_answering"], validation=0.2, test=0.2)
    assert other.run(train, held, family=family, seed=4).part("weights.safetensors").digest == one.part(
        "weights.safetensors").digest


@pytest.mark.parametrize("task", sorted(MAKE))
def test_candidates_go_from_the_baseline_to_what_suits_the_language(task: str) -> None:
    for language in ("zh", "en"):
        size = Size(1000, 0 if task in ("pair_regression", "question_answering") else 3, 80.0, language, 1.0)
        found = candidates(task, size)
        assert found[0] == baseline_of(task) and all(task in family.tasks for family in found)
        assert found[0].estimate(size).seconds(3e10) < min(family.estimate(size).seconds(3e10) for family in found[1:])


def test_a_pair_with_one_empty_side_is_neither_learnt_from_nor_answered(fit_shop: Shop, tmp_path: Path) -> None:
    rows = [pair(random.Random(number), number) for number in range(40)]
    bad = [{"a": "", "b": "river stone", "label": "no", "share": 0.5}, {"a": "river 1", "b": " ", "label": "no", "share": 0.5}]
    for task in ("pair_classification", "pair_regression"):
        label = "share" if task == "pair_regression" else "label"
        records = collected(fit_shop, tmp_path, task, rows + bad, task)
        held = fit_shop.run(snapshot, records, task=task, label=label, inputs=("a", "b"), validation=0.2, test=0.2)
        assert held.measures["rejected"] == {"text-empty": 2}
    predictor = Predictor(fit_shop.run(export, fit_shop.run(train, held, family=Overlap())))
    for body, code, said in (({"a": "", "b": "x"}, "text-empty", "a"), ({"a": "x", "b": "\u3000"}, "text-empty", "b"),
                             ({"a": "x"}, "value-missing", "b"), ({"a": "x", "b": 3}, "value-wrong-type", "b"),
                             ({"a": "好" * 200_000, "b": "x"}, "text-too-long", "200000")):
        with pytest.raises(MofangError) as error:
            predictor.parse(body)
        what, fix = error.value.worded("zh")
        assert error.value.code == code and said in what and any(sign > "\u4e00" for sign in what + fix)
    long = {"a": "river stone " * 3000, "b": "river"}
    assert predictor.predict(predictor.parse(long)[0])[0]["value"] is not None
