"""What ``mofang plan`` predicts beside what runs take: CPU seconds and peak memory of twenty different runs.

``python bench/plan.py [NAME …] [--repeats 3] [--folder DIR] [--quick]``. What was run lies in DIR (made anew where left out), a line a run;
the same command goes on from there, and once all twenty are there the results are written. Each run is a process of its own in a shop of its own kind of data;
its prediction is made before it. A few earlier runs of other sizes stand in the ledger first, as they would after a week's
work, because the planner learns a factor for each family from what was measured. CPU seconds are those of the process and its
children: other work on the machine changes them less than the clock. Goal: median error within the larger of 10 % and twice
the spread between equal runs, worst 30 %. Writes bench/results/plan.json and plan.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

SHARDS = "shards"
GOAL_MEDIAN, GOAL_WORST = 0.10, 0.30
TEXTS = {"task": "text_classification", "label": "label", "inputs": ("text",)}


def data_sets(folder: Path) -> dict[str, tuple[Callable[[], Path], dict[str, Any], dict[str, Any]]]:
    """(write the file, settings of collect, settings of snapshot) by name."""
    from bench import estimate

    def reviews(rows: int) -> Any:
        given = {"text": ("内容",), "label": "标签"}
        return (
            lambda: estimate.reviews(_made(folder / f"zh{rows}"), rows),
            given,
            {**TEXTS, "label": "标签", "inputs": ("内容",)},
        )

    def english(rows: int, words: int, classes: int) -> Any:
        place = folder / f"en{rows}-{words}-{classes}"
        given = {"text": ("text",), "label": "topic"}
        return lambda: estimate.english(_made(place), rows, words, classes), given, {**TEXTS, "label": "topic"}

    def table(rows: int, columns: int, classes: int) -> Any:
        names = tuple(f"m{place}" for place in range(columns - 2))
        given = {"label": "class", "numbers": names, "categories": ("城市", "性别")}
        cut = {"task": "table_classification", "label": "class", "inputs": (*names, "城市", "性别")}
        return lambda: estimate.made_table(_made(folder / f"table{rows}"), rows, columns, classes), given, cut

    def images(rows: int) -> Any:
        return (
            lambda: _images(folder / f"images{rows}", rows),
            {},
            {"task": "image_classification", "label": "label", "inputs": ("image",)},
        )

    return {
        **{f"zh {rows}": reviews(rows) for rows in (600, 1500, 2000, 5000, 12_000)},
        **{
            f"en {rows} x {words}": english(rows, words, classes)
            for rows, words, classes in (
                (250, 12, 2),
                (300, 25, 3),
                (400, 12, 2),
                (800, 12, 3),
                (3000, 20, 12),
                (6000, 20, 4),
            )
        },
        **{
            f"table {rows}": table(rows, columns, classes)
            for rows, columns, classes in ((3000, 12, 3), (8000, 12, 3), (20_000, 20, 2), (40_000, 10, 2))
        },
        **{f"images {rows}": images(rows) for rows in (200, 400, 800)},
    }


# Before the twenty: other sizes of each family, from which the factors are learnt.
EARLIER: tuple[tuple[str, str, Any], ...] = (
    ("linear", "zh 1500", "linear"),
    ("linear", "table 3000", "linear"),
    ("averaged", "zh 1500", {"tag": "averaged", "epochs": 3}),
    ("linear", "en 800 x 12", "linear"),
    ("averaged", "en 800 x 12", {"tag": "averaged", "epochs": 3}),
    ("mlp", "table 3000", {"tag": "mlp", "epochs": 6}),
    ("xgboost", "table 3000", {"tag": "xgboost", "rounds": 60}),
    ("resnet", "images 200", {"tag": "resnet", "epochs": 2}),
    ("encoder", "zh 600", {"tag": "encoder", "epochs": 2}),
    ("encoder", "zh 600", {"tag": "encoder", "epochs": 2, "layers": 3, "width": 192, "heads": 6}),
    ("pretrained", "en 250 x 12", {"tag": "pretrained", "epochs": 1}),
    ("pretrain", SHARDS, {"architecture": {"tag": "gpt", "depth": 2, "width": 128}, "steps": 20}),
)
RUNS: tuple[tuple[str, str, Any], ...] = (
    ("linear, 2,000 reviews", "zh 2000", "linear"),
    ("linear, 12,000 reviews", "zh 12000", "linear"),
    ("linear, 20,000 rows", "table 20000", "linear"),
    ("averaged, 2,000 reviews", "zh 2000", {"tag": "averaged", "epochs": 2}),
    ("averaged, 6,000 English texts", "en 6000 x 20", {"tag": "averaged", "epochs": 2}),
    ("averaged 128 wide, 5,000 reviews", "zh 5000", {"tag": "averaged", "epochs": 2, "width": 128}),
    ("mlp, 8,000 rows", "table 8000", {"tag": "mlp", "epochs": 8}),
    ("mlp 512-256, 20,000 rows", "table 20000", {"tag": "mlp", "epochs": 6, "hidden": [512, 256]}),
    ("xgboost, 20,000 rows", "table 20000", {"tag": "xgboost", "rounds": 120}),
    ("xgboost, 40,000 rows", "table 40000", {"tag": "xgboost", "rounds": 60, "depth": 8}),
    ("resnet 8, 400 pictures", "images 400", {"tag": "resnet", "epochs": 3}),
    ("resnet 14, 800 pictures", "images 800", {"tag": "resnet", "epochs": 2, "depth": 14}),
    ("encoder 2 x 128, 2,000 reviews", "zh 2000", {"tag": "encoder", "epochs": 2}),
    ("encoder 4 x 256, 1,500 reviews", "zh 1500", {"tag": "encoder", "epochs": 1, "layers": 4, "width": 256}),
    ("encoder 2 x 128, 3,000 English texts", "en 3000 x 20", {"tag": "encoder", "epochs": 2}),
    ("MiniLM, 400 short texts", "en 400 x 12", {"tag": "pretrained", "epochs": 2}),
    ("MiniLM, 300 longer texts", "en 300 x 25", {"tag": "pretrained", "epochs": 1}),
    ("MiniLM with LoRA, 800 short texts", "en 800 x 12", {"tag": "pretrained", "epochs": 1, "adapt": "lora"}),
    ("GPT 3 x 192, 30 steps", SHARDS, {"architecture": {"tag": "gpt", "depth": 3, "width": 192}, "steps": 30}),
    ("GPT 4 x 256, 25 steps", SHARDS, {"architecture": {"tag": "gpt", "depth": 4, "width": 256}, "steps": 25}),
)


QUICK = ["linear, 2,000", "averaged, 2,000", "mlp, 8,000", "xgboost, 20,000"]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _images(folder: Path, rows: int) -> Path:
    """Squares left or right, 32 x 32 in colour."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(7)
    for number in range(rows):
        side = number % 2
        pixels = generator.integers(150, 255, (32, 32, 3), dtype=np.uint8)
        pixels[8:24, 2 + 14 * side : 14 + 14 * side] = generator.integers(0, 90, (16, 12, 3))
        place = _made(folder / ("left", "right")[side]) / f"{number:04}.png"
        Image.fromarray(pixels).save(place)
    return folder


