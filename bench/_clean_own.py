"""Mofang's arm of bench/clean.py: the product's own path, ``collect`` then ``clean``, in a shop of its own.

    python bench/_clean_own.py SHOP SOURCE SETTINGS.json [RESULT.json]

SETTINGS are those of ``clean``. The last line printed is JSON: seconds of each step, how many records stayed.
"""

from __future__ import annotations

import json
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


def kept_ids(made: Any) -> dict[str, list[str]]:
    """The source's own ids that stayed: after the rules for one text, and after copies went."""
    import pyarrow.parquet as pq

    from mofang.data.records import RecordReader

    final = [one for batch in RecordReader(made / "kept").batches(columns=["source_id"]) for one in batch.column("source_id")]
    with made.open("rejected.parquet") as file:
        gone = pq.read_table(file, columns=["reason", "source_id"]).to_pylist()
    copies = [one["source_id"] for one in gone if one["reason"] in ("duplicate", "near-duplicate")]
    return {"clean": final + copies, "final": final}


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
    made = shop.run(clean, records, **given)
    ended = time.monotonic()
    shop.executor.close()
    if len(sys.argv) > 4:
        Path(sys.argv[4]).write_text(json.dumps(kept_ids(made)))
    print(json.dumps({"import_s": round(imported - BEGAN, 3), "collect_s": round(collected - imported, 3),
                      "clean_s": round(ended - collected, 3), **stages(shop, made), **made.measures}))


if __name__ == "__main__":
    main()
