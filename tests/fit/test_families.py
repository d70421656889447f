"""Every family learns a planted signal, is exported, and its graph answers as the model did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.snapshot import Snapshot
from mofang.engine.predictor import Predictor
from mofang.fit.export import export
from mofang.fit.families import KINDS, Averaged, Encoder, Linear, Mlp, Pretrained, Resnet, Rnn, Static, Xgboost
from mofang.fit.family import Family
from mofang.fit.train import train
from tests.fit.planted import planted

TEXT, IMAGE, TABLE = "text_classification", "image_classification", "table_classification"
SMALL: list[tuple[str, Family]] = [
    (TEXT, Linear()),
    (TEXT, Averaged(width=16, hidden=16, learning_rate=0.01, batch=16, epochs=15)),
    (
        TEXT,
        Encoder(width=32, layers=1, heads=2, vocabulary=120, max_length=32, epochs=12, learning_rate=2e-3),
    ),
    (TEXT, Rnn(kind="lstm", width=16, embedding=16, vocabulary=120, epochs=12, learning_rate=1e-2, layers=2)),
    (TEXT, Static(width=16, vocabulary=120)),
    (IMAGE, Linear()),
    (IMAGE, Mlp(hidden=(16,), epochs=10, batch=16)),
    (IMAGE, Resnet(width=4, epochs=8, batch=16, learning_rate=0.01, shift=False)),
    (TABLE, Linear()),
    (TABLE, Mlp(hidden=(16,), epochs=30, batch=16, learning_rate=0.01)),
    (TABLE, Xgboost(rounds=30)),
]


@pytest.mark.parametrize(("task", "family"), SMALL, ids=lambda one: one if isinstance(one, str) else one.tag)
def test_learns_a_planted_signal_and_exports_it(
    fit_shop: Shop, snapshots: dict[str, Snapshot], task: str, family: Family
) -> None:
    model = fit_shop.run(train, snapshots[task], family=family)
    assert model.measures["validation"] >= 0.8
    about = model.read_json("about.json")
    assert about["family"]["tag"] == family.tag and about["licences"] == ["CC0-1.0"]
    graph = fit_shop.run(export, model)
    assert graph.measures["max_abs_difference"] <= 1e-4
    assert graph.measures["label_agreement"] == 1.0
    stored = pq.read_table(model.path("validation.parquet")).to_pylist()
    records = _records(snapshots[task])
    served = Predictor(graph).outputs(records)["probabilities"]
    assert np.allclose(served, [row["probabilities"] for row in stored], atol=1e-4)


def _records(snapshot: Snapshot) -> list[dict[str, Any]]:
    from mofang.data.records import RecordReader

    names = [one["name"] for one in snapshot.read_json("about.json")["inputs"]]
    return [row for batch in RecordReader(snapshot / "validation").batches() for row in batch.rows(names)]


def test_every_family_is_tried_here() -> None:
    of_labels = {TEXT, IMAGE, TABLE}  # families of other tasks are tried where those are
    kinds = {tag for tag, kind in KINDS.items() if kind.__module__.startswith("mofang.") and of_labels & set(kind.tasks)}
    assert {family.tag for _, family in SMALL} | {"pretrained", "nearest", "frozen", "blend", "prompted"} == kinds


def test_several_classes(fit_shop: Shop) -> None:
    snapshot = fit_shop.run(planted, task=IMAGE, classes=4)
    model = fit_shop.run(train, snapshot, family=Linear(c=1.0))
    assert model.measures["validation"] >= 0.9
    assert fit_shop.run(export, model).measures["max_abs_difference"] <= 1e-4


def test_three_classes_of_trees_are_exported(fit_shop: Shop) -> None:
    from mofang.fit.family import Conditions
    from mofang.fit.material import Material, Rows

    random = np.random.default_rng(0)
    values = random.normal(size=(90, 2))
    labels = (values[:, 0] > 0.3).astype(np.int64) + (values[:, 1] > 0.2)
    records = [{"a": float(a), "b": float(b)} for a, b in values]
    inputs = ({"name": "a", "role": "number"}, {"name": "b", "role": "number"})
    rows = [
        Rows([str(n) for n in range(*cut)], records[slice(*cut)], labels[slice(*cut)])
        for cut in ((0, 60), (60, 90))
    ]
    material = Material(TABLE, inputs, ("0", "1", "2"), "accuracy", *rows)
    family = Xgboost(rounds=10)
    fitted = family.fit(material, Conditions(0, 0, Path(), _silent))
    assert fitted.probabilities.shape == (30, 3)
    graph = family.graph(fitted.weights, fitted.architecture, fitted.sample)
    import onnxruntime

    served = onnxruntime.InferenceSession(graph).run(None, fitted.sample)[0]
    assert np.abs(served - fitted.probabilities[: len(served)]).max() <= 1e-5


def _silent(en: str, zh: str, total: float | None = None) -> Any:
    from mofang.core.progress import progress

    return progress(en, total)


def test_pretrained_starts_from_a_folder(fit_shop: Shop, tiny_base: Path) -> None:
    snapshot = fit_shop.run(planted, task=TEXT, english=True)
    family = Pretrained(base=str(tiny_base), epochs=8, learning_rate=0.01, max_length=32, tokens=256)
    model = fit_shop.run(train, snapshot, family=family)
    assert model.measures["validation"] >= 0.8
    assert model.licences == ("CC0-1.0", "apache-2.0")
    assert model.read_json("about.json")["base_model"] == str(tiny_base)
    assert fit_shop.run(export, model).measures["max_abs_difference"] <= 1e-4


def test_pretrained_refuses_a_language_it_cannot_read(
    fit_shop: Shop, snapshots: dict[str, Snapshot], tiny_base: Path
) -> None:
    with pytest.raises(MofangError) as caught:
        fit_shop.run(train, snapshots[TEXT], family=Pretrained(base=str(tiny_base)))
    assert caught.value.code == "vocabulary-unsuited"


def test_another_base_model_is_another_run(tiny_base: Path, tmp_path: Path) -> None:
    for file in tiny_base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    same = Pretrained(base=str(tmp_path)).base_digest()
    assert same == Pretrained(base=str(tiny_base)).base_digest() != ""
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "note": 1}))
    assert Pretrained(base=str(tmp_path)).base_digest() != same


@pytest.mark.parametrize(
    "base", ["package:no_such_package_here/model", "package:../..", "package:json/nothing", "nowhere"]
)
def test_a_missing_base_model_is_refused(fit_shop: Shop, snapshots: dict[str, Snapshot], base: str) -> None:
    with pytest.raises(MofangError) as caught:
        fit_shop.run(train, snapshots[TEXT], family=Pretrained(base=base))
    assert caught.value.code == "base-model-missing"


def test_a_family_of_another_task_is_refused(fit_shop: Shop, snapshots: dict[str, Snapshot]) -> None:
    with pytest.raises(MofangError) as caught:
        fit_shop.run(train, snapshots[TEXT], family=Resnet())
    assert caught.value.code == "family-unsuited" and "linear" in caught.value.what + caught.value.fix


def test_inputs_that_the_task_cannot_read_are_refused(fit_shop: Shop) -> None:
    snapshot = fit_shop.run(
        planted, task=TABLE, roles=(("income", "number"), ("city", "text"), ("label", "label"))
    )
    with pytest.raises(MofangError) as caught:
        fit_shop.run(train, snapshot, family=Linear())
    assert caught.value.code == "inputs-unsuited" and "city (text)" in caught.value.what


def test_the_test_part_is_not_read(fit_shop: Shop, snapshots: dict[str, Snapshot], monkeypatch: Any) -> None:
    from mofang.core.artifact import Artifact

    opened = []
    path = Artifact.path

    def watched(artifact: Artifact, name: str) -> Path:
        opened.append(f"{artifact.within}/{name}")
        return path(artifact, name)

    def read(artifact: Artifact, name: str) -> Any:
        opened.append(f"{artifact.within}/{name}")
        return stream(artifact, name)

    stream = Artifact.open
    monkeypatch.setattr(Artifact, "path", watched)
    monkeypatch.setattr(Artifact, "open", read)
    fit_shop.run(train, snapshots[TABLE], family=Linear(c=0.5))
    assert [name for name in opened if name.startswith("train/")]
    assert not [name for name in opened if name.startswith("test")]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for number in range(2):
        shop = Shop.open(tmp_path / str(number))
        snapshot = shop.run(planted, task=TABLE)
        family = Mlp(hidden=(8,), epochs=3, batch=16)
        found = [shop.run(train, snapshot, family=family, seed=seed) for seed in (0, 1)]
        digests.append([model.part("weights.safetensors").digest for model in found])
    assert digests[0] == digests[1]
    assert digests[0][0] != digests[0][1]


def test_linear_agrees_with_scikit_learn() -> None:
    from scipy.sparse import csr_array
    from sklearn.linear_model import LogisticRegression

    from mofang.fit.logistic import Logistic

    random = np.random.default_rng(0)
    values = (random.normal(size=(200, 12)) * (random.random((200, 12)) < 0.4)).astype(np.float32)
    for classes in (2, 4):
        labels = (values[:, :classes] + random.normal(size=(200, classes)) * 0.3).argmax(axis=1)
        found = Logistic(csr_array(values), labels, classes, lambda: False).solve(2.0)
        peer = LogisticRegression(C=2.0, max_iter=2000, tol=1e-8).fit(values, labels)
        ours = found.answers(values)
        assert np.abs(ours - peer.predict_proba(values)).max() < 2e-3


def test_a_time_limit_keeps_the_best_linear_model_so_far(
    fit_shop: Shop, snapshots: dict[str, Snapshot]
) -> None:
    from mofang.fit.logistic import STEPS_LEAST

    model = fit_shop.run(train, snapshots[TEXT], family=Linear(), seconds=1e-6)
    assert model.measures["stopped"] == "time limit" and model.measures["validation"] >= 0.8
    (curve,) = model.read_json("curves.json")
    assert curve["steps"] == STEPS_LEAST


def test_with_much_work_the_strength_is_chosen_on_a_sample(
    fit_shop: Shop, snapshots: dict[str, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mofang.fit.families import linear

    monkeypatch.setattr(linear, "PRODUCTS_MOST", 1000)
    monkeypatch.setattr(linear, "VOCABULARY_ROWS", 40)
    monkeypatch.setattr(linear, "VOCABULARY_CHARACTERS", 400)
    model = fit_shop.run(train, snapshots[TEXT], family=Linear(), seed=5)
    rows = [curve["rows"] for curve in model.read_json("curves.json")]
    assert len(rows) == 4 and rows[0] < rows[-1] == 84 and model.measures["validation"] >= 0.8
    assert model.measures["strength_rows"] == rows[0] and model.measures["vocabulary_rows"] < 84


def test_threads_share_the_rows_and_agree_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.sparse import csr_array

    from mofang.fit import logistic

    random = np.random.default_rng(0)
    values = csr_array((random.random((300, 20)) * (random.random((300, 20)) < 0.3)).astype(np.float32))
    labels = random.integers(0, 3, 300)
    alone = logistic.Logistic(values, labels, 3, lambda: False).solve(1.0)
    monkeypatch.setattr(logistic, "THREADED_OPERATIONS", 1)
    monkeypatch.setattr(logistic, "threads", lambda: 3)
    shared = [logistic.Logistic(values, labels, 3, lambda: False) for _ in range(2)]
    found = [one.solve(1.0) for one in shared]
    assert len(shared[0].pieces) == 3 and (found[0].weights == found[1].weights).all()
    assert np.abs(found[0].answers(values) - alone.answers(values)).max() < 2e-3


def test_a_new_version_of_the_default_family_is_another_run(
    fit_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mofang.core.memo import identity, key_of
    from mofang.core.stage import spec_of

    spec = spec_of(train)
    before = key_of(identity(fit_shop, spec, spec.check({}), []))
    assert key_of(identity(fit_shop, spec, spec.check({}), [])) == before
    monkeypatch.setattr(Linear, "version", Linear.version + 1)
    assert key_of(identity(fit_shop, spec, spec.check({}), [])) != before
