"""Training steps on an accelerator: GPT-2-124M, a 1B Llama-type and BERT fine-tuning, beside nanoGPT's loop and HF Trainer.

make bench-gpu: needs one CUDA card and nothing prepared; each arm runs in a process of its own, in turns, bf16, and MFU counts useful
operations against the best bf16 matrix product measured on this very card. Writes bench/results/gpu.{md,json} with the
card's name. Without a card it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))
RESULTS = ROOT / "bench" / "results"
GPT2 = {"model_type": "gpt2", "vocab_size": 50304, "n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024,
        "activation_function": "gelu"}
LLAMA = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
         "num_key_value_heads": 8, "intermediate_size": 8192, "max_position_embeddings": 2048, "tie_word_embeddings": True}
BERT = {"model_type": "bert", "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "max_position_embeddings": 512, "pad_token_id": 0}
SHAPES = {"gpt2-124m": (GPT2, 16, 1024), "llama-1b": (LLAMA, 4, 2048), "bert-base": (BERT, 128, 128)}
ARMS = {"gpt2-124m": ("own", "nano", "trainer"), "llama-1b": ("own", "nano", "trainer"), "bert-base": ("own", "trainer")}
WORDS = {"own": "Mofang", "nano": "nanoGPT-type loop", "trainer": "HF Trainer, bf16"}
WARM, TIMED, GOAL = 5, 20, 0.5


def card() -> str:
    """The card's name; "" where there is none."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def peak() -> float:
    """Operations per second of the best bf16 matrix product on this card."""
    import torch

    left = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(30):
        torch.cuda.synchronize()
        began = time.perf_counter()
        left @ left
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * 8192**3 / best


def operations(work: str) -> float:
    """Useful operations of a step: 6 a weight in a matrix and position, and attention (half of it where it is causal)."""
    config, rows, length = SHAPES[work]
    if work == "bert-base":
        layers, width, inner = config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"]
        weights, looked = layers * (4 * width**2 + 2 * width * inner), 1.0
    elif work == "gpt2-124m":
        layers, width = config["n_layer"], config["n_embd"]
        weights, looked = layers * 12 * width**2 + config["vocab_size"] * width, 0.5
    else:
        layers, width, inner = config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"]
        keys = width * config["num_key_value_heads"] // config["num_attention_heads"]
        weights = layers * (2 * width**2 + 2 * width * keys + 3 * width * inner) + config["vocab_size"] * width
        looked = 0.5
    return float((6 * weights + 12 * layers * width * length * looked) * rows * length)


