from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mofang.engine.measure import choose, compare, measure
from mofang.engine.predictor import Predictor


def table_of(folder: Path, reference: dict | None = None) -> list[dict]:
    predictor = Predictor(folder)
    records = predictor.task.canonical(predictor.signature, predictor.encoder, 16, 0)
    if reference is None:
        reference = predictor.outputs(records)
    return measure(
        folder, predictor.about, records, predictor.encode, reference, encoder=predictor.encoder, seconds=0.002, batches=(1, 8)
    )


def test_every_engine_is_measured_and_the_best_that_passes_is_chosen(text_graph: Path) -> None:
    rows = table_of(text_graph)
    assert {row["engine"] for row in rows} == {"onnx", "openvino"} and {row["batch"] for row in rows} == {
        1,
        8,
    }
    assert all(
        row["passes"] and row["max_abs_difference"] < 1e-5 and row["label_agreement"] == 1 for row in rows
    )
    best = choose(rows, "throughput")
    assert best and best["samples_per_s"] == max(row["samples_per_s"] for row in rows)
    quick = choose(rows, "latency")
    assert (
        quick
        and quick["batch"] == 1
        and quick["p50_ms"] == min(row["p50_ms"] for row in rows if row["batch"] == 1)
    )
    small = choose(rows, "size")
    assert small and small["size_bytes"] == min(row["size_bytes"] for row in rows)
    json.dumps(rows, allow_nan=False)


def test_an_engine_that_cannot_load_the_graph_stands_there_with_its_reason(table_graph: Path) -> None:
    rows = table_of(table_graph)
    refused = [row for row in rows if row["engine"] == "openvino"]
    assert len(refused) == 1 and not refused[0]["passes"] and "TreeEnsemble" in refused[0]["reason"]
    assert {row["engine"] for row in rows if row["passes"]} == {"onnx", "xgboost"}


def test_an_engine_that_is_not_installed_stands_there_with_its_reason(
    text_graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mofang.engine.runtimes.openvino.missing_package",
        lambda module, package: f"the package {package} is not installed",
    )
    assert [row["reason"] for row in table_of(text_graph) if "reason" in row] == [
        "the package openvino is not installed"
    ]


def test_an_engine_that_gives_other_answers_never_passes(text_graph: Path) -> None:
    predictor = Predictor(text_graph)
    records = predictor.task.canonical(predictor.signature, predictor.encoder, 16, 0)
    reference = {"probabilities": predictor.outputs(records)["probabilities"] + np.float32(2e-4)}
    rows = table_of(text_graph, reference)
    assert not any(row["passes"] for row in rows) and choose(rows, "throughput") is None


def test_parity() -> None:
    reference = np.array([[0.5, 0.5], [0.9, 0.1]], np.float32)
    assert compare(
        reference + np.array([[0, 1e-6], [0, 0]], np.float32), reference
    ).passes  # a tie may fall either way
    assert compare(reference[:, ::-1], reference).label_agreement == 0.5
    assert not compare(np.full_like(reference, np.nan), reference).passes
    assert not compare(reference[:1], reference).passes
