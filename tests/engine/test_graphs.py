from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.errors import MofangError
from mofang.engine.graphs import averaged_graph, dense_graph, linear_graph, trees_graph
from mofang.engine.runtimes import Runtime, runtime_named

RNG = np.random.default_rng(0)


def loaded(folder: Path, engine: str, graph: bytes) -> Runtime:
    (folder / "model.onnx").write_bytes(graph)
    return runtime_named(engine).load(folder, {}, 1)


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def grams(batch: int, length: int, terms: int) -> dict[str, np.ndarray]:
    weights = RNG.random((batch, length)).astype(np.float32)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return {"ids": RNG.integers(0, terms, (batch, length)), "weights": weights}


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_a_linear_model_over_ngrams(tmp_path: Path, engine: str) -> None:
    table, bias = normal(50, 4), normal(4)
    runtime = loaded(tmp_path, engine, linear_graph(table, bias))
    for batch, length in ((1, 1), (3, 17), (8, 40), (5, 3)):
        arrays = grams(batch, length, 50)
        expected = softmax((table[arrays["ids"]] * arrays["weights"][..., None]).sum(axis=1) + bias)
        found = runtime.run(arrays)["probabilities"]
        assert found.dtype == np.float32 and found.shape == (batch, 4)
        assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_averaged_embeddings_and_dense_layers(tmp_path: Path, engine: str, activation: str) -> None:
    table, layers = normal(50, 8), [(normal(8, 6), normal(6)), (normal(6, 3), normal(3))]
    runtime = loaded(tmp_path, engine, averaged_graph(table, layers, activation))
    act = np.tanh if activation == "tanh" else lambda x: np.maximum(x, 0)
    for batch, length in ((1, 2), (4, 33)):
        arrays = grams(batch, length, 50)
        hidden = (table[arrays["ids"]] * arrays["weights"][..., None]).sum(axis=1)
        expected = softmax(act(hidden @ layers[0][0] + layers[0][1]) @ layers[1][0] + layers[1][1])
        assert np.abs(runtime.run(arrays)["probabilities"] - expected).max() < 1e-5


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_dense_layers_over_features(tmp_path: Path, engine: str) -> None:
    layers = [(normal(5, 4), normal(4)), (normal(4, 2), normal(2))]
    features = normal(7, 5)
    expected = softmax(np.maximum(features @ layers[0][0] + layers[0][1], 0) @ layers[1][0] + layers[1][1])
    found = loaded(tmp_path, engine, dense_graph(layers)).run({"features": features})["probabilities"]
    assert np.abs(found - expected).max() < 1e-5


def boosted(classes: int, **more: Any) -> tuple[Any, np.ndarray]:
    import xgboost

    features = np.round(normal(600, 6), 1)  # many values stand exactly on a threshold
    features[RNG.random(features.shape) < 0.15] = np.nan
    labels = (
        (np.nan_to_num(features[:, 0]) + normal(600) > 0.8).astype(int)
        if classes == 2
        else RNG.integers(0, classes, 600)
    )
    goal: dict[str, Any] = (
        {"objective": "binary:logistic"}
        if classes == 2
        else {"objective": "multi:softprob", "num_class": classes}
    )
    return xgboost.train({**goal, "nthread": 1, **more}, xgboost.DMatrix(features, labels), 15), features


@pytest.mark.parametrize(
    ("classes", "more"),
    [
        (2, {}),
        (5, {}),
        (2, {"base_score": 0.9}),
        (3, {"max_depth": 8, "eta": 1.0}),
        (2, {"min_child_weight": 1e6}),
    ],
)
def test_trees_give_what_xgboost_gives(tmp_path: Path, classes: int, more: dict[str, Any]) -> None:
    booster, features = boosted(classes, **more)
    (tmp_path / "model.ubj").write_bytes(bytes(booster.save_raw("ubj")))
    native = runtime_named("xgboost").load(tmp_path, {}, 1)
    onnx = loaded(tmp_path, "onnx", trees_graph(bytes(booster.save_raw("json")), classes))
    thresholds = np.array(
        [
            value
            for tree in json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
            for value in tree["split_conditions"]
        ],
        np.float32,
    )
    edges = np.resize(
        np.concatenate(
            [thresholds, np.nextafter(thresholds, np.float32(9)), np.nextafter(thresholds, np.float32(-9))]
        ),
        (300, 6),
    )
    missing = np.full((1, 6), np.nan, np.float32)
    for rows in (features, edges, missing):
        expected = native.run({"features": rows})["probabilities"]
        assert expected.shape == (len(rows), classes)
        assert np.abs(onnx.run({"features": rows})["probabilities"] - expected).max() < 2e-6


@pytest.mark.parametrize("base_score", ["5E-1", "[5E-1]"])
def test_base_score_of_older_and_newer_xgboost(tmp_path: Path, base_score: str) -> None:
    booster, features = boosted(2, base_score=0.5)
    model = json.loads(booster.save_raw("json"))
    model["learner"]["learner_model_param"]["base_score"] = base_score
    found = loaded(tmp_path, "onnx", trees_graph(model, 2)).run({"features": features})["probabilities"]
    import xgboost

    assert np.abs(found[:, 1] - booster.predict(xgboost.DMatrix(features))).max() < 2e-6


@pytest.mark.parametrize("more", [{"booster": "dart"}, {"objective": "binary:hinge"}])
def test_trees_that_no_graph_can_hold_are_refused(more: dict[str, Any]) -> None:
    booster, _ = boosted(2, **more)
    with pytest.raises(MofangError) as error:
        trees_graph(bytes(booster.save_raw("json")), 2)
    assert error.value.code == "graph-unsupported"


def test_openvino_says_why_it_cannot_load_trees(tmp_path: Path) -> None:
    booster, _ = boosted(2)
    with pytest.raises(MofangError) as error:
        loaded(tmp_path, "openvino", trees_graph(bytes(booster.save_raw("json")), 2))
    assert error.value.code == "engine-refuses" and "TreeEnsemble" in error.value.what


@pytest.mark.parametrize("engine", ["onnx", "openvino", "xgboost"])
def test_a_file_that_is_no_graph_is_refused_in_words(tmp_path: Path, engine: str) -> None:
    runtime = runtime_named(engine)
    (tmp_path / runtime.file).write_bytes(b"not a graph")
    with pytest.raises(MofangError) as error:
        runtime.load(tmp_path, {}, 1)
    assert error.value.code == "engine-refuses" and len(error.value.what) < 400


def test_the_same_weights_give_the_same_bytes() -> None:
    table, bias = normal(9, 2), normal(2)
    assert linear_graph(table, bias) == linear_graph(table, bias)