def prepare(folder: Path, names: set[str]) -> dict[str, str]:
    """A shop with a snapshot of each data set; ids by name."""
    from mofang.core.shop import Shop
    from mofang.recipe import collect, shard, snapshot, tokenizer

    shop, found = Shop.open(folder / "shop"), {}
    if SHARDS in names:
        from bench import estimate

        given = {"text": ("内容",), "label": "标签"}
        source = estimate.reviews(_made(folder / "data" / SHARDS), 12_000)
        texts = shop.run(collect, source=str(source), licence="own", origin="bench", **given)
        found[SHARDS] = shop.run(shard, (texts,), shop.run(tokenizer, (texts,), size=4000), validation=0.02).entry
    for name, (write, given, cut) in data_sets(folder / "data").items():
        if name in names:
            records = shop.run(collect, source=str(write()), licence="own", origin="bench", **given)
            found[name] = shop.run(snapshot, records, **cut).entry
    return found


CHILD = """
import json, sys
from mofang.core.shop import Shop
from mofang.recipe import pretrain, train
import mofang.fit.families
folder, entry, settings, seed = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
shop = Shop.open(folder)
given = shop.artifact(shop.ledger.get(entry))
if given.kind == "shards":
    made = shop.run(pretrain, given, context=128, batch_tokens=2048, checks=2, lines=0, seed=seed, **settings)
else:
    made = shop.run(train, given, family=settings, seed=seed)
body = shop.ledger.get(made.entry).body
print("RESULT " + json.dumps({"cost": body["cost"]["own"], "measures": body["measures"]}))
"""


def run_one(shop: Path, entry: str, family: Any, seed: int) -> dict[str, Any]:
    """One training in a process of its own: what it measured and what had been predicted."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "MOFANG_LANG": "en", "HF_HUB_OFFLINE": "1",
                   "XDG_CACHE_HOME": str(shop.parent)}
    words = [sys.executable, "-c", CHILD, str(shop), entry, json.dumps(family), str(seed)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return found


def error(predicted: float, measured: float) -> float:
    """How far the prediction is off, as a share of what was measured."""
    return abs(predicted - measured) / measured


class Done:
    """Runs that are finished, a line each, so that a benchmark that was cut short goes on."""

    def __init__(self, place: Path) -> None:
        self._place = place
        lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
        self.found = {(one["name"], one["seed"]): one["found"] for one in map(json.loads, lines)}

    def run(self, shop: Path, name: str, entry: str, family: Any, seed: int) -> dict[str, Any]:
        """One run's result, from the file where it stands there."""
        if (name, seed) not in self.found:
            self.found[name, seed] = run_one(shop, entry, family, seed)
            with self._place.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": name, "seed": seed, "found": self.found[name, seed]}) + "\n")
        return self.found[name, seed]


