"""Small graph folders for tests, as fit/export lays them out, built without torch."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mofang.engine.encode import Encoder
from mofang.engine.encode.image import ImageEncoder
from mofang.engine.encode.ngrams import NgramEncoder
from mofang.engine.encode.table import TableEncoder
from mofang.engine.graphs import averaged_graph, linear_graph, trees_graph

NORMALISE = [{"name": "text-normalise", "version": 1, "columns": ["text"], "state": {}}]
REVIEWS = [
    {"text": text}
    for text in (
        "质量很好，值得购买",
        "非常满意，下次再来",
        "服务态度好，物流快",
        "很好用，推荐",
        "性价比高，很满意",
        "质量太差，退货",
        "很失望，不推荐",
        "物流慢，服务差",
        "屏幕坏了，太差",
        "不值这个价，失望",
    )
] * 3
TABLE_INPUTS = [
    {"name": "age", "role": "number"},
    {"name": "income", "role": "number"},
    {"name": "city", "role": "category"},
]


def lay(
    folder: Path,
    graph: bytes,
    encoder: Encoder,
    task: str,
    inputs: list[dict[str, str]],
    labels: list[str],
    **more: Any,
) -> Path:
    """Write a graph folder: model.onnx, encoder/, about.json."""
    (folder / "encoder").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graph)
    for name, data in encoder.save().items():
        (folder / "encoder" / name).write_bytes(data)
    about = {
        "format": 1,
        "task": task,
        "inputs": inputs,
        "labels": labels,
        "operators": [],
        "family": {"tag": "made"},
        "encoder": {"name": encoder.name, "version": encoder.version},
        "licences": ["CC0-1.0"],
        **more,
    }
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def text_folder(folder: Path, *, averaged: bool = False) -> Path:
    """Reviews: a linear model (or averaged embeddings) with random weights over a fitted vocabulary."""
    encoder = NgramEncoder.fit(REVIEWS)
    rng = np.random.default_rng(0)
    table = rng.normal(size=(encoder.size, 8 if averaged else 2)).astype(np.float32)
    table[0] = 0
    layers = [
        (rng.normal(size=size).astype(np.float32), np.zeros(size[1], np.float32)) for size in ((8, 6), (6, 2))
    ]
    graph = (
        averaged_graph(table, layers) if averaged else linear_graph(table, np.array([0.1, -0.1], np.float32))
    )
    return lay(
        folder,
        graph,
        encoder,
        "text_classification",
        [{"name": "text", "role": "text"}],
        ["neg", "pos"],
        operators=NORMALISE,
    )


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of two numbers (some missing) and a category."""
    draw = random.Random(seed)
    return [
        {
            "age": None if draw.random() < 0.1 else float(draw.randint(18, 80)),
            "income": draw.lognormvariate(10, 1),
            "city": draw.choice(["北京", "上海", "Paris", None]),
        }
        for _ in range(count)
    ]


def table_folder(folder: Path, classes: int = 2) -> Path:
    """Rows: a boosted model in both forms, model.onnx and model.ubj."""
    import xgboost

    records = rows(400)
    encoder = TableEncoder.fit(records, TABLE_INPUTS, raw=True)
    labels = np.array(
        [int((row["age"] or 50) > 45) + (row["city"] == "Paris") * (classes > 2) for row in records]
    )
    goal = (
        {"objective": "binary:logistic"}
        if classes == 2
        else {"objective": "multi:softprob", "num_class": classes}
    )
    data = xgboost.DMatrix(encoder.encode(records)["features"], labels)
    booster = xgboost.train({**goal, "max_depth": 3, "nthread": 1}, data, 10)
    graph = trees_graph(bytes(booster.save_raw("json")), classes)
    lay(
        folder,
        graph,
        encoder,
        "table_classification",
        TABLE_INPUTS,
        [f"class {k}" for k in range(classes)],
        family={"tag": "xgboost"},
    )
    (folder / "model.ubj").write_bytes(bytes(booster.save_raw("ubj")))
    return folder


def png(seed: int, size: tuple[int, int] = (8, 8), mode: str = "L") -> bytes:
    """A random image as PNG bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "PNG")
    return stream.getvalue()


def image_folder(folder: Path) -> Path:
    """Images of 8 x 8: flattened into one dense layer of random weights."""
    from onnx import TensorProto, helper, numpy_helper

    encoder = ImageEncoder.fit([{"image": png(seed)} for seed in range(20)])
    weights = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "image",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        initializer=[numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return lay(
        folder,
        model.SerializeToString(),
        encoder,
        "image_classification",
        [{"name": "image", "role": "image"}],
        ["cat", "dog", "猫"],
    )


def pair_folder(folder: Path, task: str) -> Path:
    """Pairs of reviews: a linear model with random weights over what both share."""
    from mofang.engine.encode.overlap import OverlapEncoder
    from mofang.engine.graphs import dense_graph

    pairs = [{"a": one["text"], "b": other["text"]} for one, other in zip(REVIEWS, REVIEWS[1:], strict=False)]
    encoder = OverlapEncoder.fit(pairs, ("a", "b"))
    number = task == "pair_regression"
    weights = np.random.default_rng(0).normal(size=(encoder.centre.size, 1 if number else 2)).astype(np.float32)
    layers = [(weights, np.zeros(weights.shape[1], np.float32))]
    inputs = [{"name": name, "role": "text"} for name in ("a", "b")]
    labels = [] if number else ["no", "yes"]
    return lay(folder, dense_graph(layers, end="identity" if number else "softmax"), encoder, task, inputs, labels)


def place_folder(folder: Path, task: str) -> Path:
    """Spans or answers: a linear model of pieces with random weights."""
    from mofang.engine.encode.surroundings import SurroundingsEncoder

    asks = task == "question_answering"
    rows = [{"context": one["text"], "question": other["text"], "text": one["text"]}
            for one, other in zip(REVIEWS, REVIEWS[1:], strict=False)]
    encoder = SurroundingsEncoder.fit(rows, "context" if asks else "text", "question" if asks else "")
    table = np.random.default_rng(0).normal(size=(encoder.size, 2 if asks else 5)).astype(np.float32)
    table[0] = 0
    graph = linear_graph(table, np.zeros(table.shape[1], np.float32), "identity" if asks else "softmax")
    inputs = [{"name": name, "role": "text"} for name in (("context", "question") if asks else ("text",))]
    return lay(folder, graph, encoder, task, inputs, [] if asks else ["人", "地"])


def row_folder(folder: Path, task: str) -> Path:
    """Reviews with a number or several labels each: a linear model with random weights."""
    encoder = NgramEncoder.fit(REVIEWS)
    number = task == "text_regression"
    table = np.random.default_rng(0).normal(size=(encoder.size, 1 if number else 3)).astype(np.float32)
    table[0] = 0
    graph = linear_graph(table, np.zeros(table.shape[1], np.float32), "identity" if number else "sigmoid")
    return lay(folder, graph, encoder, task, [{"name": "text", "role": "text"}], [] if number else ["a", "b", "c"])
