"""A model that became another one on its way is refused at every gate: export, quantisation, merge and load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.engine.agreement import agreement, borders_of
from mofang.engine.encode.chat import ChatEncoder
from mofang.engine.encode.tokens import TokenEncoder
from mofang.engine.fuzz import fuzz_digest
from mofang.engine.outputs import by_length
from mofang.engine.predictor import Predictor
from mofang.engine.sentences import sentences, share_chinese
from mofang.engine.tasks.text_classification import TASK
from mofang.serve.package import package
from tests.contract.world import write_texts
from tests.engine.made import REVIEWS

FAMILY = {"tag": "encoder", "layers": 1, "width": 16, "heads": 2, "vocabulary": 200, "max_length": 32, "epochs": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A tiny encoder with its snapshot, its graph and its evaluation."""
    from mofang.recipe import clean, collect, evaluate, export, snapshot, train

    place = tmp_path_factory.mktemp("gates")
    shop = Shop.open(place / "shop")
    write_texts(place / "texts.csv", 160)
    records = shop.run(collect, source=str(place / "texts.csv"), licence="CC-BY-4.0", origin="tests", label="label", text=("text",))
    data = shop.run(snapshot, shop.run(clean, records) / "kept", task="text_classification", label="label", inputs=("text",),
                    test=0.4, validation=0.2)
    model = shop.run(train, data, family=FAMILY)
    graph = shop.run(export, model)
    return {"model": model, "graph": graph, "evaluation": shop.run(evaluate, graph, data / "test", resamples=20)}


def test_the_trained_model_answers_a_thousand_requests_at_the_export(made: dict[str, Artifact]) -> None:
    said = made["graph"].read_json("about.json")["parity"]["canonical"]
    assert said["requests"] == 1000 and said["reference"] == "the trained model" and said["max_abs_difference"] < 1e-4
    described = made["graph"].shop.run(package, made["graph"], requests=100, seconds=0.001).read_json("package.json")
    assert described["parity"]["reference"] == "the trained model" and described["parity"]["requests"] == 100
    assert not any("canonical" in name for name in described["graphs"]["graph"])


@pytest.mark.parametrize("fault", ["dtype", "tokenizer"])
def test_a_fault_that_was_planted_before_the_export_is_refused(made: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch,
                                                               fault: str) -> None:
    from mofang.recipe import export

    if fault == "dtype":
        import torch

        real = torch.onnx.export

        def shortened(network: Any, *rest: Any, **named: Any) -> Any:
            with torch.no_grad():
                for one in network.parameters():
                    one.copy_(one.bfloat16().float() * 1.02)
            return real(network, *rest, **named)

        monkeypatch.setattr(torch.onnx, "export", shortened)
    else:
        monkeypatch.setattr("mofang.fit.export.compare", lambda *_: {"rows": 1, "max_abs_difference": 0.0})
        real_run = __import__("mofang.engine.runtimes.onnx", fromlist=["OnnxRuntime"]).OnnxRuntime.run
        monkeypatch.setattr("mofang.engine.runtimes.onnx.OnnxRuntime.run", lambda self, arrays: real_run(
            self, {**arrays, "input_ids": np.maximum(arrays["input_ids"] - 1, 0)}))  # as a vocabulary that lost a row
    with pytest.raises(MofangError) as error:
        made["model"].shop.run(export, made["model"], miss_cost=2.5)
    assert error.value.code == "export-differs"


