"""Precisions, streams, the torch child, the edge folder, and faults that are planted into a package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.engine.fuzz import fuzz_digest, fuzz_texts
from mofang.engine.machine import machine_facts, same_machine
from mofang.engine.measure import BF16_TOLERANCE, INT8_TOLERANCE_MAX, choose, layouts, tolerance_of
from mofang.engine.predictor import Predictor
from mofang.engine.runtimes.torch import TorchRuntime
from mofang.serve.border import open_parcel
from mofang.serve.edge import check_edge, write_edge
from mofang.serve.package import package
from mofang.serve.parcel import export_parcel
from mofang.serve.remeasure import current, remeasure
from tests.contract.world import write_texts

QUICK = {"seconds": 0.001, "requests": 32}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop.open(tmp_path_factory.mktemp("engines") / "shop")


@pytest.fixture(scope="module")
def made(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A tiny encoder with every stage behind it, packaged in every form."""
    from mofang.recipe import clean, collect, evaluate, export, snapshot, train

    source = tmp_path_factory.mktemp("texts") / "texts.csv"
    write_texts(source, 160)
    records = shop.run(collect, source=str(source), licence="CC-BY-4.0", origin="tests", label="label", text=("text",))
    data = shop.run(snapshot, shop.run(clean, records) / "kept", task="text_classification", label="label", inputs=("text",),
                    test=0.4, validation=0.2)
    family = {"tag": "encoder", "layers": 1, "width": 16, "heads": 2, "vocabulary": 200, "max_length": 32, "epochs": 2}
    graph = shop.run(export, shop.run(train, data, family=family))
    evaluation = shop.run(evaluate, graph, data / "test", resamples=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mofang.serve.package.WEIGHTS_MIN", 1)
        made = shop.run(package, graph, evaluation, **QUICK, loss_max=1.0, formats=("onnx", "safetensors", "torch"))
    shop.name("tiny", made)
    return {"graph": graph, "evaluation": evaluation, "package": made}


def described(made: dict[str, Artifact]) -> dict[str, Any]:
    found: dict[str, Any] = made["package"].read_json("package.json")
    return found


def test_every_engine_and_precision_stands_in_the_table(made: dict[str, Artifact]) -> None:
    about = described(made)
    pairs = {(row["engine"], row["precision"]): row for row in about["engines"]}
    assert {("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "int8"), ("torch", "fp32")} <= set(pairs)
    assert about["format"] == 3 and about["formats"] == ["onnx", "safetensors", "torch"] and not about["not_made"]
    for (engine, precision), row in pairs.items():
        if precision == "int8":
            quality = about["quality"][f"{engine} int8"]
            assert quality["rows"] > 30 and quality["difference"]["low"] <= quality["difference"]["high"]
            assert row["passes"] == (quality["passes"] and row["max_abs_difference"] <= row["tolerance"])
        elif precision == "fp32":
            assert row["passes"] and row["max_abs_difference"] < 1e-5
    streams = {(row["threads"], row["streams"]) for row in about["engines"] if row["engine"] != "torch"}
    assert streams == set(layouts(machine_facts()["cores"]))
    card = made["package"].path("card.md").read_text(encoding="utf-8")
    assert "| openvino | int8 |" in card and "| 引擎 |" in card


def test_what_a_package_holds(made: dict[str, Artifact]) -> None:
    names = {part.name for part in made["package"].parts}
    assert {"schema.json", "evaluation.json", "canonical.jsonl", "card.md", "package.json", "weights/config.json",
            "weights/weights.safetensors", "torch/program.json", "torch/program.safetensors", "graph/model.onnx"} <= names
    schema = made["package"].read_json("schema.json")
    assert schema["unit"] == "text" and schema["request"]["$defs"]["record"]["required"] == ["text"]
    assert set(described(made)["files"]) == names - {"package.json"}
    assert described(made)["parity"]["tokens"]["characters"] == 1_000_000


@pytest.mark.parametrize(("engine", "precision"), [("onnx", "int8"), ("openvino", "int8"), ("openvino", "fp32")])
def test_any_of_them_opens_and_answers(made: dict[str, Artifact], engine: str, precision: str) -> None:
    wanted = Predictor(made["package"], engine="onnx", precision="fp32").outputs([{"text": "质量很好"}, {"text": "bad"}])
    predictor = Predictor(made["package"], engine=engine, precision=precision, streams=2, threads=1)
    assert predictor.engine["streams"] == 2 and predictor.engine["precision"] == precision
    found = predictor.outputs([{"text": "质量很好"}, {"text": "bad"}])
    assert np.abs(found["probabilities"] - wanted["probabilities"]).max() <= predictor.tolerance


def test_a_torch_child_that_dies_is_started_again(made: dict[str, Artifact]) -> None:
    exact = Predictor(made["package"], engine="onnx", precision="fp32")
    predictor = Predictor(made["package"], engine="torch", threads=1, streams=1)
    runtime = predictor._runtime
    assert isinstance(runtime, TorchRuntime)
    before = predictor.predict([{"text": "好"}])
    assert before[0]["scores"] == pytest.approx(exact.predict([{"text": "好"}])[0]["scores"], abs=1e-4)
    process = runtime._children[0].process
    assert process is not None
    process.kill()
    process.wait()
    assert predictor.predict([{"text": "好"}]) == before
    with pytest.raises(MofangError):
        runtime.run({"input_ids": np.zeros((1, 2), np.float32), "attention_mask": np.ones((1, 2), np.int64)})
    assert predictor.predict([{"text": "好"}]) == before
    runtime.close()


def test_a_torch_program_from_another_place_is_never_run(made: dict[str, Artifact], tmp_path: Path) -> None:
    folder = carried(made["package"], tmp_path)
    with pytest.raises(MofangError) as error:
        Predictor(folder, engine="torch")
    assert error.value.code == "engine-none" and "program.json" in error.value.what


def test_int8_that_loses_too_much_or_cannot_be_judged_does_not_serve(shop: Shop, made: dict[str, Artifact],
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mofang.serve.package.WEIGHTS_MIN", 1)
    monkeypatch.setattr("mofang.serve.package.test_behind", lambda run, evaluation: None)
    found = shop.run(package, made["graph"], made["evaluation"], **QUICK, seed=3)
    rows = [row for row in found.read_json("package.json")["engines"] if row["precision"] == "int8"]
    assert rows and not any(row["passes"] for row in rows)
    assert not found.has("graph/model.int8.onnx") and not found.has("graph/model.dynamic.onnx")


def test_a_lossy_precision_must_win_its_keep() -> None:
    exact = {"engine": "onnx", "precision": "fp32", "passes": True, "batch": 1, "p50_ms": 1.0, "samples_per_s": 1000.0,
             "size_bytes": 100, "streams": 1}
    light = {**exact, "precision": "int8", "p50_ms": 0.9, "samples_per_s": 1100.0, "size_bytes": 30}
    assert choose([exact, light], "throughput") is exact and choose([exact, light], "latency") is exact
    assert choose([exact, light], "size") is light
    quick = {**light, "p50_ms": 0.5, "samples_per_s": 2000.0}
    assert choose([exact, quick], "throughput") is quick and choose([exact, quick], "latency") is quick
    assert choose([exact, {**quick, "passes": False}], "size") is exact
    assert tolerance_of({"precision": "bf16"}) == BF16_TOLERANCE and tolerance_of({"precision": "int8"}) == 0
    assert tolerance_of({"precision": "int8", "tolerance": 9.0}) == INT8_TOLERANCE_MAX


def carried(package: Artifact, place: Path) -> Path:
    """The package as a plain folder."""
    for part in package.parts:
        path = place / "carried" / part.name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(package.path(part.name), path)
    return place / "carried"


@pytest.mark.parametrize("fault", ["tokenizer", "dtype", "operator"])
def test_a_planted_fault_is_refused_at_load(made: dict[str, Artifact], tmp_path: Path, fault: str) -> None:
    """Digests are blanked out, so that only the answers can tell."""
    folder = carried(made["package"], tmp_path)
    about = json.loads((folder / "package.json").read_bytes()) | {"files": {}}
    if fault == "tokenizer":
        text = (folder / "encoder" / "tokenizer.json").read_text(encoding="utf-8")
        (folder / "encoder" / "tokenizer.json").write_text(text.replace('"lowercase":true', '"lowercase":false'), encoding="utf-8")
    elif fault == "operator":
        about["operators"] = []
    else:
        import onnx
        from onnx import numpy_helper

        model = onnx.load(str(folder / "graph" / "model.onnx"))
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype == np.float32 and array.ndim == 2:  # as a cast to bfloat16 would leave them
                short = (array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) * np.float32(1.01)
                tensor.CopyFrom(numpy_helper.from_array(short, tensor.name))
        (folder / "graph" / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "package.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(MofangError) as error:
        Predictor(folder, engine="onnx", precision="fp32")
    assert error.value.code == "parity-mismatch"


def test_a_byte_flipped_at_200_offsets_is_refused_200_times(shop: Shop, made: dict[str, Artifact], tmp_path: Path) -> None:
    parcel = export_parcel(shop, "tiny", tmp_path / "tiny.mofang").path
    whole = parcel.read_bytes()
    taken = []
    for at in np.linspace(0, len(whole) - 1, 200).astype(int).tolist():
        broken = bytearray(whole)
        broken[at] ^= 0x20
        (tmp_path / "broken.mofang").write_bytes(bytes(broken))
        place = tmp_path / "unpacked"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        try:
            open_parcel(tmp_path / "broken.mofang", place)
        except MofangError:
            continue
        taken.append(at)
    assert taken == []
    assert Predictor(made["package"]).predict([{"text": "好"}])


def test_another_library_version_asks_everything_again(shop: Shop, made: dict[str, Artifact], tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    assert current(shop, made["package"]).entry == made["package"].entry
    asked: list[int] = []
    monkeypatch.setattr("mofang.engine.predictor.replay", lambda predictor, lines: asked.append(len(lines)))
    Predictor(made["package"])
    monkeypatch.setattr("mofang.engine.machine._libraries", lambda: (("onnxruntime", "9.9"),))
    assert not same_machine(described(made)["machine"])
    assert not Predictor(made["package"]).measured_here and asked == [16, 32]
    again = shop.run(remeasure, made["package"], seconds=0.001)
    about = again.read_json("package.json")
    assert about["machine"]["libraries"] == {"onnxruntime": "9.9"} and about["quality"] == described(made)["quality"]
    assert {row["precision"] for row in about["engines"] if row["passes"]} >= {"fp32"}


def test_the_edge_folder_answers_without_mofang(made: dict[str, Artifact], tmp_path: Path) -> None:
    edge = write_edge(made["package"], tmp_path / "edge")
    assert edge.requests == 32
    words = [sys.executable, "-I", str(edge.path / "run.py"), "质量很好，值得购买"]
    hidden = ("import sys; sys.modules['mofang'] = None; sys.argv = sys.argv[1:]; import runpy; "
              "runpy.run_path(sys.argv[0], run_name='__main__')")
    done = subprocess.run([*words[:2], "-c", hidden, *words[2:]], capture_output=True, cwd=tmp_path, check=True)
    answer = json.loads(done.stdout)
    wanted = Predictor(made["package"], engine="onnx").predict([{"text": "质量很好，值得购买"}])[0]
    assert set(answer["scores"]) == set(wanted["scores"])
    assert answer["scores"] == pytest.approx(wanted["scores"], abs=0.25)
    with pytest.raises(MofangError, match="there already"):
        write_edge(made["package"], edge.path)
    about = json.loads((edge.path / "tokenizer.json").read_bytes())
    about["normalizer"]["lowercase"] = False
    (edge.path / "tokenizer.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(MofangError) as error:
        check_edge(edge.path)
    assert error.value.code == "edge-differs"


def test_a_package_opens_where_torch_is_hidden(made: dict[str, Artifact], tmp_path: Path) -> None:
    folder = carried(made["package"], tmp_path)
    code = f"""
import sys
for name in ("torch", "transformers", "onnx", "nncf", "sklearn"):
    sys.modules[name] = None
from pathlib import Path
from mofang.engine.predictor import Predictor
for engine in ("", "onnx", "openvino"):
    assert Predictor(Path({str(folder)!r}), engine=engine).predict([{{"text": "质量很好"}}])
assert not [name for name in sys.modules if name.startswith("mofang.fit")]
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


def test_a_million_characters_of_every_kind() -> None:
    texts = fuzz_texts()
    assert sum(map(len, texts)) == 1_000_000 and texts == fuzz_texts()
    kinds = {"一" <= sign <= "龥" for sign in texts[0]} | {sign.isascii() for text in texts[:9] for sign in text}
    assert kinds == {True, False} and fuzz_digest(object()) == ""


def test_a_tokenizer_of_another_kind_is_cut_by_its_library(shop: Shop, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from mofang.engine.encode.tokens import TokenEncoder
    from mofang.engine.graphs import mean_graph
    from mofang.fit.export import Graph
    from tests.serve.test_package import give_graph

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=300, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["很好", "bad"], trainer)
    encoder = TokenEncoder.wrap(tokenizer.to_str(), ("text",), max_length=16)
    table = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    folder = tmp_path / "graph"
    (folder / "encoder").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(mean_graph(table, np.zeros(2, np.float32)))
    for name, data in encoder.save().items():
        (folder / "encoder" / name).write_bytes(data)
    (folder / "about.json").write_text(json.dumps({
        "format": 1, "task": "text_classification", "inputs": [{"name": "text", "role": "text"}], "labels": ["a", "b"],
        "operators": [], "headline": "accuracy", "family": {"tag": "static", "version": 1}, "licences": ["CC0-1.0"],
        "encoder": {"name": encoder.name, "version": encoder.version}, "label": "label", "base_model": ""}))
    graph = shop.run(give_graph, folder=folder)
    assert isinstance(graph, Graph)
    edge = write_edge(shop.run(package, graph, **QUICK), tmp_path / "edge")
    assert json.loads((edge.path / "model.json").read_bytes())["cut"] == "tokenizers"
    assert "tokenizers" in (edge.path / "README.txt").read_text(encoding="utf-8")
