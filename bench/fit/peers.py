"""The peers' arms of bench/fit.py, in an environment of their own: python bench/fit/peers.py FOLDER ARM BASE prints one JSON line.

``minilm-default`` and ``gpt-default`` are transformers' Trainer as most write it; ``minilm-best`` is the Trainer with bf16 and
group_by_length; ``gpt-nano`` a loop of nanoGPT's type: bf16 autocast, fused attention, fused AdamW, no dropout.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import data

THREADS = int(os.environ.get("MOFANG_THREADS") or len(os.sched_getaffinity(0)))


def main() -> None:
    """One arm: warm up, train once with the clock running, judge."""
    warnings.filterwarnings("ignore")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(THREADS)
    folder, arm, base = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    found = {"minilm-default": lambda: minilm(folder, base), "gpt-default": lambda: gpt(folder), "gpt-nano": lambda: nano(folder),
             "minilm-best": lambda: minilm(folder, base, bf16=True, train_sampling_strategy="group_by_length")}[arm]()
    print(json.dumps({**found, "torch": torch.__version__, "threads": torch.get_num_threads()}))


class Rows(torch.utils.data.Dataset[Any]):
    """Rows as the Trainer wants them."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.rows[place]


def trainer(model: Any, rows: list[dict[str, Any]], collate: Any, batch: int, rate: float, **settings: Any) -> Any:
    """transformers' Trainer for one pass."""
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        tempfile.mkdtemp(), per_device_train_batch_size=batch, num_train_epochs=1, report_to=[], save_strategy="no",
        disable_tqdm=True, use_cpu=True, logging_strategy="no", learning_rate=rate, seed=0, **settings)
    return Trainer(model=model, args=arguments, train_dataset=Rows(rows), data_collator=collate)


def minilm(folder: Path, base: str, **settings: Any) -> dict[str, Any]:
    """Fine-tuning on short texts."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

    parts = json.loads((folder / "texts.json").read_text())
    collate = DataCollatorWithPadding(AutoTokenizer.from_pretrained(base))

    def made(name: str) -> Any:
        torch.manual_seed(0)
        rows = [{"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label}
                for ids, label in zip(parts[name]["ids"], parts[name]["labels"], strict=True)]
        return trainer(AutoModelForSequenceClassification.from_pretrained(base, num_labels=2), rows, collate, 32, 5e-5, **settings)

    made("warm").train()
    timed = made("train")
    seconds, cpu = clock(timed.train)
    right, model = 0, timed.model.eval()
    with torch.inference_mode():
        for ids, label in zip(parts["test"]["ids"], parts["test"]["labels"], strict=True):
            right += int(model(input_ids=torch.tensor([ids])).logits.argmax() == label)
    return {"seconds": seconds, "cpu_s": cpu, "items": len(parts["train"]["ids"]),
            "operations": data.minilm_operations(parts["train"]["ids"]), "quality": right / len(parts["test"]["ids"])}


def small_gpt(**settings: Any) -> Any:
    """The small GPT from nothing."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=data.VOCABULARY, n_layer=data.GPT["layers"], n_embd=data.GPT["width"], n_head=data.GPT["heads"],
        n_positions=data.CONTEXT, use_cache=False, attn_implementation="sdpa", **settings))


def gpt(folder: Path) -> dict[str, Any]:
    """Pretraining steps with the Trainer's defaults (float32, dropout)."""
    rows = np.load(folder / "stream.npz")

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        ids = torch.stack([one["ids"] for one in batch])
        return {"input_ids": ids, "labels": ids}

    def made(name: str) -> Any:
        some = [{"ids": torch.from_numpy(one[:-1].copy())} for one in rows[name]]
        return trainer(small_gpt(), some, collate, 8, 6e-4, remove_unused_columns=False, weight_decay=0.1)

    made("warm").train()
    timed = made("train")
    seconds, cpu = clock(timed.train)
    return told(rows, seconds, cpu, timed.model)


def nano(folder: Path) -> dict[str, Any]:
    """Pretraining steps as nanoGPT makes them."""
    rows = np.load(folder / "stream.npz")
    model = small_gpt(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, activation_function="gelu").train()
    matrices = [one for one in model.parameters() if one.ndim > 1]
    others = [one for one in model.parameters() if one.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
                                  lr=6e-4, betas=(0.9, 0.999), fused=True)

    def steps(name: str) -> None:
        for start in range(0, len(rows[name]), 8):
            ids = torch.from_numpy(rows[name][start:start + 8])
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(input_ids=ids[:, :-1]).logits
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    steps("warm")
    seconds, cpu = clock(lambda: steps("train"))
    return told(rows, seconds, cpu, model)


def told(rows: Any, seconds: float, cpu: float, model: Any) -> dict[str, Any]:
    """Figures of a GPT's arm."""
    ids, model = torch.from_numpy(rows["test"]), model.eval()
    with torch.inference_mode():
        logits = model(input_ids=ids[:, :-1]).logits.float()
        loss = float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))
    return {"seconds": seconds, "cpu_s": cpu, "items": rows["train"].shape[0] * data.CONTEXT,
            "operations": data.gpt_operations(rows["train"].shape[0]), "quality": loss}


def clock(work: Any) -> tuple[float, float]:
    """Wall and CPU seconds of a piece of work."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu


if __name__ == "__main__":
    main()
