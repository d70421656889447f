"""The loop: batches, losses, checkpoints, kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from mofang.core.errors import MofangError
from mofang.core.progress import Bar
from mofang.fit.loop.arrays import Dense, Ragged
from mofang.fit.loop.batches import Batches
from mofang.fit.loop.checkpoint import read_checkpoint, write_checkpoint
from mofang.fit.loop.classification import Classes
from mofang.fit.loop.deadline import deadline_in
from mofang.fit.loop.loop import Loop
from mofang.fit.loop.plan import Plan
from mofang.fit.networks.dense import DenseNetwork

ROWS = 96
TRAINING = """
import sys, torch
from pathlib import Path
from tests.fit.test_loop import make_loop, silent
torch.set_num_threads(1)
make_loop(Path(sys.argv[1]), pause_s=0.05, checkpoint_s=0.0).run(silent())
"""


def silent() -> Bar:
    return Bar("", None, live=False)


def accuracy(probabilities: Any, labels: Any) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())


def make_loop(folder: Path, *, pause_s: float = 0.0, **settings: Any) -> Loop:
    """A dense network with dropout on planted rows; ``pause_s`` slows a step down so that a kill hits it."""
    random = np.random.default_rng(0)
    values = random.normal(size=(ROWS, 6)).astype(np.float32)
    labels = (values[:, 0] + values[:, 1] > 0).astype(np.int64)
    torch.manual_seed(0)
    network = DenseNetwork(6, (8,), 2, 0.2)

    def slowly(arrays: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        time.sleep(pause_s)
        return {
            "features": arrays["features"] + 0.01 * torch.randn(arrays["features"].shape, generator=generator)
        }

    plan = Plan(**({"epochs": 5, "learning_rate": 0.01, "rows": 8, "patience": 9} | settings))
    rows = Dense({"features": values}), labels
    return Loop(network, Classes(rows, rows, plan, accuracy, slowly), plan, folder)


def classes(loop: Loop) -> Classes:
    assert isinstance(loop.objective, Classes)
    return loop.objective


def weights(loop: Loop) -> dict[str, torch.Tensor]:
    return dict(loop.network.state_dict())


def test_learns_and_records_curves(tmp_path: Path) -> None:
    outcome = make_loop(tmp_path, epochs=12).run(silent())
    assert outcome.curves[-1]["loss"] < outcome.curves[0]["loss"]
    assert max(row["validation_score"] for row in outcome.curves) > 0.9
    assert len(outcome.curves) == 12 and outcome.judged.outputs["probabilities"].shape == (ROWS, 2)
    assert outcome.curves[0]["rate"] > outcome.curves[-1]["rate"] >= 0


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums of several threads may be added in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, one_thread: None) -> None:
    """kill -9 in the middle of an epoch, then resume: the same weights as a run that was never killed."""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    process = subprocess.Popen([sys.executable, "-c", TRAINING, str(killed)], env=environment)
    limit = time.monotonic() + 100
    while _step(killed) < 17 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed, untouched = make_loop(killed), make_loop(whole)
    assert resumed.resumed and 16 <= resumed.cursor.step < untouched.cursor.steps  # 16: killed while writing 17
    resumed.run(silent())
    untouched.run(silent())
    assert save(weights(resumed)) == save(weights(untouched))


def _step(folder: Path) -> int:
    found = [int(path.stem.partition("-")[2]) for path in folder.glob("checkpoint-*.safetensors")]
    return max(found, default=0)


def test_micro_batches_equal_one_batch(tmp_path: Path) -> None:
    """The loss is the sum over all micro-batches divided by their count together."""
    found = []
    for rows, micro_batches in ((16, 1), (4, 4)):
        folder = tmp_path / str(rows)
        folder.mkdir()
        loop = make_loop(folder, rows=rows, micro_batches=micro_batches, epochs=1, clip_norm=1e9)
        classes(loop).augment = None
        loop.network.layers[3].p = 0.0  # type: ignore[union-attr,operator]
        loop.batches = Batches(loop.objective.lengths, rows, seed=0)
        assert np.array_equal(
            np.concatenate(loop.batches.epoch(0)), np.concatenate(Batches(loop.objective.lengths, 16).epoch(0))
        )
        loop.network.train()
        loop._step(loop._groups(0)[0])
        found.append(weights(loop))
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], atol=1e-6, rtol=0), name


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, epochs=40, learning_rate=0.05, patience=2)
    outcome = loop.run(silent())
    assert outcome.stopped == "validation stopped improving"
    best = max(outcome.curves, key=lambda row: (row["validation_score"], -row["validation_loss"]))
    assert best["epoch"] == outcome.best_epoch + 1
    assert accuracy(outcome.judged.outputs["probabilities"], classes(loop).validation_labels) == best["validation_score"]


def test_a_time_limit_shortens_the_schedule(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, epochs=1000, pause_s=0.01, seconds=0.8)
    began = time.monotonic()
    outcome = loop.run(silent())
    assert time.monotonic() - began < 10
    assert outcome.stopped == "time limit"
    assert loop.cursor.steps < 1000 * ROWS / 8
    assert outcome.curves[-1]["rate"] < 0.005


def test_a_deadline_leaves_a_checkpoint_and_a_later_call_goes_on(tmp_path: Path) -> None:
    with pytest.raises(MofangError) as caught, deadline_in(0):
        make_loop(tmp_path).run(silent())
    assert caught.value.code == "time-is-up"
    again = make_loop(tmp_path)
    assert again.resumed and again.cursor.step == 1
    again.run(silent())
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    whole = make_loop(fresh)
    whole.run(silent())
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(again).items())


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, learning_rate=1e30, clip_norm=1e30, warm_up=0.0)
    with pytest.raises(MofangError) as caught:
        loop.run(silent())
    assert caught.value.code == "training-diverged"


def test_checkpoints_are_checked(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None
    write_checkpoint(tmp_path, 1, {"a": torch.ones(3)}, {"step": 1})
    write_checkpoint(tmp_path, 2, {"a": torch.zeros(3)}, {"step": 2})
    write_checkpoint(tmp_path, 3, {"a": torch.full((3,), 3.0)}, {"step": 3})
    found = read_checkpoint(tmp_path)
    assert found is not None and found.state == {"step": 3} and found.tensors["a"].tolist() == [3, 3, 3] and not found.refused
    assert len(list(tmp_path.iterdir())) == 4, "the two newest pairs are kept"
    for file in ("checkpoint-3.safetensors", "checkpoint-3.json"):
        whole = (tmp_path / file).read_bytes()
        for place in range(0, len(whole), 7):
            (tmp_path / file).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
            found = read_checkpoint(tmp_path)
            assert found is not None and found.state == {"step": 2} and found.refused == 1, "a flipped bit falls back"
        (tmp_path / file).write_bytes(whole[: len(whole) // 2])
        assert (found := read_checkpoint(tmp_path)) is not None and found.state == {"step": 2}, "so does a torn file"
        (tmp_path / file).write_bytes(whole)
    for path in tmp_path.glob("checkpoint-*.safetensors"):
        path.write_bytes(b"")
    assert read_checkpoint(tmp_path) is None


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 200), min_size=1, max_size=300),
    rows=st.integers(1, 40),
    positions=st.integers(0, 800),
    epoch=st.integers(0, 3),
)
def test_every_row_is_in_exactly_one_batch(lengths: list[int], rows: int, positions: int, epoch: int) -> None:
    plan = Batches(np.array(lengths), rows, positions, seed=3)
    found = plan.epoch(epoch)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    for batch in found:
        assert 0 < len(batch) <= rows
        longest = max(lengths[row] for row in batch)
        assert not positions or len(batch) == 1 or longest * len(batch) <= positions
    again = plan.epoch(epoch)
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))


def test_batches_waste_little_and_are_not_in_order_of_length() -> None:
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(3, 0.6, 4000).astype(np.int64), 2, 160)
    found = Batches(lengths, 64, 2048).epoch(0)
    padded = sum(lengths[batch].max() * len(batch) for batch in found)
    assert padded / lengths.sum() < 1.1
    longest = np.array([lengths[batch].max() for batch in found], dtype=float)
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.3


def test_ragged_rows_are_padded_to_their_batch() -> None:
    rows = Ragged({"ids": np.array([1, 2, 3, 4])}, np.array([0, 3, 3, 4]), {"ids": 9})
    assert rows.batch(np.array([2, 0]))["ids"].tolist() == [[4, 9, 9], [1, 2, 3]]
    assert rows.batch(np.array([1]))["ids"].tolist() == [[9]]