def measure(folder: Path, names: list[str], repeats: int) -> list[dict[str, Any]]:
    """Earlier runs first, then each run ``repeats`` times with other seeds; the first prediction counts."""
    chosen = [one for one in RUNS if not names or any(name in one[0] for name in names)]
    tags = {one[2] if isinstance(one[2], str) else one[2].get("tag", "pretrain") for one in chosen}
    earlier = [(number, one) for number, one in enumerate(EARLIER) if one[0] in tags]
    entries = prepare(folder, {data for _, data, _ in (*chosen, *(one for _, one in earlier))})
    done, rows = Done(folder / "runs.jsonl"), []
    for number, (name, data, family) in earlier:
        done.run(folder / "shop", f"earlier {name}", entries[data], family, 900 + number)
    for name, data, family in chosen:
        seen = [done.run(folder / "shop", name, entries[data], family, seed) for seed in range(repeats)]
        rows.append(row_of(name, seen))
        row = rows[-1]
        print(
            f"{name:<40} {row['predicted_s']:7.1f} {row['cpu_s']:7.1f} s {row['error_s']:5.0%}   "
            f"{row['predicted_mb']:7.0f} {row['peak_mb']:7.0f} MB {row['error_mb']:5.0%}",
            flush=True,
        )
    return rows


def row_of(name: str, seen: list[dict[str, Any]]) -> dict[str, Any]:
    """Predicted and measured of one run, with the spread between equal ones."""
    first = seen[0]["measures"]
    cpu = [one["cost"]["cpu_s"] for one in seen]
    peak = [one["cost"]["peak_mb"] for one in seen]
    row = {
        "run": name,
        "predicted_s": first["predicted_s"],
        "cpu_s": statistics.median(cpu),
        "spread_s": (max(cpu) - min(cpu)) / statistics.median(cpu),
        "predicted_mb": first["predicted_mb"],
        "peak_mb": statistics.median(peak),
        "spread_mb": (max(peak) - min(peak)) / statistics.median(peak),
        "planned": first["planned"],
    }
    return row | {"error_s": error(row["predicted_s"], row["cpu_s"]), "error_mb": error(row["predicted_mb"], row["peak_mb"])}


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Median and worst errors, and the spread between equal runs."""
    return {
        f"{kind}_{unit}": found([row[f"{what}_{unit}"] for row in rows])
        for unit in ("s", "mb")
        for kind, what, found in (
            ("median", "error", statistics.median),
            ("worst", "error", max),
            ("spread", "spread", statistics.median),
        )
    }


def write(rows: list[dict[str, Any]], repeats: int) -> None:
    """The two result files."""
    found = summary(rows)
    about = {
        "day": date.today().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("MOFANG_THREADS", "all"),
        "repeats": repeats,
        "runs": len(rows),
    }
    (RESULTS / "plan.json").write_text(json.dumps({"about": about, "summary": found, "rows": rows}, indent=1) + "\n")
    allowed = {unit: max(GOAL_MEDIAN, 2 * found[f"spread_{unit}"]) for unit in ("s", "mb")}
    lines = [
        "# `mofang plan`: predicted before the run, measured after it",
        "",
        f"{about['day']}, Python {about['python']}, {about['cores']} cores, {about['threads']} threads; {repeats} times each.",
        "CPU seconds and peak memory of the process. Written by `make bench-plan`.",
        "",
        "| run | predicted s | CPU s | error | predicted MB | peak MB | error |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['run']} | {row['predicted_s']:.1f} | {row['cpu_s']:.1f} | {row['error_s']:.0%} | {row['predicted_mb']:.0f} | "
        f"{row['peak_mb']:.0f} | {row['error_mb']:.0%} |"
        for row in rows
    ]
    lines += [
        "",
        (
            f"Time: median error {found['median_s']:.1%} (goal {allowed['s']:.1%}), worst {found['worst_s']:.1%} (goal 30 %), "
            f"spread between equal runs {found['spread_s']:.1%}."
        ),
        (
            f"Memory: median {found['median_mb']:.1%} (goal {allowed['mb']:.1%}), worst {found['worst_mb']:.1%} (goal 30 %), "
            f"spread {found['spread_mb']:.1%}."
        ),
        "",
    ]
    (RESULTS / "plan.md").write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    """Run the chosen runs; only a run of all of them writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep what was run here, and go on from there")
    parser.add_argument("--quick", action="store_true", help="four cheap runs, once each, no files")
    given = parser.parse_args()
    folder = _made(given.folder.absolute()) if given.folder else Path(tempfile.mkdtemp(prefix="mofang-plan-"))
    try:
        rows = measure(folder, QUICK if given.quick else given.names, 1 if given.quick else given.repeats)
    finally:
        if not given.folder:
            shutil.rmtree(folder, ignore_errors=True)
    found = summary(rows)
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))
    short = [unit for unit in ("s", "mb") if found[f"median_{unit}"] > max(GOAL_MEDIAN, 2 * found[f"spread_{unit}"])
             or found[f"worst_{unit}"] > GOAL_WORST]
    print("ok" if not short else f"short: {', '.join(short)}")
    if not (given.names or given.quick):
        write(rows, given.repeats)
    sys.exit(bool(short))


if __name__ == "__main__":
    main()
