"""Cleaning a source larger than memory: made as it is needed, cleaned, its peak of memory and disk written down.

    python bench/clean.py --memory 20 [--work FOLDER]

Every step that is done is not done again: a killed run goes on where it was.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from _tree import memory_mb

BENCH = Path(__file__).resolve().parent
FILE_BYTES = 250_000_000
PARAGRAPHS, WORDS = 30_000, 60_000
TELL_S = 5.0
SETTINGS = {"html": "auto", "layout": "paragraphs", "languages": ["en", "zh"], "language_score": 0.2, "personal": "mask",
            "language_chars": 1000, "quality": {"tag": "web", "repetition": False, "letters": 0.3, "max_word_chars": 20},
            "near_duplicate": 0.8, "near_by": "words"}
STOP = ["the", "of", "and", "to", "that", "have", "with", "be"]
SIGNS = "的是了在我有和就不人都一上也很到说要去你会着没有看好自己这"


def paragraphs(chance: np.random.Generator) -> list[str]:
    """A stock of paragraphs, two thirds English-like, one third Chinese-like."""
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    vocabulary = ["".join(chance.choice(letters, size)) for size in chance.integers(3, 11, WORDS)] + STOP * 1500
    han = [chr(code) for code in range(0x4E00, 0x5800)] + list(SIGNS) * 40
    found = []
    for place in range(PARAGRAPHS):
        if place % 3:
            found.append(" ".join(vocabulary[one] for one in chance.integers(0, len(vocabulary), 50)) + ".")
        else:
            found.append("".join(han[one] for one in chance.integers(0, len(han), 100)) + "。")
    return found


def make(folder: Path, size_bytes: int) -> None:
    """JSON lines of documents of some 4 kB; 3 % are exact copies of an earlier one, 3 % near copies."""
    folder.mkdir(parents=True, exist_ok=True)
    stock = paragraphs(np.random.default_rng(1))
    english = [place for place in range(PARAGRAPHS) if place % 3]
    chinese = [place for place in range(PARAGRAPHS) if not place % 3]
    for number in range(max(1, round(size_bytes / FILE_BYTES))):
        path = folder / f"{number:04}.jsonl"
        if path.exists():
            continue
        chance, written, before = np.random.default_rng([2, number]), 0, ""
        with path.with_suffix(".half").open("w", encoding="utf-8") as file:
            place = 0
            while written < min(FILE_BYTES, size_bytes):
                kind = chance.random()
                pool = english if place % 3 else chinese
                text = before
                if kind > 0.06 or not before:
                    before = text = f"{number}-{place} " + "\n".join(stock[pool[one]] for one in chance.integers(0, len(pool), 13))
                elif kind > 0.03:
                    text = before.replace("\n", f" changed{place}\n", 1)
                line = json.dumps({"id": f"{number}-{place}", "text": text}, ensure_ascii=False) + "\n"
                file.write(line)
                written += len(line.encode())
                place += 1
        path.with_suffix(".half").replace(path)
        print(f"made {number + 1} files, {(number + 1) * FILE_BYTES / 1e9:.2f} GB", flush=True)


def size_of(folder: Path) -> float:
    """Bytes below a folder, in GB; what vanishes meanwhile counts nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
            except OSError:
                continue
    return total / 1e9


def run(gigabytes: float, work: Path, keep: bool) -> dict[str, object]:
    """Make the source, clean it in two processes, and say what that took at most."""
    source, shop, settings = work / "source", work / "shop", work / "settings.json"
    make(source, int(gigabytes * 1e9))
    settings.write_text(json.dumps(SETTINGS))
    peak = {"memory_mb": 0.0, "disk_gb": 0.0}
    environment = {**os.environ, "MOFANG_EXECUTOR": "local:2", "PYTHONPATH": str(BENCH.parent / "src"),
                   **({} if keep else {"MOFANG_BENCH_SOURCE_GONE": str(source)})}
    log = (work / "log.txt").open("ab")
    command = [sys.executable, str(BENCH / "_clean_own.py"), str(shop), f"{source}/*.jsonl", str(settings)]
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    done = threading.Event()

    def sample() -> None:
        told = 0.0
        while not done.wait(0.5):
            peak["memory_mb"] = max(peak["memory_mb"], memory_mb(process.pid))
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                peak["disk_gb"] = max(peak["disk_gb"], size_of(work))
                print(f"{told - began:7.0f} s   memory {memory_mb(process.pid):6.0f} MB (peak {peak['memory_mb']:.0f})   "
                      f"disk {size_of(work):6.2f} GB", flush=True)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    code = process.wait()
    done.set()
    sampler.join()
    seconds = time.monotonic() - began
    if code:
        raise SystemExit(f"cleaning ended with {code}: {(work / 'log.txt').read_text(errors='replace')[-2000:]}")
    said = json.loads((work / "log.txt").read_text().strip().splitlines()[-1])
    if not keep:
        shutil.rmtree(shop)
        shutil.rmtree(source, ignore_errors=True)  # gone already once it was collected
    return {"gigabytes": gigabytes, "seconds": round(seconds, 1), **{name: round(value, 2) for name, value in peak.items()},
            "steps": {name: said[name] for name in ("collect_s", "survey_s", "decide_and_write_s")}, "rows": said["rows"],
            "kept": said["kept"], "dropped": said["dropped"]}
