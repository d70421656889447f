from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from mofang.core.artifact import Artifact
from mofang.core.errors import MofangError
from mofang.core.run import Run
from mofang.core.shop import Shop
from mofang.core.stage import stage
from mofang.engine.arrays import arrays_digest
from mofang.engine.graphs import linear_graph
from mofang.engine.predictor import REPLAYED, Package, Predictor
from mofang.engine.runtimes.onnx import OnnxRuntime
from mofang.fit.export import Graph
from mofang.judge.evaluate import Evaluation
from mofang.serve.package import package
from tests.engine import made

FIGURE = {"value": 0.91, "low": 0.9, "high": 0.92}
METRICS = {"accuracy": FIGURE, "f1_macro": FIGURE, "roc_auc": {"value": None, "low": None, "high": None}}
REPORT = {
    "headline": "accuracy",
    "rows": 100,
    "interval": "95 % bootstrap",
    "metrics": METRICS,
    "baseline": {"family": {"tag": "linear"}, "metrics": METRICS},
    "difference": METRICS,
}


class Parted(Artifact):
    kind = "test-snapshot"


@stage(version=1, memo=False)
def give_graph(run: Run, *, folder: Path) -> Graph:
    """A graph artifact out of a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            run.write_bytes(path.relative_to(folder).as_posix(), path.read_bytes())
    return run.result(Graph)


@stage(version=1, memo=False)
def give_evaluation(run: Run) -> Evaluation:
    """An evaluation with made-up figures."""
    run.write_json("evaluation.json", REPORT)
    return run.result(Evaluation)


def packaged(shop: Shop, folder: Path, **settings: Any) -> Package:
    graph, evaluation = shop.run(give_graph, folder=folder), shop.run(give_evaluation)
    made_package = shop.run(package, graph, evaluation, **{"seconds": 0.001, "requests": 20, **settings})
    assert isinstance(made_package, Package)
    return made_package


FOLDERS = {"text": made.text_folder, "image": made.image_folder, "table": made.table_folder}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_package_answers_as_the_graph_does(shop: Shop, tmp_path: Path, kind: str) -> None:
    folder = FOLDERS[kind](tmp_path / "graph")
    found = packaged(shop, folder)
    described = found.read_json("package.json")
    assert described["engine"]["passes"] and described["parity"]["requests"] == 20
    assert {"onnx", "openvino"} <= {row["engine"] for row in described["engines"]}
    assert described["licences"] == ["CC0-1.0"] and described["lineage"]["graph"]["kind"] == "graph"
    predictor, plain = Predictor(found), Predictor(folder)
    for line in found.path("canonical.jsonl").read_text(encoding="utf-8").splitlines():
        request = json.loads(line)
        jsonschema.validate(request["request"], predictor.task.request_schema(predictor.signature))
        records, _ = predictor.parse(request["request"])
        assert (
            arrays_digest(predictor.encode(records))
            == request["arrays"]
            == arrays_digest(plain.encode(records))
        )
        answer = predictor.predict(records)[0]
        assert answer["scores"] == pytest.approx(request["answer"]["scores"], abs=1e-4)
    card = found.path("card.md").read_text(encoding="utf-8")
    assert "0.910 [0.900, 0.920]" in card and "模型卡" in card and "CC0-1.0" in card
    assert found.measures["engine"] == predictor.engine["engine"]


def test_a_package_is_a_folder_that_can_be_carried_away(shop: Shop, tmp_path: Path) -> None:
    found = packaged(shop, made.text_folder(tmp_path / "graph"))
    for part in found.parts:
        place = tmp_path / "carried" / part.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found.path(part.name), place)
    records = [{"text": "质量很好"}]
    assert Predictor(tmp_path / "carried").predict(records) == Predictor(found).predict(records)
    (tmp_path / "carried" / "encoder" / "idf.npy").write_bytes(b"other")
    with pytest.raises(MofangError) as error:
        Predictor(tmp_path / "carried")
    assert error.value.code == "package-damaged" and error.value.values["part"] == "encoder/idf.npy"


@pytest.mark.parametrize("what", ["encoder", "graph"])
def test_a_package_that_became_another_model_is_refused_at_load(
    shop: Shop, tmp_path: Path, what: str
) -> None:
    """As an upgrade of a library would: every file is the packaged one, and yet it answers otherwise."""
    found = packaged(shop, made.text_folder(tmp_path / "graph"))
    folder = tmp_path / "carried"
    for part in found.parts:
        (folder / part.name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found.path(part.name), folder / part.name)
    described = json.loads((folder / "package.json").read_bytes())
    described["files"] = {}
    (folder / "package.json").write_text(json.dumps(described))
    if what == "encoder":
        from mofang.engine.arrays import from_npy, to_npy

        path = folder / "encoder" / "idf.npy"
        path.write_bytes(
            to_npy(
                np.nextafter(from_npy(path.read_bytes()), np.float32(9))
                * np.linspace(1, 1.001, len(from_npy(path.read_bytes())), dtype=np.float32)
            )
        )
    else:
        size = Predictor(found).encoder.size  # type: ignore[attr-defined]
        (folder / "graph" / "model.onnx").write_bytes(
            linear_graph(np.zeros((size, 2), np.float32), np.zeros(2, np.float32))
        )
    with pytest.raises(MofangError) as error:
        Predictor(folder)
    assert error.value.code == "parity-mismatch"
    assert error.value.values["what"] == ("arrays" if what == "encoder" else "probabilities")


def test_an_engine_that_answers_otherwise_is_measured_and_not_used(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mofang.engine.runtimes.openvino import OpenVinoRuntime

    real = OpenVinoRuntime.run
    monkeypatch.setattr(
        OpenVinoRuntime,
        "run",
        lambda self, arrays: {"probabilities": real(self, arrays)["probabilities"] + np.float32(2e-4)},
    )
    described = packaged(shop, made.text_folder(tmp_path / "graph")).read_json("package.json")
    assert described["engine"]["engine"] == "onnx"
    assert not any(row["passes"] for row in described["engines"] if row["engine"] == "openvino")


def test_nothing_is_packaged_when_no_engine_gives_the_models_answers(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OnnxRuntime.__init__

    def other(self: OnnxRuntime, path: Path, threads: int, *, optimise: bool = True) -> None:
        real(self, path, threads, optimise=optimise)
        if not optimise:  # the reference: the model as it was exported
            run = self.run
            self.run = lambda arrays: {"probabilities": run(arrays)["probabilities"][:, ::-1]}  # type: ignore[method-assign]

    monkeypatch.setattr(OnnxRuntime, "__init__", other)
    with pytest.raises(MofangError) as error:
        packaged(shop, made.text_folder(tmp_path / "graph"))
    assert error.value.code == "parity-mismatch" and "1e-04" in error.value.what.replace("0.0001", "1e-04")


def test_a_graph_with_an_unknown_operator_is_refused(shop: Shop, tmp_path: Path) -> None:
    folder = made.text_folder(tmp_path / "graph")
    about = json.loads((folder / "about.json").read_bytes())
    about["operators"].append({"name": "rot13", "version": 1, "columns": ["text"], "state": {}})
    (folder / "about.json").write_text(json.dumps(about))
    with pytest.raises(MofangError) as error:
        packaged(shop, folder)
    assert error.value.code == "operator-unknown"


def test_a_graph_that_lost_its_operator_on_the_way_is_refused(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @stage(version=1, memo=False)
    def give_snapshot(run: Run) -> Parted:
        """A snapshot whose values an operator changed."""
        run.write_json("about.json", {"operators": made.NORMALISE})
        return run.result(Parted)

    @stage(version=1, memo=False)
    def graph_of(run: Run, snapshot: Parted, *, folder: Path) -> Graph:
        """A graph made from it, as a careless family would make it."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                run.write_bytes(path.relative_to(folder).as_posix(), path.read_bytes())
        return run.result(Graph)

    monkeypatch.setattr("mofang.serve.parity.SNAPSHOT", Parted.kind)
    folder = made.text_folder(tmp_path / "graph")
    about = json.loads((folder / "about.json").read_bytes())
    (folder / "about.json").write_text(json.dumps({**about, "operators": []}))
    graph = shop.run(graph_of, shop.run(give_snapshot), folder=folder)
    with pytest.raises(MofangError) as error:
        shop.run(package, graph, shop.run(give_evaluation), seconds=0.001, requests=20)
    assert error.value.code == "operator-lost" and error.value.values["operator"] == "text-normalise"


