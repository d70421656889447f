"""From the sealed journal to labelled records: gathering, one answer of many for every kind, erasure, and asking the right tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mofang.core.errors import MofangError
from mofang.core.personal import Sought
from mofang.core.shop import Shop
from mofang.core.subjects import forget
from mofang.core.tombstones import Tombstones
from mofang.data.label import aggregate
from mofang.data.labelling import active, desk, queue
from mofang.data.labelling.agreement import agreement
from mofang.data.labelling.erasing import forget_labels
from mofang.data.labelling.exchange.sending import current_answers
from mofang.data.labelling.gathering import Gathered
from mofang.data.labelling.looking import bring_model_file, next_tasks, told, told_task
from mofang.data.labelling.projects import workers
from mofang.data.records import RecordReader
from mofang.data.snapshot import snapshot
from tests.data.labelling.asking import answer, now, person, project, take, texts


@pytest.fixture
def place(tmp_path: Path) -> Shop:
    return Shop.open(tmp_path / "shop")


def rows(records: Any) -> list[dict[str, Any]]:
    return [row for batch in RecordReader(records).batches() for row in batch.rows()]


def everybody_says(shop: Shop, made: Any, said: dict[str, list[Any]]) -> None:
    """Each person's answers to tasks 0, 1, …"""
    for name, answers in said.items():
        take(shop, name, made, len(answers))
        for task, one in enumerate(answers):
            answer(shop, name, made, task, one)


def test_answers_become_labelled_records_that_a_snapshot_takes(place: Shop, tmp_path: Path) -> None:
    records = texts(place, tmp_path, 40)
    made = project(place, records, overlap=3)
    truth = ["好" if task % 2 else "坏" for task in range(30)]
    flipped = ["坏" if one == "好" else "好" for one in truth]
    everybody_says(place, made, {"a": truth, "b": [*truth[:25], *flipped[25:]], "c": [*flipped[:3], *truth[3:]]})
    place.act(desk.label_adjudicate, project=made.id, task=0, answer={"label": "好"})
    gathered = current_answers(place, made)
    labelled = place.run(aggregate, gathered, (records,))
    found = rows(labelled)
    assert [row["label"] for row in found[1:]] == truth[1:] and found[0]["label"] == "好", "the decision stands"
    assert found[10]["label_agreed"] == found[10]["label_answers"] == "3" and float(found[10]["label_confidence"]) > 0.9
    assert labelled.measures["kept"] == 30 and labelled.measures["no-answer"] == 10
    assert place.run(snapshot, labelled, task="text_classification", inputs=("text",)).measures["classes"] == 2
    again = place.run(aggregate, current_answers(place, made), (records,))
    assert again.digest == labelled.digest
    answer(place, "a", made, 5, flipped[5])
    assert current_answers(place, made).digest != gathered.digest, "a changed answer is seen"
    told_ = agreement(Gathered.read(gathered))
    assert told_["overall"]["alpha"] == pytest.approx(told_["overall"]["fleiss"], abs=0.02) and len(told_["pairs"]) == 3
    assert {one["person"] for one in told_["people"]} == {"a", "b", "c"} and told_["tasks"][0]["agreement"] < 1
    assert place.verify() == []


CASES: list[tuple[str, list[dict[str, Any]], str, str]] = [
    ("several", [{"labels": ["好", "坏"]}, {"labels": ["好"]}, {"labels": ["好"]}], "好", "2"),
    ("ratings", [{"rating": 1}, {"rating": 4}, {"rating": 5}], "4", "1"),
    ("pairs", [{"better": "a"}, {"better": "a"}, {"better": "tie"}], "a", "2"),
    ("text", [{"text": "很 好"}, {"text": "很  好"}, {"text": "坏"}], "很 好", "2"),
    ("spans", [{"spans": [{"start": 0, "end": 3, "label": "好"}]}, {"spans": [{"start": 0, "end": 3, "label": "好"}]}, {"spans": []}],
     '[{"end":3,"label":"好","start":0}]', "2"),
]


@pytest.mark.parametrize(("kind", "said", "expected", "agreed"), CASES, ids=[one[0] for one in CASES])
def test_every_kind_comes_to_one_answer(place: Shop, tmp_path: Path, kind: str, said: list[dict[str, Any]], expected: str, agreed: str) -> None:
    records = texts(place, tmp_path, 3)
    made = project(place, records, kind=kind, overlap=3)
    everybody_says(place, made, {f"p{number}": [one] for number, one in enumerate(said)})
    gathered = current_answers(place, made)
    row = rows(place.run(aggregate, gathered, (records,)))[0]
    assert (row["label"], row["label_agreed"], row["label_answers"]) == (expected, agreed, "3")
    overall = agreement(Gathered.read(gathered))["overall"]
    assert overall["answers"] == 3 and 0 <= overall["agreement"] <= 1
    with pytest.raises(MofangError) as error:
        place.run(aggregate, gathered, (records,), method="mean" if kind != "ratings" else "auto", flag_below=2 if kind == "ratings" else 0.5)
    assert error.value.code in ("label-method", "setting-refused")