def own_step(work: str) -> Callable[[], Any]:
    """A step as Mofang's loop makes it."""
    import torch

    from mofang.fit.loop.rows import RowAdamW, clip_gradients
    from mofang.fit.networks.decoder import load_decoder
    from mofang.fit.networks.transformer import from_config

    config, rows, length = SHAPES[work]
    network: Any = from_config(config, 2, 0.1) if work == "bert-base" else load_decoder(config, dropout=0.0)
    network = network.cuda().train()
    optimizer = RowAdamW(network.parameters(), lr=1e-4)
    ids = torch.randint(5, config["vocab_size"], (rows, length + 1), device="cuda")
    mask = torch.ones(rows, length, dtype=torch.int64, device="cuda")

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            if work == "bert-base":
                logits = network(input_ids=ids[:, :-1], attention_mask=mask)
                loss = torch.nn.functional.cross_entropy(logits.float(), ids[:, 0] % 2, reduction="sum") / rows
            else:
                loss = network.loss(ids[:, :-1], ids[:, 1:]) / (rows * length)
        loss.backward()
        clip_gradients(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def nano_step(work: str) -> Callable[[], Any]:
    """A step as nanoGPT makes it: bf16 autocast, flash attention, fused AdamW, torch.compile."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config, rows, length = SHAPES[work]
    made = AutoConfig.for_model(config["model_type"], **{name: one for name, one in config.items() if name != "model_type"})
    for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
        setattr(made, name, 0.0)
    made.use_cache = False
    model: Any = torch.compile(AutoModelForCausalLM.from_config(made, attn_implementation="sdpa").cuda().train())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(5, config["vocab_size"], (rows, length + 1), device="cuda")

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            logits = model(input_ids=ids[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def trainer_seconds(work: str) -> list[float]:
    """Seconds a step of transformers' Trainer in bf16, from the times at which its steps end."""
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    config, rows, length = SHAPES[work]
    made = AutoConfig.for_model(config["model_type"], **{name: one for name, one in config.items() if name != "model_type"})
    kind: Any = AutoModelForSequenceClassification if work == "bert-base" else AutoModelForCausalLM
    ends: list[float] = []

    class Clock(TrainerCallback):
        """Notes when each step ends."""

        def on_step_end(self, *given: Any, **more: Any) -> None:
            torch.cuda.synchronize()
            ends.append(time.perf_counter())

    ids = torch.randint(5, config["vocab_size"], (rows * (WARM + TIMED), length))
    data = [{"input_ids": one, "attention_mask": torch.ones_like(one), "labels": one[0] % 2 if work == "bert-base" else one}
            for one in ids]
    arguments = TrainingArguments(tempfile.mkdtemp(), per_device_train_batch_size=rows, num_train_epochs=1, bf16=True, report_to=[],
                                  save_strategy="no", disable_tqdm=True, logging_strategy="no")
    Trainer(model=kind.from_config(made), args=arguments, train_dataset=data, callbacks=[Clock()]).train()
    return [later - sooner for sooner, later in zip(ends[WARM:], ends[WARM + 1:], strict=False)]


def one_arm(work: str, arm: str) -> dict[str, Any]:
    """The seconds of each timed step, and the memory that it took."""
    import torch

    if arm == "trainer":
        times = trainer_seconds(work)
    else:
        step, times = (own_step if arm == "own" else nano_step)(work), []
        for number in range(WARM + TIMED):
            began = time.perf_counter()
            step()
            torch.cuda.synchronize()
            if number >= WARM:
                times.append(time.perf_counter() - began)
    return {"times": times, "peak_mb": torch.cuda.max_memory_allocated() / 2**20}


def report(name: str, best: float, runs: dict[str, dict[str, list[Any]]]) -> tuple[str, bool]:
    """The page, and whether every goal was reached."""
    rows, well = [], True
    for work, arms in runs.items():
        for arm, found in arms.items():
            seconds = statistics.median(one for run in found for one in run["times"])
            mfu = operations(work) / seconds / best
            positions = SHAPES[work][1] * SHAPES[work][2] / seconds
            well &= arm != "own" or mfu >= GOAL
            rows.append(f"| {work} | {WORDS[arm]} | {1000 * seconds:,.1f} | {positions:,.0f} | {mfu:.1%} | "
                        f"{max(run['peak_mb'] for run in found):,.0f} |")
    body = "\n".join(rows)
    return f"""# bench-gpu, {date.today()}

Card: {name}; best bf16 product {best / 1e12:,.0f} TFLOP/s. Medians over {TIMED} steps of each round, arms in turns. Goal: MFU >= {GOAL:.0%}.

| work | arm | ms a step | positions/s | MFU | peak MB |
|---|---|---|---|---|---|
{body}
""", well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, Mofang's own side")
    parser.add_argument("--arm", nargs=2, metavar=("WORK", "ARM"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    name = card()
    if not name:
        print("There is no CUDA card here, so there is nothing to measure: run `make bench-gpu` on a machine that has one.")
        return 0
    if given.arm:
        print(json.dumps(one_arm(*given.arm)))
        return 0
    runs: dict[str, dict[str, list[Any]]] = {}
    import fit

    if not given.quick:
        fit.prepare_peers()
    for number in range(1 if given.quick else given.rounds):
        for work, arms in ARMS.items():
            for arm in arms[:1] if given.quick else arms:
                python = sys.executable if arm == "own" else str(fit.PEERS / "bin" / "python")
                told = subprocess.run([python, __file__, "--arm", work, arm], capture_output=True, text=True, check=False,
                                      timeout=1200, env=fit.environment())
                if told.returncode:
                    raise SystemExit(f"{work} {arm} failed:\n{told.stderr[-3000:]}")
                runs.setdefault(work, {}).setdefault(arm, []).append(json.loads(told.stdout.strip().splitlines()[-1]))
                print(f"round {number + 1}  {work} {arm}", flush=True)
    page, well = report(name, best := peak(), runs)
    print(page)
    if not given.quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "gpu.md").write_text(page, encoding="utf-8")
        (RESULTS / "gpu.json").write_text(json.dumps({"card": name, "peak": best, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    return int(not well)


if __name__ == "__main__":
    sys.exit(main())