def test_int8_that_was_made_wrongly_does_not_serve(made: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx
    from onnx import numpy_helper

    from mofang.serve import quantise

    real = quantise._dynamic

    def faulty(source: Path, place: Path, calibration: Any = ()) -> str:
        said = real(source, place, calibration)
        model = onnx.load(str(place))
        for tensor in model.graph.initializer:
            if tensor.name.endswith("_scale"):
                tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
        onnx.save(model, str(place))
        return said

    monkeypatch.setattr("mofang.serve.package.WEIGHTS_MIN", 1)
    monkeypatch.setattr(quantise, "_dynamic", faulty)
    monkeypatch.setattr(quantise, "_calibrated", lambda *_: "not asked")
    found = made["graph"].shop.run(package, made["graph"], made["evaluation"], requests=200, seconds=0.001, loss_max=1.0)
    rows = [row for row in found.read_json("package.json")["engines"] if (row["engine"], row["precision"]) == ("onnx", "int8")]
    assert rows and not any(row["passes"] for row in rows) and min(row["label_agreement"] for row in rows) < 0.99
    assert not found.has("graph/model.dynamic.onnx")


def test_adapters_that_merge_into_something_else_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from mofang.fit.networks.adapt import adapt
    from mofang.fit.networks.generator import from_config
    from mofang.fit.networks.merging import merged, requests
    from mofang.fit.networks.projection import LoraLinear

    config = {"model_type": "llama", "vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "num_key_value_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}

    def adapted() -> Any:
        torch.manual_seed(0)
        network = adapt(from_config(config), "lora", rank=2)
        for one in network.modules():
            if isinstance(one, LoraLinear):
                torch.nn.init.normal_(one.lora_B.weight)
        return network

    network = adapted()
    assert sum(map(len, requests(network))) >= 1000
    assert not any(isinstance(one, LoraLinear) for one in merged(network).modules()) and merged(network) is network
    real = LoraLinear.merged

    def halved(self: Any) -> Any:
        made = real(self)
        with torch.no_grad():
            made.weight.add_(0.05)
        return made

    monkeypatch.setattr(LoraLinear, "merged", halved)
    with pytest.raises(MofangError) as error:
        merged(adapted())
    assert error.value.code == "merge-differs"


def test_a_template_that_changed_cuts_a_million_characters_otherwise() -> None:
    encoder = ChatEncoder.fit(["hello there", "good morning"] * 5, ("text",), vocabulary=300)
    other = ChatEncoder(encoder.columns, encoder.max_length, encoder.tokenizer_json, encoder.template.replace("\n", "  ", 1) + " ")
    found = fuzz_digest(encoder, 2_000)
    assert found and found == fuzz_digest(encoder, 2_000) and (other.template == encoder.template or fuzz_digest(other, 2_000) != found)


def test_a_label_that_int8_may_change_is_one_that_the_model_hardly_held(made: dict[str, Artifact], tmp_path: Path) -> None:
    reference = np.array([[0.52, 0.48], [0.9, 0.1], [0.2, 0.8], [0, 0]], np.float32)
    other = np.array([[0.45, 0.55], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7]], np.float32)
    assert agreement(other, reference, 1e-4) == pytest.approx(2 / 3) and agreement(other, reference, 0.1) == 1
    border = borders_of({"labels": ["a", "b"], "decide": {"positive": "b", "threshold": 0.3, "miss_cost": 0}})
    assert agreement(other, reference, 0.1, border) == pytest.approx(2 / 3), "0.1 to 0.4 crosses the border of 0.3"
    assert agreement(other, reference, 0.1, borders_of({"labels": ["a", "b"], "thresholds": {"a": 0.5, "b": 0.95}})) == 1
    assert agreement(other * np.nan, reference, 0.1) == 0


def test_requests_are_sentences_in_the_languages_of_the_vocabulary() -> None:
    encoder = TokenEncoder.fit(REVIEWS, vocabulary=200)
    signature: Any = {"task": "text_classification", "inputs": [{"name": "text", "role": "text"}], "labels": ["a", "b"]}
    drawn = [one["text"] for one in TASK.canonical(signature, encoder, 200, 0)]
    assert len(drawn) == 200 and drawn == [one["text"] for one in TASK.canonical(signature, encoder, 200, 0)]
    assert not set(drawn) & {one["text"] for one in REVIEWS} - {drawn[0]} or len(set(drawn)) > 150
    assert share_chinese(sentences(np.random.default_rng(0), 50, 1.0)) == 1
    assert share_chinese(sentences(np.random.default_rng(0), 50, 0.0)) == 0
    assert share_chinese(["안녕하세요", "좋은 아침", "مرحبا"]) is None


def test_rows_answered_in_order_of_length_come_back_in_their_own() -> None:
    rng = np.random.default_rng(0)
    lengths = np.append(rng.integers(1, 40, 99), 40)
    mask = (np.arange(40)[None] < lengths[:, None]).astype(np.int64)
    ids = rng.integers(1, 9, (100, 40)) * mask
    widths: list[int] = []

    def run(arrays: dict[str, Any]) -> dict[str, Any]:
        widths.append(arrays["input_ids"].shape[1])
        return {"sum": arrays["input_ids"].sum(axis=1, keepdims=True), "each": arrays["input_ids"][:, :, None]}

    found = by_length(run, {"input_ids": ids, "attention_mask": mask})
    assert (found["sum"][:, 0] == ids.sum(axis=1)).all() and (found["each"][:, :, 0] == ids).all()
    assert widths == sorted(widths) and len(widths) == 7


def test_a_package_of_another_model_is_refused_at_the_load(made: dict[str, Artifact], tmp_path: Path) -> None:
    found = made["graph"].shop.run(package, made["graph"], requests=40, seconds=0.001)
    for part in found.parts:
        place = tmp_path / part.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found.path(part.name), place)
    about = json.loads((tmp_path / "package.json").read_bytes())
    (tmp_path / "package.json").write_text(json.dumps(about | {"files": {}, "labels": about["labels"][::-1]}))
    with pytest.raises(MofangError) as error:
        Predictor(tmp_path)
    assert error.value.code == "parity-mismatch" and error.value.values["what"] == "label"
