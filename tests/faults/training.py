"""Kill -9 of a training at random moments, again and again until it ends; the weights must be those of one never killed.

Each attempt is a fork of this process, so that starting costs nothing and a kill falls anywhere in a step: between
them, while a checkpoint is written, while validation runs. One byte of the newest checkpoint is flipped now and then.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from mofang.core.canonical import canonical
from mofang.fit.loop.journal import lasting, read_steps
from mofang.fit.loop.learning import Adamw, Exponential, Muon, Optimizer, Sgd
from tests.fit.test_loop import make_loop, silent, weights

OPTIMIZERS: tuple[Optimizer, ...] = (Adamw(), Sgd(), Muon())
LEAST_S, MOST_S = 0.03, 0.4
ATTEMPTS_MOST = 400


@dataclass
class Count:
    """What happened: kills, flipped bytes, and what came out otherwise."""

    kills: int = 0
    flips: int = 0
    trainings: int = 0
    wrong: list[str] = field(default_factory=list)


def kills(folder: Path, wanted: int, seed: int = 0) -> Count:
    """Kill trainings until so many kills fell into them; every one that ended is compared byte for byte."""
    torch.set_num_threads(1)
    count, lot = Count(), random.Random(seed)
    while count.kills < wanted and count.trainings < wanted:
        chosen = {"seed": count.trainings, "optimizer": OPTIMIZERS[count.trainings % len(OPTIMIZERS)], "ema": 0.9,
                  "schedule": Exponential(), "checkpoint_s": 0.0, "epochs": 6, "freeze": ("layers.1@1",), "micro_batches": 2}
        whole, cut = folder / f"whole-{count.trainings}", folder / f"cut-{count.trainings}"
        for place in (whole, cut):
            place.mkdir(parents=True)
        made = _trained(whole, chosen)
        _attempts(cut, chosen, count, lot, wanted)
        found = (cut / "weights").read_bytes()
        if found != made:
            what = "another journal" if found[: len(found) // 4] == made[: len(found) // 4] else "other weights"
            count.wrong.append(f"training {count.trainings}: {what}")
        count.trainings += 1
        shutil.rmtree(whole)
        shutil.rmtree(cut)
    return count


def _attempts(folder: Path, chosen: dict[str, Any], count: Count, lot: random.Random, wanted: int) -> None:
    """Start, kill and start again until it ends by itself."""
    for _ in range(ATTEMPTS_MOST):
        if count.kills and count.kills % 5 == 0:
            count.flips += _flip(folder, lot)
        process = os.fork()
        if not process:
            try:
                (folder / "weights.new").write_bytes(_trained(folder, chosen, pause_s=0.02))
                (folder / "weights.new").rename(folder / "weights")
            finally:
                os._exit(0)
        if count.kills < wanted:
            time.sleep(lot.uniform(LEAST_S, MOST_S))
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if os.WIFSIGNALED(status):
            count.kills += 1
        elif (folder / "weights").exists():
            return
    count.wrong.append(f"training {count.trainings}: no end after {ATTEMPTS_MOST} attempts")


def _trained(folder: Path, chosen: dict[str, Any], pause_s: float = 0.0) -> bytes:
    """The final weights and the lasting part of the journal as bytes."""
    loop = make_loop(folder, pause_s=pause_s, **chosen)
    loop.run(silent())
    return save(weights(loop)) + canonical(lasting(read_steps(folder)))


def _flip(folder: Path, lot: random.Random) -> int:
    """Flip one bit of the newest checkpoint; the one before is whole."""
    found = sorted(folder.glob("checkpoint-*.json"), key=lambda path: int(path.stem.partition("-")[2]))
    if len(found) < 2:
        return 0
    place = found[-1] if lot.random() < 0.3 else found[-1].with_suffix(".safetensors")
    data = bytearray(place.read_bytes())
    if not data:
        return 0
    data[lot.randrange(len(data))] ^= 1 << lot.randrange(8)
    place.write_bytes(data)
    return 1
