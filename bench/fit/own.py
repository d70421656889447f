"""Mofang's own arms of bench/fit.py, on the product's loop: python bench/fit/own.py FOLDER ARM BASE prints one JSON line."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mofang.core.progress import Bar
from mofang.fit.loop.arrays import Ragged
from mofang.fit.loop.classification import Classes
from mofang.fit.loop.loop import Loop
from mofang.fit.loop.machine import threads
from mofang.fit.loop.memory import keep_pages
from mofang.fit.loop.objective import Batch, Judged
from mofang.fit.loop.plan import Plan
from mofang.fit.loop.probe import Choices, choosing
from mofang.fit.networks.adapt import adapt
from mofang.fit.networks.decoder import load_decoder
from mofang.fit.networks.transformer import from_folder

sys.path.insert(0, str(Path(__file__).parent))
import data

ROWS = 32


def main() -> None:
    """One arm: warm up, train once with the clock running, judge."""
    folder, arm, base = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    chosen = Choices.from_dict(json.loads((folder / "choices.json").read_text()))
    torch.set_num_threads(threads())
    keep_pages()
    with choosing(chosen):
        found = gpt(folder) if arm == "gpt" else minilm(folder, base, arm.removeprefix("minilm-"))
    print(json.dumps({**found, "torch": torch.__version__, "threads": torch.get_num_threads()}))


def minilm(folder: Path, base: Path, kind: Any) -> dict[str, Any]:
    """Fine-tuning on short texts."""
    parts = json.loads((folder / "texts.json").read_text())
    rate = 5e-5 if kind == "all" else 5e-4

    def loop(name: str, scratch: str) -> Loop:
        torch.manual_seed(0)
        network, _ = from_folder(base, 2, 0.1)
        plan = Plan(1, rate, rows=ROWS, seed=0, precision="auto", checkpoint_s=1e9, tensorboard=False)
        rows = [(ragged(parts[part]["ids"]), np.array(parts[part]["labels"])) for part in (name, "warm")]
        rows[1] = (ragged(parts["warm"]["ids"][:2]), rows[1][1][:2])
        return Loop(adapt(network, kind), Classes(rows[0], rows[1], plan, accuracy), plan, Path(scratch))

    with tempfile.TemporaryDirectory() as scratch:
        loop("warm", scratch).run(Bar("", None, live=False))
    with tempfile.TemporaryDirectory() as scratch:
        timed = loop("train", scratch)
        seconds, cpu = clock(timed)
    test = parts["test"]
    from mofang.fit.loop.classification import predict

    found = predict(timed.network, ragged(test["ids"]), timed.plan)
    return {"seconds": seconds, "cpu_s": cpu, "items": len(parts["train"]["ids"]), "precision": timed.precision,
            "operations": data.minilm_operations(parts["train"]["ids"]), "quality": accuracy(found, np.array(test["labels"]))}


def gpt(folder: Path) -> dict[str, Any]:
    """Pretraining steps of a small GPT."""
    rows = np.load(folder / "stream.npz")
    config = {"model_type": "gpt2", "vocab_size": data.VOCABULARY, "n_layer": data.GPT["layers"], "n_embd": data.GPT["width"],
              "n_head": data.GPT["heads"], "n_positions": data.CONTEXT, "activation_function": "gelu"}

    def loop(name: str, scratch: str) -> Loop:
        torch.manual_seed(0)
        plan = Plan(1, 6e-4, rows=8, seed=0, precision="auto", checkpoint_s=1e9, tensorboard=False, weight_decay=0.1)
        return Loop(load_decoder(config, dropout=0.0), Following(rows[name], rows["test"][:1]), plan, Path(scratch))

    with tempfile.TemporaryDirectory() as scratch:
        loop("warm", scratch).run(Bar("", None, live=False))
    with tempfile.TemporaryDirectory() as scratch:
        timed = loop("train", scratch)
        seconds, cpu = clock(timed)
    timed.network.eval()
    loss = Following(rows["train"], rows["test"]).judge(timed.network, torch.device("cpu")).loss
    return {"seconds": seconds, "cpu_s": cpu, "items": rows["train"].shape[0] * data.CONTEXT, "precision": timed.precision,
            "operations": data.gpt_operations(rows["train"].shape[0]), "quality": loss}


@dataclass(frozen=True)
class Following:
    """The next token of every position."""

    rows: Any
    held: Any

    @property
    def lengths(self) -> Any:
        """All alike."""
        return np.full(len(self.rows), data.CONTEXT)

    def batch(self, rows: Any, epoch: int, step: int) -> Batch:
        """Rows of tokens."""
        return Batch({"ids": torch.from_numpy(self.rows[rows])}, float(len(rows) * data.CONTEXT))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The sum over all tokens."""
        ids = batch.arrays["ids"]
        return network.loss(ids[:, :-1], ids[:, 1:])  # type: ignore[operator,no-any-return]

    def judge(self, network: nn.Module, device: torch.device) -> Judged:
        """The mean over the held-out rows."""
        with torch.inference_mode():
            ids = torch.from_numpy(self.held)
            loss = float(network.loss(ids[:, :-1], ids[:, 1:])) / ids[:, 1:].numel()  # type: ignore[operator]
        return Judged(-loss, loss)


def ragged(ids: list[list[int]]) -> Ragged:
    """Rows end to end."""
    flat = np.concatenate([np.array(one) for one in ids])
    return Ragged({"input_ids": flat, "attention_mask": np.ones_like(flat)}, np.cumsum([0, *map(len, ids)]))


def accuracy(probabilities: Any, labels: Any) -> float:
    """The share of right answers."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def clock(loop: Loop) -> tuple[float, float]:
    """Wall and CPU seconds of a whole training."""
    began, cpu = time.perf_counter(), time.process_time()
    loop.run(Bar("", None, live=False))
    return time.perf_counter() - began, time.process_time() - cpu


if __name__ == "__main__":
    main()