def test_loading_and_replaying_is_quick(shop: Shop, tmp_path: Path) -> None:
    found = packaged(shop, made.text_folder(tmp_path / "graph"), requests=64)
    Predictor(found)
    assert min(Predictor(found).load_seconds for _ in range(3)) < 0.3 and REPLAYED == 16


def test_an_engine_missing_on_the_serving_machine_is_replaced_by_the_next_that_passed(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = packaged(shop, made.text_folder(tmp_path / "graph"))
    chosen = Predictor(found).engine["engine"]
    other = {"onnx": "openvino", "openvino": "onnx"}[chosen]
    monkeypatch.setattr(
        f"mofang.engine.runtimes.{chosen}.missing_package",
        lambda module, package: f"{package} is not installed",
    )
    assert Predictor(found).engine["engine"] == other
    monkeypatch.setattr(
        f"mofang.engine.runtimes.{other}.missing_package",
        lambda module, package: f"{package} is not installed",
    )
    with pytest.raises(MofangError) as error:
        Predictor(found)
    assert error.value.code == "engine-none" and "is not installed" in error.value.what


@pytest.mark.parametrize("objective", ["throughput", "latency", "size"])
def test_the_objective_chooses(shop: Shop, tmp_path: Path, objective: str) -> None:
    found = packaged(shop, made.table_folder(tmp_path / "graph"), objective=objective)
    described = found.read_json("package.json")
    assert described["objective"] == objective and described["parity"]["reference"] == "xgboost"
    assert objective != "latency" or described["engine"]["batch"] == 1
