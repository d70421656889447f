from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from mofang.core.errors import MofangError
from mofang.engine.arrays import arrays_digest
from mofang.engine.predictor import Predictor
from mofang.engine.replay import canonical_lines, replay
from tests.engine import made


def changed(folder: Path, place: Path, **more: object) -> Path:
    """A copy of a graph folder whose about.json says something else."""
    copy = Path(shutil.copytree(folder, place / "copy"))
    about = json.loads((copy / "about.json").read_bytes())
    (copy / "about.json").write_text(json.dumps({**about, **more}))
    return copy


def test_serving_imports_no_torch_and_no_fit(text_graph: Path) -> None:
    code = f"""
import sys
from mofang.engine.predictor import Predictor
answer = Predictor({str(text_graph)!r}).predict([{{"text": "质量很好"}}])[0]
assert set(answer["scores"]) == {{"neg", "pos"}}, answer
heavy = {{"torch", "sklearn", "transformers", "pandas", "xgboost", "onnx", "scipy"}} & set(sys.modules)
assert not heavy, heavy
assert not [name for name in sys.modules if name.startswith("mofang.fit")]
"""
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_operators_run_before_the_encoder(text_graph: Path) -> None:
    predictor = Predictor(text_graph)
    plain, dressed = [{"text": "质量很好,推荐"}], [{"text": " 质量\u200b很好，推荐\n"}]
    assert arrays_digest(predictor.encode(plain)) == arrays_digest(predictor.encode(dressed))
    assert arrays_digest(predictor.encoder.encode(plain)) != arrays_digest(predictor.encoder.encode(dressed))


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_two_engines_one_answer(tmp_path: Path, engine: str) -> None:
    folder = made.text_folder(tmp_path / "graph", averaged=True)
    records = [{"text": text} for text in ("质量很好", "太差 a", "x" * 500)]
    reference = Predictor(folder, engine="onnx", threads=1).outputs(records)["probabilities"]
    predictor = Predictor(folder, engine=engine, threads=2)
    assert predictor.engine["engine"] == engine
    assert np.abs(predictor.outputs(records)["probabilities"] - reference).max() < 1e-5


