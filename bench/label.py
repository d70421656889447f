"""Labelling: import into an empty and into a full project, the next task and an answer with a million tasks, aggregation.

``make bench-label``; ARGS=--quick for a tenth of the rows. Import must take time proportional to the new rows (ratio at most
1.2). No peer is run: Label Studio's users report about 210 records a second on export, and imports that time out once
300,000 tasks are annotated (research/data.md, B.4). Exit status 1 where a goal is missed; the full run writes
bench/results/label.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

from mofang.core.shop import Shop
from mofang.data.labelling import desk, queue
from mofang.data.labelling.exchange.sending import current_answers
from mofang.data.labelling.looking import bring_file, next_tasks

RESULTS = Path(__file__).resolve().parent / "results" / "label.md"


def write(path: Path, first: int, rows: int) -> None:
    """Short Chinese reviews, each with one person's answer."""
    with path.open("w", encoding="utf-8") as file:
        for row in range(first, first + rows):
            line = {"text": f"第{row}条评论：房间干净，早餐一般，服务热情。", "label": "好" if row % 3 else "坏", "person": f"p{row % 7}"}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def timed_import(shop: Shop, path: Path) -> float:
    """CPU seconds of an import: it computes all the time, and a busy machine does not change them much."""
    began = time.process_time()
    bring_file(shop, "p", str(path))
    return time.process_time() - began


def fresh(folder: Path) -> Shop:
    shop = Shop.open(folder)
    shop.act(desk.label_new, name="p", kind="classes", classes=("好", "坏"), overlap=3)
    return shop


def measure(rows: int, repeats: int, folder: Path) -> list[tuple[str, str, str, bool]]:
    """(what, figure, goal, met)"""
    found = []
    write(folder / "full.jsonl", 0, rows)
    full = fresh(folder / "full")
    first_s = timed_import(full, folder / "full.jsonl")
    found.append((f"import of {rows:,} rows with answers into an empty project", f"{first_s:.1f} CPU s, {rows / first_s:,.0f} rows/s", "-", True))
    for size in (rows // 10, rows):
        into_empty, into_full = [], []
        for turn in range(repeats if size < rows else 1):
            place = folder / f"more-{size}-{turn}.jsonl"
            write(place, rows + 10 * rows * (turn + 1) + size, size)
            into_empty.append(timed_import(fresh(folder / f"empty-{size}-{turn}"), place))
            into_full.append(timed_import(full, place))
        a, b = statistics.median(into_empty), statistics.median(into_full)
        found.append((f"import of {size:,} rows: into an empty project, into one that holds {rows:,}",
                      f"{a:.2f}, {b:.2f} CPU s: ratio {b / a:.2f}; {size / b:,.0f} rows/s", "ratio <= 1.2", b / a <= 1.2))
    times = []
    for _ in range(200):
        began = time.perf_counter()
        task = next_tasks(full, full.actor, "p")["tasks"][0]["task"]
        full.act(queue.label_answer, project="p", task=task, answer={"label": "好"}, ms=900)
        times.append((time.perf_counter() - began) * 1000)
    middle, slow = statistics.median(times), sorted(times)[197]
    found.append(("next task and its answer, both durable, in the full project", f"p50 {middle:.1f} ms, p99 {slow:.1f} ms", "p50 < 20 ms", middle < 20))
    began = time.perf_counter()
    answers = current_answers(full, queue.find_project(full, "p"))
    gather_s = time.perf_counter() - began
    count = int(answers.measures["answers"])
    found.append((f"seal and gather {count:,} current answers", f"{gather_s:.1f} s, {count / gather_s:,.0f} answers/s", "-", True))
    began = time.perf_counter()
    wrong = full.journals.verify()
    found.append(("fold the whole journal again and compare", f"{time.perf_counter() - began:.1f} s", "equal", not wrong))
    return found


def main() -> int:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        found = measure(100_000 if quick else 1_000_000, 1 if quick else 3, Path(folder))
    lines = ["| what | figure | goal | met |", "|---|---|---|---|"]
    lines += [f"| {what} | {figure} | {goal} | {'yes' if met else 'no'} |" for what, figure, goal, met in found]
    print("\n".join(lines))
    if not quick:
        told = f"`make bench-label`, {date.today()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; one run."
        head = ["# Labelling", "", told, ""]
        quoted = ("Not run beside it: Label Studio. Its users report about 210 records a second on export, and imports that time out "
                  "with 300,000 annotated tasks (quoted, not measured here).")
        note = ["", quoted]
        RESULTS.write_text("\n".join([*head, *lines, *note, ""]), encoding="utf-8")
    return 0 if all(met for *_, met in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