def test_words_about_an_erased_record_are_gone_and_its_task_too(place: Shop, tmp_path: Path) -> None:
    records = texts(place, tmp_path, 4)
    made = project(place, records, kind="text")
    take(place, "a", made, 2)
    answer(place, "a", made, 0, {"text": "王五住在长安街1号"})
    answer(place, "a", made, 1, {"text": "别的"})
    person(place, "a").act(queue.label_comment, project=made.id, task=0, text="王五说过")
    record = rows(records)[0]["id"]
    assert told_task(place, "reviews", 0)["answers"][0]["answer"] == {"text": "王五住在长安街1号"}
    dry = forget_labels(place, Sought(Tombstones(place), subjects=(record,), dry=True))
    assert dry == {"tasks": 1, "words": 2} and now(place, made).gone == 0
    forget(place, record)
    assert forget_labels(place, Sought(Tombstones(place), subjects=(record,))) == dry
    facts = told_task(place, "reviews", 0)
    assert facts["answers"][0]["answer"]["text"] == facts["remarks"][0]["text"] == ""
    gathered = current_answers(place, made)
    assert gathered.measures == {"answers": 1, "decisions": 0, "erased": 1, "people": 1}
    assert now(place, made).gone == 1 and take(place, "b", made, 4) == (2, 3)
    for part in gathered.parts:
        assert "长安街".encode() not in gathered.open(part.name).read()
    assert place.verify() == []


def test_proposals_stand_beside_the_task_and_are_counted_when_taken(place: Shop, tmp_path: Path) -> None:
    made = project(place, texts(place, tmp_path, 6))
    lines = [{"task": task, "label": "好", "scores": {"好": 0.5 + task / 20, "坏": 0.5 - task / 20}} for task in range(5)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert bring_model_file(place, "reviews", str(tmp_path / "p.jsonl"), "m@2") == 5
    shown = next_tasks(person(place, "a"), person(place, "a").actor, "reviews", 6)
    assert shown["tasks"][3]["proposal"]["shown"] == "好" and shown["tasks"][3]["proposal"]["model"] == "m@2"
    assert "proposal" not in shown["tasks"][5] and now(place, made).answers == 0, "a proposal is nobody's answer"
    answer(place, "a", made, 0, "好")
    answer(place, "a", made, 1, "坏")
    answer(place, "a", made, 5, "好")
    (one,) = workers(place.control, made.id)
    assert (one.proposed, one.accepted) == (2, 1) and told(place, "reviews")["people"][0]["accepted"] == 1
    place.act(queue.label_back, project=made.id)
    person(place, "a").act(queue.label_back, project=made.id)
    order = active.next_batch(place, now(place, made), 3, diverse=False)
    assert order == [2, 3, 4], "the least sure first, and none that is done"
    assert active.next_batch(place, now(place, made), 3) == active.next_batch(place, now(place, made), 3)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"task": 99, "label": "好"}\n{"row": 0, "label": "好"}\n{"task": 0, "label": "天"}\n{"label": "好"}')
    with pytest.raises(MofangError) as error:
        bring_model_file(place, "reviews", str(bad), "")
    assert error.value.code == "too-many-rejected" and place.verify() == []


@pytest.mark.parametrize("how", ["entropy", "margin", "least"])
def test_uncertainty(how: active.How) -> None:
    chances = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0.4, 0.3, 0.3], [0, 0, 0]])
    found = active.uncertainty(chances, how)
    assert found[0] == found.min() == 0 and found[3] == found.max()
    assert active.choose(chances, None, 2, how=how, seed=1) == active.choose(chances, None, 2, how=how, seed=1)


def test_k_centre_covers_what_differs() -> None:
    clusters = np.repeat(np.eye(5), 20, axis=0) + np.random.default_rng(0).normal(0, 0.01, (100, 5))
    assert len({place // 20 for place in active.k_centre(clusters, 5, seed=3)}) == 5
    assert active.k_centre(clusters, 5, seed=3) == active.k_centre(clusters, 5, seed=3) and len(active.k_centre(clusters, 500)) == 100
    same = active.hashed(["房间很干净", "房间很干净", "the battery died", ""])
    assert np.allclose(same[0], same[1]) and same[0] @ same[2] < 0.2


def labels_needed(seed: int, chosen: bool) -> int:
    """How many labels a linear model needs for 93 % on the rest, asking an oracle ten at a time."""
    generator = np.random.default_rng(seed)
    points = generator.normal(0, 1, (1200, 8))
    truth = (points @ generator.normal(0, 1, 8) + 0.3 * points[:, 0] > 0.8).astype(int)
    known = [int(np.argmax(truth)), int(np.argmin(truth)), *map(int, generator.choice(1200, 8, replace=False))]
    while len(known) < 400:
        model = LogisticRegression(C=10, max_iter=500).fit(points[known], truth[known])
        if (model.predict(points) == truth).mean() >= 0.96:
            break
        left = np.setdiff1d(np.arange(1200), known)
        if chosen:
            known += [int(left[one]) for one in active.choose(model.predict_proba(points[left]), points[left], 10, seed=seed)]
        else:
            known += [int(one) for one in generator.choice(left, 10, replace=False)]
    return len(known)


def test_asking_what_the_model_is_unsure_of_takes_fewer_labels_than_chance() -> None:
    asked = [labels_needed(seed, True) for seed in range(8)]
    chance = [labels_needed(seed, False) for seed in range(8)]
    assert np.mean(asked) < 0.8 * np.mean(chance), (asked, chance)
