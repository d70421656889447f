"""Mofang's arm of bench/clean.py: the product's own path, ``collect`` then ``clean``, in a shop of its own.

    python bench/_clean_own.py SHOP SOURCE SETTINGS.json [RESULT.json [AGAIN.json]]

SETTINGS are those of ``clean``; with AGAIN it is run once more with those thresholds. The last line printed is JSON:
seconds of each step, how many records stayed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

BEGAN = time.monotonic()


def stages(shop: Any, made: Any) -> dict[str, float]:
    """Seconds of each step of a cleaning, out of the ledger: reading (survey), deciding and writing."""
    body = shop.ledger.get(made.entry).body
    nested = [shop.ledger.get(one["entry"]) for one in body["nested"]]
    read = sum(one.body["cost"]["total"]["wall_s"] for one in nested if one.kind == "done")
    return {"survey_s": round(read, 3), "decide_and_write_s": body["cost"]["own"]["wall_s"]}


def kept_ids(made: Any) -> dict[str, Any]:
    """The source's own ids that stayed: after the rules for one text, and after copies went; and of each copy the one that
    stands for it."""
    import pyarrow.parquet as pq

    from mofang.data.records import RecordReader

    names: dict[str, str] = {}
    for batch in RecordReader(made / "kept").batches(columns=["source_id"]):
        names |= dict(zip(batch.column("id"), batch.column("source_id"), strict=True))
    with made.open("rejected.parquet") as file:
        gone = pq.read_table(file, columns=["id", "reason", "detail", "source_id"], use_threads=False, pre_buffer=False).to_pylist()
    copies = {one["id"]: one for one in gone if one["reason"] in ("duplicate", "near-duplicate")}
    stands = {}
    for one in copies.values():
        last = one["detail"]
        while last in copies:  # an exact copy of one that went as a near copy
            last = copies[last]["detail"]
        stands[one["source_id"]] = names[last]
    return {"clean": [*names.values(), *stands], "final": list(names.values()), "stands_for": stands}


def once_more(shop: Any, records: Any, given: dict[str, Any]) -> dict[str, float]:
    """Seconds of a second cleaning with other thresholds: of all of it, and of the decisions in it."""
    from mofang.data import clean as module

    took, choose = [0.0], module.choose

    def timed(*args: Any, **settings: Any) -> Any:
        began = time.monotonic()
        found = choose(*args, **settings)
        took[0] = time.monotonic() - began
        return found

    module.choose = timed
    began = time.monotonic()
    shop.run(module.clean, records, **given)
    return {"again_s": round(time.monotonic() - began, 3), "again_decide_s": round(took[0], 3)}


def main() -> None:
    """Run the arm; prints one line of JSON."""
    from mofang.core.shop import Shop
    from mofang.data.clean import clean
    from mofang.data.collect import collect

    place, source, given = Path(sys.argv[1]), sys.argv[2], json.loads(Path(sys.argv[3]).read_text())
    shop = Shop.open(place)
    imported = time.monotonic()
    records = shop.run(collect, source=source, licence="mixed", format="jsonl", text=("text",), keep=("id",), bad_share=1.0,
                       max_cell_chars=10_000_000)
    collected = time.monotonic()
    if gone := os.environ.get("MOFANG_BENCH_SOURCE_GONE"):  # a source made for the bench is not needed any more
        shutil.rmtree(gone)
    made = shop.run(clean, records, **given)
    ended = time.monotonic()
    shop.executor.close()
    again: dict[str, float] = {}
    if len(sys.argv) > 5:
        again = once_more(shop, records, json.loads(Path(sys.argv[5]).read_text()))
    if len(sys.argv) > 4:
        Path(sys.argv[4]).write_text(json.dumps(kept_ids(made)))
    print(json.dumps({"import_s": round(imported - BEGAN, 3), "collect_s": round(collected - imported, 3),
                      "clean_s": round(ended - collected, 3), **stages(shop, made), **again, **made.measures}))


if __name__ == "__main__":
    main()
