"""Models from elsewhere beside classifiers of texts: vectors, tagged pieces, images, generators; and weights beside a graph."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.engine.encode.tokens import TokenEncoder
from mofang.engine.graphfile import check_graph
from mofang.engine.predictor import Predictor
from mofang.fit.adopt import adopt
from mofang.serve.border import check_part
from mofang.serve.package import package
from tests.engine.made import REVIEWS

SAID = {"licence": "Apache-2.0", "origin": "a friend's machine"}
QUICK = {"seconds": 0.001, "requests": 20}
SHAPE: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
         "max_position_embeddings": 64, "initializer_range": 0.5}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop.open(tmp_path_factory.mktemp("kinds") / "shop")


@pytest.fixture(scope="module")
def tokens() -> TokenEncoder:
    return TokenEncoder.fit(REVIEWS, vocabulary=200)


def saved(place: Path, model: Any, tokens: TokenEncoder) -> Path:
    model.save_pretrained(place)
    (place / "tokenizer.json").write_text(tokens.tokenizer_json, encoding="utf-8")
    return place


def code_of(shop: Shop, place: Path, **settings: Any) -> str:
    with pytest.raises(MofangError) as error:
        shop.run(adopt, source=str(place), **SAID, **settings)
    return error.value.code


def test_an_encoder_becomes_vectors(shop: Shop, tokens: TokenEncoder, tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    place = saved(tmp_path / "m", BertModel(BertConfig(vocab_size=tokens.size, **SHAPE), add_pooling_layer=False), tokens)
    graph = shop.run(adopt, source=str(place), task="text_embedding", **SAID)
    made = shop.run(package, graph, **QUICK)
    vector = Predictor(made).predict([{"text": "质量很好，值得购买"}])[0]["embedding"]
    assert len(vector) == 16 and sum(one * one for one in vector) == pytest.approx(1, abs=1e-4)
    said = made.read_json("package.json")
    assert said["parity"]["reference"] == "the trained model" and said["parity"]["export"]["canonical"]["requests"] == 1000
    (place / "1_Pooling").mkdir()
    (place / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    other = Predictor(shop.run(adopt, source=str(place), task="text_embedding", **SAID)).predict([{"text": "质量很好，值得购买"}])
    assert other[0]["embedding"] != vector
    (place / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    assert code_of(shop, place, task="text_embedding") == "adopt-unsuited"


def test_tags_become_spans_in_our_order(shop: Shop, tokens: TokenEncoder, tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertForTokenClassification

    torch.manual_seed(0)
    names = ["I-PER", "O", "B-LOC", "B-PER", "I-LOC"]
    config = BertConfig(vocab_size=tokens.size, id2label=dict(enumerate(names)),
                        label2id={one: at for at, one in enumerate(names)}, **SHAPE)
    model = BertForTokenClassification(config)
    model.train(False)
    with torch.no_grad():
        model.classifier.bias[3] = 30.0
    place = saved(tmp_path / "m", model, tokens)
    graph = shop.run(adopt, source=str(place), task="token_classification", **SAID)
    assert graph.read_json("about.json")["labels"] == ["LOC", "PER"]
    spans = Predictor(graph).predict([{"text": "质量好"}])[0]["spans"]
    assert [(one["text"], one["label"]) for one in spans] == [("质", "PER"), ("量", "PER"), ("好", "PER")]
    said = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(said | {"id2label": {"0": "O", "1": "I-PER", "2": "a", "3": "b", "4": "c"}}))
    assert code_of(shop, place, task="token_classification") == "adopt-labels"


def picture(place: Path) -> Path:
    """An ONNX file that adds up the red and the blue of an image of 8 x 6 pixels, with its card beside it."""
    from onnx import TensorProto, helper, numpy_helper

    place.mkdir()
    weights = np.array([[1.0, -1.0], [0.0, 0.0], [-1.0, 1.0]], np.float32)
    nodes = [helper.make_node("ReduceMean", ["x"], ["colours"], axes=[2, 3], keepdims=0),
             helper.make_node("MatMul", ["colours", "w"], ["logits"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, 6, 8])],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 2])],
                              [numpy_helper.from_array(weights, "w")])
    (place / "model.onnx").write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    (place / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    (place / "config.json").write_text(json.dumps({"id2label": {"0": "red", "1": "blue"}}))
    (place / "README.md").write_text("# red or blue\n")
    return place / "model.onnx"


def test_an_image_graph_with_its_card(shop: Shop, tmp_path: Path) -> None:
    from PIL import Image

    place = picture(tmp_path / "m")
    graph = shop.run(adopt, source=str(place), task="image_classification", **SAID)
    predictor = Predictor(shop.run(package, graph, **QUICK))
    for colour, label in (((255, 0, 0), "red"), ((0, 0, 255), "blue")):
        stream = io.BytesIO()
        Image.new("RGB", (16, 12), colour).save(stream, "PNG")
        answer = predictor.predict([{"image": stream.getvalue()}])[0]
        assert answer["label"] == label and answer["scores"][label] == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-4)
    (place.parent / "preprocessor_config.json").write_text('{"do_center_crop": true}')
    assert code_of(shop, place, task="image_classification") == "adopt-unsuited"
    (place.parent / "preprocessor_config.json").unlink()
    assert code_of(shop, place, task="image_classification") == "adopt-missing"


def test_a_decoder_writes(shop: Shop, tmp_path: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from mofang.engine.encode.chat import ChatEncoder
    from mofang.engine.generation.opened import Generator

    encoder = ChatEncoder.fit(["hello there", "good morning"] * 20, ("text",), vocabulary=300)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=encoder.size, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=2, intermediate_size=64, max_position_embeddings=128, pad_token_id=0)
    place = tmp_path / "m"
    LlamaForCausalLM(config).save_pretrained(place)
    (place / "tokenizer.json").write_text(encoder.tokenizer_json, encoding="utf-8")
    (place / "tokenizer_config.json").write_text(json.dumps({"eos_token": encoder.eos_token}))
    graph = shop.run(adopt, source=str(place), task="text_generation", **SAID)
    made = shop.run(package, graph, precisions=("fp32",), **QUICK)
    assert isinstance(Generator(made).predict([{"text": "hello"}])[0]["text"], str)
    assert made.read_json("package.json")["adopted"]["origin"] == SAID["origin"]
    card = made.path("card.md").read_text(encoding="utf-8")
    assert "tokens a second" in card and "个词元" in card
    said = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(said | {"model_type": "mamba"}))
    assert code_of(shop, place, task="text_generation") == "generator-unsupported"


def test_weights_beyond_protobuf_lie_in_one_file_beside_the_graph(shop: Shop, tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mofang.fit.adoptedgraph.INLINE_MAX", 0)
    monkeypatch.setattr("mofang.fit.adoptedgraph.APART_MIN", 0)
    place = picture(tmp_path / "m")
    graph = shop.run(adopt, source=str(place), task="image_classification", **SAID)
    assert graph.has("model.onnx.data")
    made = shop.run(package, graph, **QUICK)
    rows = made.read_json("package.json")["engines"]
    assert made.has("graph/model.onnx.data") and any(row["passes"] for row in rows if row["engine"] == "onnx")
    assert Predictor(made).engine["engine"] == "onnx"
    folder = tmp_path / "carried"
    folder.mkdir()
    for name in ("model.onnx", "model.onnx.data"):
        (folder / name).write_bytes(made.path(f"graph/{name}").read_bytes())
    check_part(folder / "model.onnx", "graph/model.onnx")
    check_part(folder / "model.onnx.data", "graph/model.onnx.data")
    short = (folder / "model.onnx.data").read_bytes()[:-1]
    (folder / "model.onnx.data").write_bytes(short)
    for data in (folder / "model.onnx.data", None):
        with pytest.raises(MofangError) as error:
            check_graph(folder / "model.onnx", "graph/model.onnx", data)
        assert error.value.code == "graph-external"
