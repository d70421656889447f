"""Models from elsewhere: taken in, packaged, asked; and everything that is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.engine.encode.tokens import TokenEncoder
from mofang.engine.predictor import Predictor
from mofang.fit.adopt import adopt
from mofang.serve.package import package
from tests.engine.made import REVIEWS

LABELS = ("差", "好")
SAID = {"licence": "Apache-2.0", "origin": "a friend's machine"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT classifier of transformers with its tokenizer, as its maker would hand it over."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    place = tmp_path_factory.mktemp("bert")
    encoder = TokenEncoder.fit(REVIEWS, vocabulary=200)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=encoder.size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=64, num_labels=2, initializer_range=0.5,
                        id2label=dict(enumerate(LABELS)), label2id={name: at for at, name in enumerate(LABELS)})
    BertForSequenceClassification(config).save_pretrained(place)
    (place / "tokenizer.json").write_text(encoder.tokenizer_json, encoding="utf-8")
    (place / "README.md").write_text("# 评论模型\nlicense: apache-2.0\n", encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def graph_file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as an ONNX file that gives logits and wants token types, with its tokenizer beside it."""
    from onnx import TensorProto, helper, numpy_helper

    place = tmp_path_factory.mktemp("onnx")
    table = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "l"])
           for name in ("input_ids", "attention_mask", "token_type_ids")]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
             helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
             helper.make_node("Cast", ["token_type_ids"], ["types"], to=TensorProto.FLOAT),
             helper.make_node("Add", ["mask", "types"], ["both"]),
             helper.make_node("Unsqueeze", ["both", "last"], ["column"]),
             helper.make_node("Mul", ["rows", "column"], ["kept"]),
             helper.make_node("ReduceSum", ["kept", "one"], ["logits"], keepdims=0)]
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([2]), "last"),
                 numpy_helper.from_array(np.array([1]), "one")]
    graph = helper.make_graph(nodes, "g", ids, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 2])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (place / "model.onnx").write_bytes(model.SerializeToString())
    (place / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    return place / "model.onnx"


def refused(shop: Shop, source: Path, **settings: Any) -> str:
    with pytest.raises(MofangError) as error:
        shop.run(adopt, source=str(source), **{**SAID, **settings})
    return error.value.code


def copied(folder: Path, place: Path, **changed: bytes | None) -> Path:
    """The folder again, with files changed (or left out)."""
    place.mkdir()
    for path in folder.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    for name, data in changed.items():
        path = place / name.replace("__", ".")
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
    return place


def test_a_folder_of_safetensors_answers_as_its_weights_do(shop: Shop, folder: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    graph = shop.run(adopt, source=str(folder), **SAID)
    about = graph.read_json("about.json")
    assert about["labels"] == list(LABELS) and about["parity"]["rows"] == 1000 and about["parity"]["label_agreement"] == 1
    assert graph.licences == ("Apache-2.0",)
    made = shop.run(package, graph, seconds=0.001, requests=20)
    described = made.read_json("package.json")
    assert described["licences"] == ["Apache-2.0"] and described["adopted"]["origin"] == SAID["origin"]
    assert described["evaluation"]["rows"] == 0 and "not evaluated here" in made.path("card.md").read_text(encoding="utf-8")
    assert made.path("weights/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert made.has("graph/origin-card.md")
    predictor = Predictor(made)
    answer = predictor.predict([{"text": "质量很好，值得购买"}])[0]
    arrays = predictor.encode([{"text": "质量很好，值得购买"}])
    with torch.inference_mode():
        body = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        wanted = torch.softmax(body(**{name: torch.from_numpy(one) for name, one in arrays.items()}).logits, -1)[0].tolist()
    assert [answer["scores"][name] for name in LABELS] == pytest.approx(wanted, abs=1e-4)


def test_an_onnx_file_with_a_tokenizer_is_taken_in(shop: Shop, graph_file: Path) -> None:
    graph = shop.run(adopt, source=str(graph_file), labels=LABELS, **SAID)
    scores = Predictor(graph).predict([{"text": "质量很好"}])[0]["scores"]
    assert set(scores) == set(LABELS) and sum(scores.values()) == pytest.approx(1, abs=1e-5)
    assert refused(shop, graph_file, labels=("a", "b", "c")) == "adopt-unsuited"
    assert refused(shop, graph_file) == "adopt-labels"
    assert refused(shop, graph_file, labels=LABELS, gives="probabilities") == "adopt-unsuited"


def test_a_model_that_is_another_run_when_its_bytes_change(shop: Shop, folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path / "m")
    first = shop.run(adopt, source=str(place), **SAID)
    (place / "README.md").write_text("changed", encoding="utf-8")
    assert shop.run(adopt, source=str(place), **SAID).digest != first.digest


@pytest.mark.parametrize(("code", "changed", "settings"), [
    ("adopt-unsaid", {}, {"licence": " "}),
    ("adopt-unsaid", {}, {"origin": ""}),
    ("adopt-missing", {"tokenizer__json": None}, {}),
    ("adopt-missing", {"config__json": None}, {}),
    ("adopt-missing", {"model__safetensors": None}, {}),
    ("adopt-pickle", {"model__safetensors": None, "pytorch_model__bin": b"\x80\x04."}, {}),
    ("adopt-labels", {}, {"labels": ("one", "two", "three")}),
    ("adopt-labels", {}, {"labels": ("one", "one")}),
    ("adopt-unsuited", {"config__json": b"{"}, {}),
    ("adopt-unsuited", {"config__json": b"[]"}, {}),
    ("adopt-unsuited", {"config__json": b'{"problem_type": "regression"}'}, {}),
    ("adopt-unsuited", {"tokenizer__json": b"{}"}, {}),
    ("adopt-unsuited", {"model__safetensors": b"\xff" * 64}, {}),
])
def test_what_is_missing_or_hostile_is_refused_in_words(shop: Shop, folder: Path, tmp_path: Path, code: str,
                                                        changed: dict[str, bytes | None], settings: dict[str, Any]) -> None:
    assert refused(shop, copied(folder, tmp_path / "m", **changed), **settings) == code


def test_code_that_lies_beside_a_model_is_never_run(shop: Shop, folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    config |= {"auto_map": {"AutoModelForSequenceClassification": "evil.Model"}, "model_type": "evil"}
    place = copied(folder, tmp_path / "m", config__json=json.dumps(config).encode())
    (place / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Model: pass\n", encoding="utf-8")
    assert refused(shop, place) == "adopt-unsuited" and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/hostname", "link.bin", "", "missing.bin"])
def test_weights_outside_the_folder_are_refused(shop: Shop, graph_file: Path, tmp_path: Path, location: str) -> None:
    import onnx

    place = copied(graph_file.parent, tmp_path / "m")
    (tmp_path / "outside.bin").write_bytes(b"\0" * 4000)
    (place / "link.bin").symlink_to(tmp_path / "outside.bin")
    model = onnx.load(str(graph_file))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    (place / "model.onnx").write_bytes(model.SerializeToString())
    assert refused(shop, place / "model.onnx", labels=LABELS) == "graph-external"


def test_weights_in_a_file_beside_the_graph_are_brought_in(shop: Shop, graph_file: Path, tmp_path: Path) -> None:
    import onnx

    place = copied(graph_file.parent, tmp_path / "m")
    onnx.save(onnx.load(str(graph_file)), str(place / "model.onnx"), save_as_external_data=True, location="model.data",
              size_threshold=0)
    graph = shop.run(adopt, source=str(place / "model.onnx"), labels=LABELS, **SAID)
    assert Predictor(graph).predict([{"text": "好"}]) == Predictor(
        shop.run(adopt, source=str(graph_file), labels=LABELS, **SAID)).predict([{"text": "好"}])


def test_operators_of_their_own_are_refused(shop: Shop, graph_file: Path, tmp_path: Path) -> None:
    import onnx

    place = copied(graph_file.parent, tmp_path / "m")
    model = onnx.load(str(graph_file))
    model.graph.node[0].domain = "evil.corp"
    model.opset_import.append(onnx.helper.make_opsetid("evil.corp", 1))
    (place / "model.onnx").write_bytes(model.SerializeToString())
    assert refused(shop, place / "model.onnx", labels=LABELS) == "graph-custom"
    (place / "model.onnx").write_bytes(b"\x80\x04" + b"x" * 50)
    assert refused(shop, place / "model.onnx", labels=LABELS) in ("graph-unreadable", "adopt-unsuited")