def test_many_records_and_very_long_texts_are_run_in_pieces(
    text_graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(text_graph)
    records = [{"text": "质量很好" * (1 + i % 50)} for i in range(100)]
    whole = predictor.outputs(records)["probabilities"]
    monkeypatch.setattr("mofang.engine.predictor.CELLS_MAX", 64)
    assert (
        whole.shape == (100, 2) and np.abs(predictor.outputs(records)["probabilities"] - whole).max() < 1e-6
    )
    assert predictor.outputs([])["probabilities"].shape == (0, 2) and predictor.predict([]) == []


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_a_signal_after_an_engine_was_let_go_does_not_crash(text_graph: Path, engine: str) -> None:
    """Ctrl-C once the engines were measured: in a process of its own, because it used to end it."""
    code = f"""if True:
        import gc, signal
        from mofang.engine.predictor import Predictor
        predictor = Predictor({str(text_graph)!r}, engine={engine!r})
        predictor.predict([{{"text": "质量很好"}}])
        del predictor
        gc.collect()
        signal.signal(signal.SIGINT, lambda *_: print("handled"))
        signal.raise_signal(signal.SIGINT)"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stdout == "handled\n", done


def test_threads_get_their_own_answers(text_graph: Path) -> None:
    for engine in ("onnx", "openvino"):
        predictor = Predictor(text_graph, engine=engine, threads=1)
        records = [{"text": "质量很好" * n} for n in range(1, 9)] + [
            {"text": "太差" * n} for n in range(1, 9)
        ]
        expected = [predictor.predict([record]) for record in records]
        wrong: list[int] = []

        def ask(
            number: int,
            predictor: Predictor = predictor,
            records: list = records,
            expected: list = expected,
            wrong: list[int] = wrong,
        ) -> None:
            for _ in range(30):
                found = predictor.predict([records[number]])[0]
                if abs(found["scores"]["pos"] - expected[number][0]["scores"]["pos"]) > 1e-5:
                    wrong.append(number)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(records))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"format": 9}, "package-format"),
        ({"task": "poetry"}, "task-unknown"),
        ({"encoder": {"name": "ngrams", "version": 9}}, "encoder-version"),
        ({"encoder": {"name": "pickle", "version": 1}}, "encoder-unknown"),
        ({"encoder": {"name": "table", "version": 1}}, "encoder-broken"),
        (
            {"operators": [{"name": "text-normalise", "version": 99, "columns": ["text"], "state": {}}]},
            "operator-unknown",
        ),
        (
            {"operators": [{"name": "rot13", "version": 1, "columns": ["text"], "state": {}}]},
            "operator-unknown",
        ),
        ({"engine": {"engine": "abacus", "threads": 1}}, "engine-none"),
        ({"decide": {"positive": "none", "threshold": 0.5, "miss_cost": 0}}, "package-unreadable"),
        ({"decide": {"positive": "neg", "threshold": "0.5"}}, "package-unreadable"),
        ({"decide": {"positive": "neg", "threshold": 2}}, "package-unreadable"),
        ({"decide": "always"}, "package-unreadable"),
    ],
)
def test_a_graph_that_would_answer_otherwise_than_it_was_trained_is_refused(
    text_graph: Path, tmp_path: Path, more: dict, code: str
) -> None:
    with pytest.raises(MofangError) as error:
        Predictor(changed(text_graph, tmp_path, **more))
    assert error.value.code == code


def test_a_threshold_decides_and_a_replay_sees_that_it_was_changed(text_graph: Path, tmp_path: Path) -> None:
    decide = {"positive": "neg", "threshold": 1e-9, "miss_cost": 0.0}
    plain, eager = Predictor(text_graph), Predictor(changed(text_graph, tmp_path, format=2, decide=decide))
    records = plain.task.canonical(plain.signature, plain.encoder, 16, 0)
    answers = eager.predict(records)
    assert {one["label"] for one in answers} == {"neg"} and answers[0]["scores"] == plain.predict(records)[0]["scores"]
    lines = json.loads(json.dumps(canonical_lines(eager, records, plain.outputs(records))))
    replay(eager, lines)
    with pytest.raises(MofangError) as error:
        replay(plain, lines)
    assert error.value.code == "parity-mismatch" and "label" in error.value.what


@pytest.mark.parametrize("about", ["", "{", "{}"])
def test_a_folder_that_is_no_package_is_refused(tmp_path: Path, about: str) -> None:
    if about:
        (tmp_path / "about.json").write_text(about)
    with pytest.raises(MofangError) as error:
        Predictor(tmp_path)
    assert error.value.code == "package-unreadable"


def test_replay_finds_a_changed_encoder_and_a_changed_graph(text_graph: Path, table_graph: Path) -> None:
    predictor = Predictor(text_graph)
    records = predictor.task.canonical(predictor.signature, predictor.encoder, 16, 0)
    probabilities = predictor.outputs(records)
    lines = json.loads(json.dumps(canonical_lines(predictor, records, probabilities)))
    replay(predictor, lines)
    for key, value, what in (
        ("arrays", "0" * 64, "arrays"),
        ("outputs", {"probabilities": [0.5, 0.5]}, "probabilities"),
    ):
        broken = [*lines[:3], {**lines[3], key: value}, *lines[4:]]
        with pytest.raises(MofangError) as error:
            replay(predictor, broken)
        assert error.value.code == "parity-mismatch" and error.value.values["what"] == what


def test_one_request_takes_well_under_a_millisecond(text_graph: Path) -> None:
    import time

    predictor = Predictor(text_graph, threads=1)
    spent = []
    for _ in range(300):
        began = time.process_time()
        predictor.predict(predictor.parse({"text": "质量很好，值得购买，物流也快"})[0])
        spent.append(time.process_time() - began)
    assert np.median(spent) < 1e-3
