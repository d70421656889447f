"""What all arms of bench/fit.py learn from: made texts with a feeling in them, and token streams with a grammar; numpy only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

MEAN_LOG, SIGMA, LONGEST = 3.1, 0.6, 126  # lengths of short texts: mean 27 tokens, lognormal
CLS, SEP, WORDS, FEELING = 101, 102, (2000, 20000), 60
CONTEXT, VOCABULARY, BRANCHES = 256, 8192, 4
MINILM = {"layers": 6, "width": 384, "inner": 1536}
GPT = {"layers": 6, "width": 384, "heads": 6}


def texts(rows: int, seed: int) -> dict[str, Any]:
    """Token ids of made texts and a label each: whether words of one kind outnumber those of another."""
    random = np.random.default_rng(seed)
    found: dict[str, Any] = {"ids": [], "labels": []}
    for length in np.clip(random.lognormal(MEAN_LOG, SIGMA, rows).astype(int), 5, LONGEST):
        label = int(random.integers(0, 2))
        ids = random.integers(WORDS[0] + 2 * FEELING, WORDS[1], length)
        told = max(1, length // 6)
        ids[random.permutation(length)[:told]] = WORDS[0] + FEELING * label + random.integers(0, FEELING, told)
        found["ids"].append([CLS, *ids.tolist(), SEP])
        found["labels"].append(label)
    return found


def stream(rows: int, seed: int) -> np.ndarray[Any, Any]:
    """Token ids int64 [rows, CONTEXT + 1] in which each token is followed by one of four."""
    grammar = np.random.default_rng(0).integers(0, VOCABULARY, (VOCABULARY, BRANCHES))
    random = np.random.default_rng(seed)
    found = np.empty((rows, CONTEXT + 1), dtype=np.int64)
    found[:, 0] = random.integers(0, VOCABULARY, rows)
    for place in range(CONTEXT):
        found[:, place + 1] = grammar[found[:, place], random.integers(0, BRANCHES, rows)]
    return found


def write(folder: Path, rows: int, steps: int) -> None:
    """All data of one run of the benchmark."""
    (folder / "texts.json").write_text(json.dumps({"train": texts(rows, 1), "test": texts(256, 2), "warm": texts(64, 3)}))
    np.savez(folder / "stream.npz", train=stream(8 * steps, 1), test=stream(8, 2), warm=stream(16, 3))


def minilm_operations(ids: list[list[int]]) -> float:
    """Useful floating-point operations of one pass: 6 a weight and token, and attention (12 layers width length^2)."""
    layers, width, inner = MINILM.values()
    weights = layers * (4 * width**2 + 2 * width * inner)
    lengths = np.array([len(one) for one in ids], dtype=np.float64)
    return float(6 * weights * lengths.sum() + 12 * layers * width * (lengths**2).sum())


def gpt_operations(rows: int) -> float:
    """The same for the small GPT: its head counts, half of the attention is looked at."""
    layers, width, _ = GPT.values()
    weights = layers * 12 * width**2 + VOCABULARY * width
    return float((6 * weights + 12 * layers * width * CONTEXT / 2) * rows * CONTEXT)
