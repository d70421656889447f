"""Several processes train as one: equal figures, checkpoints for any number of ranks, killed workers; gloo, two processes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.data.snapshot import Snapshot
from mofang.fit.loop.ranks import How, layers_of, pairs_of
from mofang.fit.loop.spread import STANDALONE, on_loopback
from mofang.recipe import train
from tests.fit.ranked import Stack
from tests.fit.ranked import train as train_alone
from tests.new.test_pages import walk
from tests.stories.terminal import Terminal

MLP: dict[str, Any] = {"tag": "mlp", "epochs": 3, "dropout": 0.0}
ROOT = Path(__file__).resolve().parents[2]
WAYS: tuple[How, ...] = ("ddp", "fsdp", "tensor")
HARDER: dict[str, Any] = {"l1": 0.001, "ema": 0.9, "clip_norm": 0.05}


def by_two(*works: tuple[How, Path, int, dict[str, Any]]) -> list[dict[str, Any]]:
    """The figures of two processes for each of several works: how, where, epochs, settings. They meet on this machine's loopback,
    so that no name is looked up and no other interface is needed.
    """
    for _, folder, _, _ in works:
        folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"} | on_loopback()
    command = [sys.executable, "-m", "torch.distributed.run", *STANDALONE, "--nproc-per-node", "2", "-m", "tests.fit.ranked",
               json.dumps(works, default=str)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170, check=False, cwd=ROOT)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return [json.loads((folder / "figures.json").read_text()) for _, folder, _, _ in works]


def by_one(folder: Path, epochs: int = 4, **settings: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    return train_alone("ddp", folder, epochs, **settings)


def close(left: dict[str, Any], right: dict[str, Any], within: float = 1e-6) -> None:
    for name in ("loss", "norm", "validation"):
        assert np.allclose(left[name], right[name], rtol=within, atol=within), name
    assert left["weights"].keys() == right["weights"].keys()
    for name, value in left["weights"].items():
        assert right["weights"][name] == pytest.approx(value, rel=1e-5), name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def by_ranks(place: Path) -> dict[How, dict[str, Any]]:
    """What two processes came to; beside that they leave the first epoch's checkpoints of each way."""
    whole: list[Any] = [(how, place / how, 4, HARDER) for how in WAYS]
    begun: list[Any] = [(how, place / f"moved-{how}", 1, {}) for how in WAYS]
    return dict(zip(WAYS, by_two(*whole, *begun, ("fsdp", place / "altered", 1, {})), strict=False))


@pytest.fixture(scope="module")
def moved(place: Path, by_ranks: dict[How, dict[str, Any]]) -> dict[How, dict[str, Any]]:
    """The first epoch by two processes, the second by one, the others by two again."""
    for how in WAYS:
        assert by_one(place / f"moved-{how}", 2)["resumed"]
    works: list[Any] = [(how, place / f"moved-{how}", 4, {}) for how in WAYS]
    return dict(zip(WAYS, by_two(*works), strict=True))


@pytest.fixture(scope="module")
def alone(place: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return by_one(place / "one", **HARDER), by_one(place / "plain")


@pytest.mark.cluster
@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", WAYS)
def test_two_ranks_train_as_one_process(how: How, by_ranks: dict[How, Any], alone: tuple[Any, Any]) -> None:
    """With L1, an average of the weights, and gradients that are clipped."""
    close(alone[0], by_ranks[how])


@pytest.mark.cluster
@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", WAYS)
def test_a_checkpoint_goes_from_two_ranks_to_one_and_back(how: How, moved: dict[How, Any], alone: tuple[Any, Any]) -> None:
    assert moved[how]["resumed"]
    close({**alone[1], "validation": []}, {**moved[how], "validation": []}, 3e-6)


@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_parts_of_a_checkpoint_that_were_altered_are_refused(place: Path, by_ranks: dict[How, Any]) -> None:
    newest = max((place / "altered").glob("checkpoint-*/"), key=lambda path: int(path.name.partition("-")[2]))
    part = next(newest.glob("__0_*"))
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    from mofang.fit.loop.checkpoint import read_checkpoint

    found = read_checkpoint(place / "altered")
    assert found is not None and found.refused == 1


@pytest.mark.cluster
@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_a_stage_trains_with_two_processes(fit_shop: Shop, snapshots: dict[str, Snapshot], how: str) -> None:
    snapshot = snapshots["table_classification"]
    alone = fit_shop.run(train, snapshot, family=MLP)
    made = fit_shop.run(train, snapshot, family=MLP, devices=2, placement=how)
    losses = [[row["loss"] for row in one.read_json("curves.json")] for one in (alone, made)]
    assert np.allclose(losses[0], losses[1], rtol=1e-5)
    body = fit_shop.ledger.get(made.entry).body
    assert body["settings"]["devices"] == 2 and len(made.measures["workers"]) == 2
    assert body["cost"]["total"]["cpu_s"] >= sum(one["cpu_s"] for one in made.measures["workers"])
    assert fit_shop.verify() == []


@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_a_killed_worker_resumes(fit_shop: Shop, snapshots: dict[str, Snapshot]) -> None:
    """`kill -9` of a worker in the middle: torchrun starts all again, they go on, the result is the same."""
    family = {**MLP, "epochs": 10}
    given: dict[str, Any] = {"devices": 2, "checkpoint_s": 0.0, "patience": 99, "seed": 3}
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not killed:
            for journal in (fit_shop.path / "scratch").glob("*/checkpoint-*.json"):
                for process in workers_of(journal.parent):
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)
                    return
            time.sleep(0.02)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    made = fit_shop.run(train, snapshots["table_classification"], family=family, **given)
    thread.join()
    again = fit_shop.run(train, snapshots["table_classification"], family=family, **{**given, "patience": 98})
    assert killed
    assert [row["loss"] for row in made.read_json("curves.json")] == [row["loss"] for row in again.read_json("curves.json")]


