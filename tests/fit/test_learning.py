"""What the settings of learning do: rates, steps, penalties, averages, freezing, stops, batches, precision, the journal."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.snapshot import Snapshot
from mofang.fit.families import Linear, Mlp, Resnet
from mofang.fit.loop.checkpoint import read_checkpoint
from mofang.fit.loop.fitting import fitted_plan
from mofang.fit.loop.freezing import Frozen, freezing, thaw
from mofang.fit.loop.journal import ROWS_MOST, Journal, Meter, lasting, read_steps, speed
from mofang.fit.loop.learning import (
    Adagrad,
    Adam,
    Adamw,
    Constant,
    Cosine,
    Exponential,
    GradientDescent,
    Learning,
    Muon,
    Optimizer,
    Schedule,
    Sgd,
    Step,
)
from mofang.fit.loop.objective import Batch, Judged
from mofang.fit.loop.operations import Operations
from mofang.fit.loop.optimizers import Average, Steps, add_l1
from mofang.fit.loop.plan import Plan
from mofang.fit.loop.schedule import rate_at
from mofang.fit.networks.dense import DenseNetwork
from mofang.fit.train import train
from tests.fit.test_loop import classes, make_loop, silent, weights

TABLE = "table_classification"
OPTIMIZERS: list[Optimizer] = [GradientDescent(), Sgd(), Adam(), Adamw(), Adagrad(), Muon()]
SCHEDULES: list[Schedule] = [Constant(), Step(), Exponential(), Cosine(), Cosine(last=0.2)]


@settings(max_examples=60, deadline=None)
@given(steps=st.integers(1, 300), warm_up=st.floats(0, 0.9), schedule=st.sampled_from(SCHEDULES))
def test_every_schedule_rises_to_its_rate_and_never_above(steps: int, warm_up: float, schedule: Schedule) -> None:
    rates = [rate_at(step, steps, 0.5, warm_up, schedule) for step in range(steps + 1)]
    warm = math.ceil(max(1.0, warm_up * steps))
    assert all(0 <= rate <= 0.5 + 1e-12 for rate in rates)
    assert rates[:warm] == sorted(rates[:warm]), "it warms up"
    assert rates[warm:] == sorted(rates[warm:], reverse=True), "then it never rises again"


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), [1, 1, 1, 1]),
        (Step(at=(0.5, 0.75), factor=0.1), [1, 1, 0.1, 0.01]),
        (Exponential(last=0.0001), [1, 0.1, 0.01, 0.001]),
        (Cosine(), [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        (Cosine(last=0.5), [1, 0.5 + (1 + math.sqrt(0.5)) / 4, 0.75, 0.5 + (1 - math.sqrt(0.5)) / 4]),
    ],
    ids=lambda one: one.tag if isinstance(one, Schedule) else "",
)
def test_shapes_of_the_schedules(schedule: Schedule, expected: list[float]) -> None:
    """At 0, 1/4, 1/2 and 3/4 of what follows the one step of warm-up."""
    found = [rate_at(1 + 100 * quarter, 401, 1.0, 0.0, schedule) for quarter in range(4)]
    assert found == pytest.approx(expected, rel=1e-9)


def one_step(optimizer: Optimizer, rate: float = 0.1, *, weight_decay: float = 0.0, matrix: bool = False) -> torch.Tensor:
    """The weights after one step from [1, 2, 3] with the gradient [-1, -2, -3]."""
    network = nn.Module()
    network.body = nn.Linear(3, 1, bias=False)
    start = torch.tensor([[1.0, 2.0, 3.0]])
    network.body.weight = nn.Parameter(start.clone() if matrix else start[0].clone())
    steps = Steps(network, Plan(1, rate, optimizer=optimizer, weight_decay=weight_decay))
    network.body.weight.grad = -start.clone() if matrix else -start[0].clone()
    steps.step(rate)
    return network.body.weight.detach().flatten()


def test_one_step_by_formula() -> None:
    start = torch.tensor([1.0, 2.0, 3.0])
    assert torch.allclose(one_step(GradientDescent()), torch.tensor([1.1, 2.2, 3.3]))
    assert torch.allclose(one_step(Sgd(momentum=0.9, nesterov=True)), start + 0.1 * 1.9 * start)
    assert torch.allclose(one_step(Sgd(momentum=0.9, nesterov=False)), start * 1.1)
    for adaptive in (Adam(), Adamw(), Adagrad()):
        assert torch.allclose(one_step(adaptive), start + 0.1, atol=1e-6), adaptive.tag
    muon = one_step(Muon(), matrix=True) - start  # a row's nearest orthogonal matrix is the row, normed
    assert torch.allclose(muon / muon.norm(), start / start.norm(), atol=1e-2)
    assert 0.5 < float(muon.norm()) / (0.1 * 0.2 * math.sqrt(3)) < 1.5, "as large as AdamW's: 0.2 of the rate a weight"


def test_weight_decay_is_apart_in_adamw_and_in_the_gradient_elsewhere() -> None:
    start = torch.tensor([1.0, 2.0, 3.0])
    decayed = one_step(GradientDescent(), weight_decay=0.5, matrix=True)
    assert torch.allclose(decayed, start - 0.1 * (-start + 0.5 * start))
    assert torch.allclose(one_step(Adamw(), weight_decay=0.5, matrix=True), start * (1 - 0.1 * 0.5) + 0.1, atol=1e-6)
    assert torch.allclose(one_step(GradientDescent(), weight_decay=0.5), start * 1.1), "vectors are not decayed"


def test_l1_is_the_sign_of_matrices() -> None:
    network = nn.Linear(2, 2)
    network.weight = nn.Parameter(torch.tensor([[1.0, -2.0], [0.0, 4.0]]))
    network(torch.zeros(1, 2)).sum().backward()
    before = network.bias.grad.clone()  # type: ignore[union-attr]
    add_l1(network, 0.25)
    assert network.weight.grad.tolist() == [[0.25, -0.25], [0.0, 0.25]]  # type: ignore[union-attr]
    assert torch.equal(network.bias.grad, before)  # type: ignore[arg-type]


def test_muon_takes_hidden_matrices_only() -> None:
    network = nn.Module()
    network.table, network.hidden = nn.Embedding(5, 4), nn.Linear(4, 4)
    network.conv, network.head = nn.Conv2d(1, 1, 3), nn.Linear(4, 2)
    muon, plain = Steps(network, Plan(1, 0.1, optimizer=Muon(rate=0.02))).parts
    assert [tuple(value.shape) for value in muon.param_groups[0]["params"]] == [(4, 4)]
    assert sum(len(group["params"]) for group in plain.param_groups) == 6
    assert muon.param_groups[0]["proportion"] == pytest.approx(0.2)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda one: one.tag)
def test_every_optimizer_learns_and_resumes_bit_for_bit(tmp_path: Path, optimizer: Optimizer) -> None:
    """Stopped after some steps of the second epoch, a new process (here: a new loop) ends in the same weights."""
    torch.set_num_threads(1)
    chosen = {"optimizer": optimizer, "schedule": Constant(), "learning_rate": 0.03, "ema": 0.9, "l1": 1e-4, "epochs": 6,
              "micro_batches": 0 if optimizer.tag == "gd" else 1, "checkpoint_steps": 1}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = make_loop(tmp_path / "whole", **chosen)
    outcome = whole.run(silent())
    assert outcome.curves[-1]["loss"] < outcome.curves[0]["loss"]
    cut, step = make_loop(tmp_path / "cut", **chosen), []
    plain = cut._step

    def breaking(group: Any) -> None:
        if len(step) == 4:
            raise KeyboardInterrupt
        step.append(plain(group))  # type: ignore[func-returns-value]

    cut._step = breaking  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cut.run(silent())
    again = make_loop(tmp_path / "cut", **chosen)
    assert again.resumed and again.cursor.step == 4
    again.run(silent())
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(again).items())
    assert lasting(read_steps(tmp_path / "cut")) == lasting(read_steps(tmp_path / "whole")), "the journal too"


def test_full_batch_gradient_descent_takes_one_step_an_epoch(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, optimizer=GradientDescent(), micro_batches=0, epochs=3, learning_rate=0.5)
    loop.run(silent())
    assert loop.cursor.step == 3
    assert [row["targets"] for row in read_steps(tmp_path)] == [96, 96, 96]


class Words:
    """A toy objective whose batches have unequal counts: only some positions of a row are asked for."""

    def __init__(self) -> None:
        random = np.random.default_rng(3)
        self.values = random.normal(size=(24, 5, 4)).astype(np.float32)
        self.asked = random.random((24, 5)) < np.linspace(0.1, 0.9, 24)[:, None]
        self.asked[:, 0] = True

    @property
    def lengths(self) -> np.ndarray:
        return np.full(24, 5)

    def batch(self, rows: np.ndarray, epoch: int, step: int) -> Batch:
        arrays = {"values": torch.from_numpy(self.values[rows]), "asked": torch.from_numpy(self.asked[rows])}
        return Batch(arrays, float(self.asked[rows].sum()))

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        found = network(batch.arrays["values"]).square().squeeze(-1)
        return (found * batch.arrays["asked"]).sum()

    def judge(self, network: nn.Module, device: torch.device) -> Judged:
        return Judged(0.0, 0.0)


@pytest.mark.parametrize(("rows", "micro"), [(12, 2), (6, 4), (1, 24), (5, 5)])
def test_unequal_micro_batches_equal_one_batch(tmp_path: Path, rows: int, micro: int) -> None:
    """The mean is over valid targets, not a mean of means: as many as a batch happens to hold."""
    from mofang.fit.loop.loop import Loop

    found = []
    for name, size, many in (("one", 24, 1), ("many", rows, micro)):
        (tmp_path / name).mkdir()
        torch.manual_seed(0)
        plan = Plan(1, 0.1, rows=size, micro_batches=many, clip_norm=0.0, optimizer=GradientDescent(), weight_decay=0.0)
        loop = Loop(nn.Linear(4, 1), Words(), plan, tmp_path / name)
        loop._step(loop._groups(0)[0])
        found.append((weights(loop), loop.cursor.loss_sum, loop.cursor.count))
    for name, value in found[0][0].items():
        assert torch.allclose(value, found[1][0][name], atol=1e-6, rtol=0), name
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-6) and found[0][2] == found[1][2]


def test_averaged_weights_by_formula() -> None:
    average = Average({"w": torch.zeros(1), "count": torch.tensor(0)}, 0.5)
    average.update({"w": torch.ones(1), "count": torch.tensor(1)}, 0)
    assert average.weights["w"].item() == pytest.approx(1 - 0.1), "the first decay is 1/10"
    average.update({"w": torch.zeros(1), "count": torch.tensor(2)}, 10_000)
    assert average.weights["w"].item() == pytest.approx(0.45) and average.weights["count"].item() == 2


def test_an_average_is_what_is_judged_and_kept(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, ema=0.99, epochs=4)
    outcome = loop.run(silent())
    plain = tmp_path / "plain"
    plain.mkdir()
    other = make_loop(plain, epochs=4)
    other.run(silent())
    assert not torch.equal(weights(loop)["layers.1.weight"], weights(other)["layers.1.weight"])
    best = max(row["validation_score"] for row in outcome.curves)
    assert outcome.judged.score == best


@pytest.mark.parametrize(
    ("text", "held", "free"),
    [
        ("embeddings", "body.embeddings.word.weight", "body.encoder.layer.0.weight"),
        ("encoder.layer.0-3", "body.encoder.layer.3.output.bias", "body.encoder.layer.4.output.bias"),
        ("layer.1", "encoder.layer.1.weight", "encoder.layer.10.weight"),
        ("layers.0-1@2", "layers.1.weight", "layers.2.weight"),
    ],
)
def test_names_of_frozen_layers(text: str, held: str, free: str) -> None:
    rule = Frozen.read(text)
    assert rule.holds(held) and not rule.holds(free)
    assert rule.until == (2 if "@" in text else None)


def test_layers_are_frozen_and_thawed_by_stage(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, freeze=("layers.1@2",), epochs=2)
    before = weights(loop)["layers.1.weight"].clone(), weights(loop)["layers.4.weight"].clone()
    loop.run(silent())
    assert torch.equal(weights(loop)["layers.1.weight"], before[0]), "frozen for two epochs"
    assert not torch.equal(weights(loop)["layers.4.weight"], before[1])
    longer = tmp_path / "longer"
    longer.mkdir()
    loop = make_loop(longer, freeze=("layers.1@2",), epochs=3)
    thaw(loop.bare, loop.frozen, 0)
    assert [value.requires_grad for value in loop.network.parameters()] == [False, False, True, True]
    loop.run(silent())
    assert all(value.requires_grad for value in loop.network.parameters())


def test_freezing_what_is_not_there_or_everything_is_refused() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(MofangError) as caught:
        freezing(network, ("embeddings",))
    assert caught.value.code == "freeze-unknown" and "0, 1" in caught.value.fix
    with pytest.raises(MofangError) as caught:
        freezing(network, ("0-1",))
    assert caught.value.code == "freeze-everything"
    assert freezing(network, ("0", "1@0")) == {"0.weight": None, "0.bias": None, "1.weight": 0, "1.bias": 0}


def test_rules_that_stop(tmp_path: Path) -> None:
    def stopped(name: str, **chosen: Any) -> tuple[str, int]:
        (tmp_path / name).mkdir()
        loop = make_loop(tmp_path / name, **({"epochs": 30} | chosen))
        outcome = loop.run(silent())
        return outcome.stopped, loop.cursor.step

    assert stopped("target", target=0.6)[0] == "target reached"
    assert stopped("steps", steps=17) == ("step limit", 17)
    assert stopped("whole", epochs=2) == ("finished", 24)
    reason, step = stopped("improvement", improvement=0.9, patience=2)
    assert (reason, step) == ("validation stopped improving", 36), "nothing was better by 0.9 after the first epoch"


def test_validation_by_steps(tmp_path: Path) -> None:
    outcome = make_loop(tmp_path, epochs=2, judge_steps=5).run(silent())
    assert [row["step"] for row in outcome.curves] == [5, 10, 15, 20, 24]


def test_a_loss_that_is_no_number_keeps_its_batch(tmp_path: Path) -> None:
    loop = make_loop(tmp_path)
    classes(loop).named = [f"record-{number}" for number in range(96)]
    classes(loop).train.arrays["features"][7] = np.nan  # type: ignore[union-attr]
    with pytest.raises(MofangError) as caught:
        loop.run(silent())
    assert caught.value.code == "training-diverged"
    folder = next((tmp_path / "failed").iterdir())
    assert str(folder) in caught.value.what and "record-" in caught.value.what
    kept = json.loads((folder / "batch.json").read_bytes())
    assert "record-7" in kept["ids"] and len(kept["ids"]) == 8 and folder.name == f"step-{kept['step']}"
    from safetensors.torch import load_file

    assert torch.isnan(load_file(folder / "batch.safetensors")["0/features"]).any()


def test_a_gradient_that_is_no_number_is_found_before_it_reaches_the_weights(tmp_path: Path) -> None:
    loop = make_loop(tmp_path)
    next(loop.network.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(MofangError) as caught:
        loop.run(silent())
    assert caught.value.code == "training-diverged"
    assert all(torch.isfinite(value).all() for value in weights(loop).values())


def test_an_altered_checkpoint_is_refused_and_the_one_before_is_used(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    chosen = {"checkpoint_steps": 5, "epochs": 2}
    (tmp_path / "whole").mkdir()
    whole = make_loop(tmp_path / "whole", **chosen)
    whole.run(silent())
    (tmp_path / "cut").mkdir()
    cut = make_loop(tmp_path / "cut", **chosen)
    cut.plan = dataclasses.replace(cut.plan, epochs=1)
    cut.run(silent())
    place = tmp_path / "cut" / "checkpoint-10.safetensors"
    data = bytearray(place.read_bytes())
    data[-3] ^= 16
    place.write_bytes(data)
    again = make_loop(tmp_path / "cut", **chosen)
    assert again.resumed and again.refused == 1 and again.cursor.step == 5
    again.run(silent())
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(again).items())
    assert read_checkpoint(tmp_path / "nothing") is None


def test_precision_bf16_learns_and_answers_in_float32(tmp_path: Path) -> None:
    outcome = make_loop(tmp_path, precision="bf16", epochs=10).run(silent())
    assert outcome.precision == "bf16" and outcome.judged.score > 0.85
    assert outcome.judged.outputs["probabilities"].dtype == np.float32


def test_label_smoothing_is_that_of_torch(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, label_smoothing=0.2)
    loop.network.eval()
    batch = classes(loop).batch(np.arange(8), 0, 0)
    logits = loop.network(features=batch.arrays["features"])
    expected = nn.functional.cross_entropy(logits, batch.arrays["labels"], reduction="sum", label_smoothing=0.2)
    assert classes(loop).loss(loop.network, batch).item() == pytest.approx(expected.item())


def test_a_batch_that_fits_is_found_and_found_again(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, rows=64)
    build = lambda: make_loop(tmp_path).bare  # noqa: E731
    limits = {}
    for megabytes in (1, 2, 1000):
        (tmp_path / str(megabytes)).mkdir()
        plan = dataclasses.replace(loop.plan, fits_mb=megabytes, positions=640)
        found = fitted_plan(build, loop.objective, plan, tmp_path / str(megabytes))
        assert found.positions == 10 * found.rows and found.rows & (found.rows - 1) == 0
        assert found.rows * found.micro_batches >= 64 or found.rows >= 64
        limits[megabytes] = found.rows
        assert fitted_plan(build, loop.objective, plan, tmp_path / str(megabytes)) == found
    assert limits[1] <= limits[2] <= limits[1000] == 64, "never more than there are rows"
    with pytest.raises(MofangError) as caught:
        large = lambda: DenseNetwork(6, (1 << 16,), 2, 0.0)  # noqa: E731
        fitted_plan(large, loop.objective, dataclasses.replace(loop.plan, fits_mb=1), tmp_path)
    assert caught.value.code == "row-too-large"


def test_the_journal_is_thinned_alike_however_it_was_written(tmp_path: Path) -> None:
    rows = [{"step": step, "loss": 1.0, "epoch": 1, "positions_s": float(step), "memory_mb": 3.0} for step in range(9000)]
    kept = lasting(rows)
    assert len(kept) <= ROWS_MOST + 1 and kept[0]["step"] == 0 and kept[-1]["step"] == 8999
    assert all(row["step"] % 8 == 0 for row in kept[:-1]) and "positions_s" not in kept[0]
    assert speed(rows)["positions_s"] == 4500 and speed([]) == {}
    journal = Journal(tmp_path)
    for row in rows[:10]:
        journal.step(row)
    journal.close()
    with (tmp_path / "steps.jsonl").open("ab") as file:
        file.write(b'{"step": 10, "lo')
    assert len(read_steps(tmp_path)) == 10, "a torn line is no row"
    Journal(tmp_path, since=7).close()
    assert [row["step"] for row in read_steps(tmp_path)] == list(range(7)), "steps behind the checkpoint are taken again"


def test_tensorboard_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX.event_file_writer")
    make_loop(tmp_path, epochs=1, tensorboard=str(tmp_path / "board")).run(silent())
    (file,) = (tmp_path / "board").iterdir()
    data = file.read_bytes()
    for name in (b"step/loss", b"step/rate", b"step/gradient_norm", b"step/positions_s", b"step/memory_mb",
                 b"validation/validation_loss"):
        assert name in data


def test_settings_go_over_a_familys_plan() -> None:
    plan = Plan(3, 0.1, rows=64, positions=2048, weight_decay=0.02, patience=6)
    assert Learning().plan(plan) == plan
    assert Learning(ema=0.5).plan(dataclasses.replace(plan, optimizer=Muon())).optimizer == Muon(), "a family's own choice stays"
    chosen = Learning(batch="128", accumulate=4, weight_decay=0.5, clip=0.0, warm_up=0.3, patience=1)
    made = chosen.plan(plan)
    assert (made.rows, made.positions, made.micro_batches, made.weight_decay) == (128, 4096, 4, 0.5)
    assert (made.clip_norm, made.warm_up, made.patience) == (0.0, 0.3, 1)
    assert chosen.plan(made) == made, "twice is once"
    assert chosen.chosen == ["warm_up", "weight_decay", "clip", "batch", "accumulate", "patience"]


def test_train_takes_the_settings_and_keeps_the_steps(fit_shop: Shop, snapshots: dict[str, Snapshot]) -> None:
    family = Mlp(hidden=(16,), epochs=6, batch=16, learning_rate=0.05)
    plain = fit_shop.run(train, snapshots[TABLE], family=family)
    model = fit_shop.run(train, snapshots[TABLE], family=family, optimizer={"tag": "sgd", "momentum": "0.8"},
                         schedule="constant", ema=0.9, freeze=("layers.1@1",), folds=3)
    assert model.part("weights.safetensors").digest != plain.part("weights.safetensors").digest
    rows = [json.loads(line) for line in model.path("steps.jsonl").read_bytes().splitlines()]
    assert [row["step"] for row in rows] == list(range(6 * 6)) and rows[-1]["rate"] == pytest.approx(0.05)
    assert set(rows[0]) == {"epoch", "gradient_norm", "loss", "positions", "rate", "step", "targets"}
    assert model.measures["positions_s"] > 0 and model.measures["memory_mb"] > 10
    folds = model.read_json("about.json")["folds"]
    assert len(folds["scores"]) == 3 and folds["mean"] == pytest.approx(sum(folds["scores"]) / 3)
    assert folds["spread"] == pytest.approx(float(np.std(folds["scores"], ddof=1)))
    assert model.measures["folds_mean"] == pytest.approx(folds["mean"], abs=1e-6)


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    from tests.fit.planted import planted

    found = []
    for name in ("one", "two"):
        shop = Shop.open(tmp_path / name)
        snapshot = shop.run(planted, task=TABLE)
        found.append(shop.run(train, snapshot, family=Mlp(epochs=2), optimizer="muon", folds=2).digest)
    assert found[0] == found[1], "all parts, the journal of steps too"


@pytest.mark.parametrize("between", ["relu", "gelu", "silu", "tanh"])
@pytest.mark.parametrize("family", [Mlp, Resnet])
def test_activations_and_starts(family: Any, between: str) -> None:
    from mofang.fit.networks.starting import initialised

    network = family(activation=between)._network({"values": 6, "classes": 3, "channels": 1, "side": 8})
    kinds = {type(module).__name__.lower() for module in network.modules()}
    assert between in kinds and not {"relu", "gelu", "silu", "tanh"} - {between} & kinds
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for start in ("kaiming", "xavier", "orthogonal"):
        torch.manual_seed(0)
        weight = dict(initialised(network, start).named_parameters())["head.weight" if family is Resnet else "layers.1.weight"]
        assert not torch.equal(weight, before["head.weight" if family is Resnet else "layers.1.weight"])
        if start == "orthogonal":
            small = weight if weight.shape[0] < weight.shape[1] else weight.T
            assert torch.allclose(small @ small.T, torch.eye(len(small)), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"family": Linear(), "optimizer": "sgd"}, "learning-unsuited"),
        ({"freeze": ("没有这一层",)}, "setting-refused"),
        ({"freeze": ("nothing@1",)}, "freeze-unknown"),
        ({"batch": "many"}, "setting-refused"),
        ({"batch": "0"}, "setting-refused"),
        ({"optimizer": "adamax"}, "variant-unknown"),
        ({"optimizer": {"tag": "sgd", "beta1": 0.1}}, "setting-unknown"),
        ({"ema": 1.0}, "setting-refused"),
        ({"folds": 40}, "folds-too-many"),
        ({"folds": 1}, "folds-too-many"),
        ({"precision": "fp16"}, "setting-refused"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    fit_shop: Shop, snapshots: dict[str, Snapshot], given: dict[str, Any], code: str
) -> None:
    with pytest.raises(MofangError) as caught:
        fit_shop.run(train, snapshots[TABLE], **({"family": Mlp(epochs=1)} | given))
    assert caught.value.code == code


def test_smoothing_where_there_are_no_labels_is_refused(tmp_path: Path) -> None:
    from mofang.fit.family import Conditions
    from mofang.fit.loop.start import fit_network
    from tests.fit.test_families import _silent

    with pytest.raises(MofangError) as caught:
        fit_network(lambda: nn.Linear(4, 1), Words(), Plan(1, 0.1, label_smoothing=0.1), Conditions(0, 0, tmp_path, _silent))
    assert caught.value.code == "smoothing-unsuited"


def test_operations_are_counted_once_or_said_by_the_network(tmp_path: Path) -> None:
    """A dense network of 6-8-2: forward 2 a weight, back 4, but the first layer needs no gradient of its inputs."""
    loop = make_loop(tmp_path, epochs=1)
    loop.run(silent())
    assert loop.operations.each(1.0) == 4 * 6 * 8 + 6 * 8 * 2
    (tmp_path / "said").mkdir()
    network = nn.Linear(4, 1)
    network.operations = lambda batch: 7.0 * batch.count  # type: ignore[assignment]
    said = Operations(network)
    with said.counted(Batch({}, 3.0)):
        pass
    assert said.each(10.0) == pytest.approx(2.1)


def test_the_meter_tells_speed_at_once_and_the_share_of_the_peak_once_a_run_is_long() -> None:
    meter = Meter(lambda: 1e6, warm_s=0.0)
    meter.operations = 10.0
    row = meter.read(100.0, 50.0)
    assert row["positions_s"] == pytest.approx(2 * row["targets_s"], rel=1e-3) and row["memory_mb"] > 10
    assert row["mfu"] == pytest.approx(10 * row["positions_s"] / 1e6, rel=1e-2, abs=1e-4)
    assert "mfu" not in Meter(lambda: 1e6).read(100.0, 50.0)