def workers_of(scratch: Path) -> list[int]:
    """Processes of this run's second worker."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().decode().split("\0")
            rank = b"\0RANK=1\0" in b"\0" + (place / "environ").read_bytes()
        except (OSError, UnicodeDecodeError):
            continue
        if str(scratch / "spread" / "call.json") in words and rank:
            found.append(int(place.name))
    return found


@pytest.mark.cluster
def test_a_network_that_cannot_be_sliced_is_refused(fit_shop: Shop, snapshots: dict[str, Snapshot]) -> None:
    with pytest.raises(MofangError) as error:
        fit_shop.run(train, snapshots["text_classification"], family={"tag": "averaged", "epochs": 1}, devices=2, placement="tensor")
    assert error.value.code == "placement-unsuited"


@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_ray_places_the_workers(fit_shop: Shop, snapshots: dict[str, Snapshot], monkeypatch: pytest.MonkeyPatch) -> None:
    alone = fit_shop.run(train, snapshots["table_classification"], family=MLP, seed=5)
    monkeypatch.setenv("MOFANG_EXECUTOR", "ray")
    made = fit_shop.run(train, snapshots["table_classification"], family=MLP, seed=5, devices=2)
    losses = [[row["loss"] for row in one.read_json("curves.json")] for one in (alone, made)]
    assert np.allclose(losses[0], losses[1], rtol=1e-5)
    assert fit_shop.ledger.get(made.entry).body["cost"]["total"]["cpu_s"] >= sum(one["cpu_s"] for one in made.measures["workers"]) > 0


@pytest.mark.cluster
def test_the_page_is_true(tmp_path: Path) -> None:
    with (tmp_path / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([f"第{number}号房间{'很好' if number % 2 else '很差'}", number % 2] for number in range(120))
    walk("distributed.md", Terminal(tmp_path), {})


def test_settings_of_the_loop_need_the_loop(fit_shop: Shop, snapshots: dict[str, Snapshot]) -> None:
    with pytest.raises(MofangError) as error:
        fit_shop.run(train, snapshots["text_classification"], family="linear", devices=2)
    assert error.value.code == "learning-unsuited"


def test_layers_and_pairs_of_matrices_are_found() -> None:
    assert len(list(layers_of(Stack()))) == 3
    assert list(pairs_of(Stack(), 2)) == [([f"blocks.{place}.1.0"], f"blocks.{place}.1.2") for place in range(3)]
    assert list(pairs_of(Stack(), 5)) == [], "12 rows cannot be cut in five"
    assert list(pairs_of(nn.Linear(2, 2), 2)) == []


def test_pairs_of_a_transformer_are_found() -> None:
    from transformers import AutoModel, BertConfig, LlamaConfig

    bert = AutoModel.from_config(BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16))
    assert len(list(pairs_of(bert, 2))) == 4
    llama = AutoModel.from_config(LlamaConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16))
    assert [last for _, last in pairs_of(llama, 2)] == ["layers.0.self_attn.o_proj", "layers.0.mlp.down_proj"]
